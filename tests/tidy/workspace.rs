//! The workspace as `cargo metadata` shows it, and the files in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::source::Source;

/// What `cargo metadata` says of the workspace.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// By crate: those of our crates that it imports, of any kind.
    pub(crate) ours: BTreeMap<String, Vec<String>>,
    /// By crate: what else it depends on; for tests only if it is the crate of tests.
    pub(crate) outside: BTreeMap<String, Vec<String>>,
    pub(crate) directories: BTreeMap<String, PathBuf>,
    /// Crate, kind and root file of everything that is compiled.
    pub(crate) roots: Vec<(String, String, PathBuf)>,
}

impl Workspace {
    pub(crate) fn read() -> Self {
        let cargo = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo built this test");
        assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
        let metadata: Value = serde_json::from_slice(&cargo.stdout).expect("cargo writes JSON");
        let mut workspace = Self {
            root: PathBuf::from(string(&metadata["workspace_root"])),
            ours: BTreeMap::new(),
            outside: BTreeMap::new(),
            directories: BTreeMap::new(),
            roots: Vec::new(),
        };
        for package in list(&metadata["packages"]) {
            workspace.add(package);
        }
        assert!(workspace.ours.len() >= 10, "cargo metadata shows too few crates");
        workspace
    }

    fn add(&mut self, package: &Value) {
        let name = string(&package["name"]);
        let mut ours = Vec::new();
        let mut outside = Vec::new();
        for dependency in list(&package["dependencies"]) {
            let is_ours = dependency["path"].is_string();
            if is_ours {
                ours.push(string(&dependency["name"]));
            } else if dependency["kind"] != "dev" || name == "tests" {
                outside.push(string(&dependency["name"]));
            }
        }
        let manifest = PathBuf::from(string(&package["manifest_path"]));
        let directory = manifest.parent().expect("a file is in a directory").to_owned();
        for target in list(&package["targets"]) {
            let kind = string(&target["kind"][0]);
            self.roots.push((name.clone(), kind, PathBuf::from(string(&target["src_path"]))));
        }
        self.directories.insert(name.clone(), directory);
        self.outside.insert(name.clone(), outside);
        self.ours.insert(name, ours);
    }

    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// Every Rust file of every crate.
    pub(crate) fn rust_files(&self) -> impl Iterator<Item = Source> {
        let mut paths = Vec::new();
        for directory in self.directories.values() {
            find_rust_files(directory, &mut paths);
        }
        paths.sort();
        assert!(paths.len() > 50, "only {} Rust files were found", paths.len());
        paths.into_iter().map(|path| Source::new(&self.shown(&path), text(&path)))
    }
}

fn find_rust_files(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a crate's directory can be read") {
        let path = entry.expect("and so can what is in it").path();
        if path.is_dir() && !path.ends_with("target") {
            find_rust_files(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// What a file holds.
pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn string(value: &Value) -> String {
    value.as_str().expect("cargo metadata names it").to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata lists them")
}
