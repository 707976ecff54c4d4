//! A server process: started on a free port, waited for until it answers, ended when dropped.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::client;

/// Which server, and where its binary is.
pub(crate) enum Kind {
    Antiphon(PathBuf, Option<PathBuf>),
    LlamaServer(PathBuf),
}

impl Kind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Antiphon(..) => "antiphon",
            Self::LlamaServer(_) => "llama-server",
        }
    }

    fn command(
        &self,
        model: &str,
        port: u16,
        threads: usize,
        slots: usize,
        context: usize,
    ) -> Command {
        match self {
            Self::Antiphon(path, config) => {
                let mut command = Command::new(path);
                command.args([
                    "serve",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    &port.to_string(),
                    "--model",
                ]);
                command.arg(model).env("ANTIPHON__ENGINE__THREADS", threads.to_string());
                command.env("ANTIPHON__MODEL__ID", client::MODEL);
                if let Some(config) = config {
                    command.arg("--config").arg(config);
                }
                command
            }
            Self::LlamaServer(path) => {
                let mut command = Command::new(path);
                command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "-np"]);
                command.args([&slots.to_string(), "-c", &(slots * context).to_string(), "-m"]);
                command.arg(model);
                if threads > 0 {
                    command.args(["-t", &threads.to_string(), "-tb", &threads.to_string()]);
                }
                command
            }
        }
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    port: u16,
    ready: Duration,
}

impl Server {
    /// Starts it and waits until `/health` answers 200.
    pub(crate) fn start(
        kind: &Kind,
        model: &str,
        threads: usize,
        slots: usize,
        context: usize,
    ) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let started = Instant::now();
        let child = kind
            .command(model, port, threads, slots, context)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", kind.name()))?;
        let mut server = Self { child, port, ready: Duration::ZERO };
        let path = match kind {
            Kind::Antiphon(..) => "/ready",
            Kind::LlamaServer(_) => "/health",
        };
        while client::status(port, path).ok() != Some(200) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended while starting: {status}", kind.name());
            }
            if started.elapsed() > Duration::from_secs(60) {
                bail!("{} was not ready within 60 s", kind.name());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        server.ready = started.elapsed();
        Ok(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From the start of the process to its first 200.
    pub(crate) fn ready(&self) -> Duration {
        self.ready
    }

    /// The process's peak resident memory.
    pub(crate) fn peak_rss_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
        let kib = line.split_whitespace().nth(1).context("VmHWM has no value")?.parse::<u64>()?;
        Ok(kib * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A child that is gone already is what we want; there is nothing to do about other errors.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
