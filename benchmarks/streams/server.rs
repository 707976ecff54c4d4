//! The server's process: started on a free port, ended when dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// The name that the model is served under.
pub(crate) const MODEL: &str = "streams";

/// A running server.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts it, and waits for the line that says where it listens.
    pub(crate) fn start(antiphon: &Path, config: &Path, model: &str) -> Result<Self> {
        let mut command = Command::new(antiphon);
        command.args(["serve", "--port", "0", "--model", model, "--config"]).arg(config);
        command.env("ANTIPHON__MODEL__ID", MODEL).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting antiphon")?;
        let output = child.stdout.take().context("the server has an output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let place = line.split("http://").nth(1).and_then(|rest| rest.split(';').next());
        let Some(place) = place else {
            // What it has to say is on standard error.
            let _ = child.kill();
            bail!("the server did not come up");
        };
        let address = place.trim().to_socket_addrs()?.next().context("an address")?;
        Ok(Self { child, address })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its resident memory now.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The most that it ever was.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(key)).context("no such line")?;
        let kib = line.split_whitespace().nth(1).context("no value")?.parse::<u64>()?;
        Ok(kib * 1_024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A child that is gone already is what we want; there is nothing to do about other errors.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
