//! A user's desk: a home, a cache, and the programs that can be found.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub(crate) struct Desk {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Desk {
    /// No program can be found, and no variable is set.
    pub(crate) fn bare() -> Self {
        let desk = Self { folder: TempDir::new().unwrap(), environment: Vec::new() };
        fs::create_dir(desk.path("bin")).unwrap();
        let bin = desk.path("bin").to_str().unwrap().to_owned();
        desk.set("PATH", &bin)
    }

    /// The same, where an engine and a server take little of the machine.
    pub(crate) fn small() -> Self {
        Self::bare()
            .set("ANTIPHON__ENGINE__THREADS", "1")
            .set("ANTIPHON__ENGINE__KV_BYTES_MAX", "134217728")
            .set("ANTIPHON__HTTP__WORKERS", "1")
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// A program that can be found by its name.
    pub(crate) fn install(&self, name: &str, script: &str) {
        let path = self.write(&format!("bin/{name}"), script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_antiphon"));
        command.args(arguments).env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("HOME", self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts, and does not wait.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs to the end. The folder's own name is `DESK` in what is said.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        let output = self.command(arguments).output().unwrap();
        let said = |bytes: &[u8]| {
            String::from_utf8(bytes.to_owned())
                .unwrap()
                .replace(self.folder.path().to_str().unwrap(), "DESK")
        };
        Outcome { code: output.status.code(), out: said(&output.stdout), err: said(&output.stderr) }
    }

    /// The files below the cache of models, sorted.
    pub(crate) fn cached(&self) -> Vec<String> {
        let root = self.path(".cache/antiphon/models");
        let mut found = Vec::new();
        collect(&root, &root, &mut found);
        found.sort();
        found
    }
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}
