//! The folder where fetched models are kept.
//!
//! A model has one place, `models/KIND/.../FILE` below the cache's root, and beside it
//! `FILE.sha256`, in the form that `sha256sum -c` reads. Whoever fetches holds `FILE.lock`; a
//! second one waits, and then finds the file. Everything unfinished is named `FILE.` and something,
//! and is never taken for a model.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::digest::{is_sha256, sha256_of};
use crate::terminal;

/// Where the cache is.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    models: PathBuf,
}

/// The place of one model in the cache. The file may not be there yet.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    path: PathBuf,
}

/// The right to fetch into a place. Ends with the value, or with the process.
pub(crate) struct Lock {
    place: Place,
    _file: File,
}

impl Cache {
    /// `${XDG_CACHE_HOME:-~/.cache}/antiphon`.
    ///
    /// # Errors
    /// There is neither that variable nor a home.
    pub(crate) fn from_environment() -> Result<Self> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let root = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        let root = root.context(
            "no folder for the model cache: set HOME or XDG_CACHE_HOME to an absolute path, or \
             name a model file by its path",
        )?;
        Ok(Self { models: root.join("antiphon").join("models") })
    }

    /// The place of a file.
    pub(crate) fn place<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Place {
        Place { path: parts.into_iter().fold(self.models.clone(), |path, part| path.join(part)) }
    }
}

impl Place {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is there.
    pub(crate) fn is_cached(&self) -> bool {
        self.path.is_file()
    }

    /// A path beside the file: `FILE.` and something.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(self.path.file_name().expect("a place ends in a file name"));
        name.push(".");
        name.push(suffix);
        self.path.with_file_name(name)
    }

    /// The SHA-256 that was recorded when the file was fetched.
    ///
    /// # Errors
    /// The record cannot be read, or is none.
    pub(crate) fn recorded(&self) -> Result<String> {
        let path = self.beside("sha256");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read the recorded checksum {}", path.display()))?;
        let digest = text.split_whitespace().next().unwrap_or_default();
        ensure!(is_sha256(digest), "{} does not begin with a SHA-256", path.display());
        Ok(digest.to_owned())
    }

    /// Reads the file, and compares.
    ///
    /// # Errors
    /// The file is another one, or cannot be read.
    pub(crate) fn verify(&self, expected: &str) -> Result<()> {
        let shown = self.path.display();
        let file = File::open(&self.path).with_context(|| format!("cannot open {shown}"))?;
        let digest = sha256_of(file).with_context(|| format!("cannot read {shown}"))?;
        ensure!(
            digest == expected,
            "{shown} has SHA-256 {digest}, not {expected}; delete it and pull again"
        );
        Ok(())
    }

    /// Waits until nobody else fetches into this place.
    ///
    /// # Errors
    /// The folder cannot be made, or the file system knows no locks.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let folder = self.path.parent().expect("a place is in a folder");
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        let path = self.beside("lock");
        let context = || format!("cannot lock {}", path.display());
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                terminal::note("another process is fetching this model; waiting for it");
                file.lock().with_context(context)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        Ok(Lock { place: self.clone(), _file: file })
    }
}

impl Lock {
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Makes a complete file, of that digest, the model of this place. The file is consumed: it
    /// ends up in the place, or is deleted.
    ///
    /// # Errors
    /// It is not what was expected, or the file system refuses.
    pub(crate) fn publish(
        &self,
        complete: &Path,
        digest: &str,
        expected: Option<&str>,
    ) -> Result<()> {
        if let Some(expected) = expected
            && digest != expected
        {
            fs::remove_file(complete).context("cannot delete a file whose checksum is wrong")?;
            bail!("what was fetched has SHA-256 {digest}, not {expected}; it was deleted");
        }
        let path = &self.place.path;
        let name = path.file_name().expect("a place ends in a file name").to_string_lossy();
        let record = self.place.beside("sha256.new");
        write_through(&record, format!("{digest}  {name}\n").as_bytes())
            .and_then(|()| fs::rename(&record, self.place.beside("sha256")))
            .and_then(|()| fs::rename(complete, path))
            .and_then(|()| File::open(path.parent().expect("a place is in a folder"))?.sync_all())
            .with_context(|| format!("cannot put the model at {}", path.display()))
    }
}

fn write_through(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
