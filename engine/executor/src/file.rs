//! A model, opened and checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine_model::{Blueprint, Checkpoint, ElementType, Facts};

use crate::{LoadError, Summary, TextAssets};

/// A model whose files are sound, or whose weights are made up. Whether it can run is for
/// [`Self::check`] to say, so that also a model that cannot can be inspected. Clones share what is
/// open.
#[derive(Clone, Debug)]
pub struct ModelFile {
    checkpoint: Arc<Checkpoint>,
    path: PathBuf,
}

impl ModelFile {
    /// Opens a GGUF file, any part of one in several, or a Hugging Face folder, and checks every
    /// count, length, offset, type and shape in it.
    ///
    /// # Errors
    /// A file is missing or cannot be read, or something in it is wrong.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        Ok(Self { checkpoint: Arc::new(Checkpoint::open(path)?), path: path.to_owned() })
    }

    /// A model of a `config.json` whose weights nobody trained, of the type `element`, a name such
    /// as `Q4_K`.
    ///
    /// # Errors
    /// The file cannot be read or says of no model that is known; there is no such type.
    pub fn random(config: &Path, element: &str, seed: u64) -> Result<Self, LoadError> {
        let named = ElementType::named(element).filter(|element| element.dtype.is_some());
        let element = named.ok_or_else(|| LoadError::ElementType {
            found: element.to_owned(),
            supported: ElementType::supported(),
        })?;
        let checkpoint = Checkpoint::random(config, element, seed)?;
        Ok(Self { checkpoint: Arc::new(checkpoint), path: config.to_owned() })
    }

    /// Whether [`crate::load`] can run this model, as far as can be told without its weights.
    ///
    /// # Errors
    /// An architecture or a type of weights that is not supported; facts and tensors that
    /// contradict each other.
    pub fn check(&self) -> Result<(), LoadError> {
        self.blueprint().map(drop)
    }

    /// What a tokenizer and a chat template are built from. Reads it each time: it is large, and
    /// needed once.
    ///
    /// # Errors
    /// It is missing, or something in it is wrong.
    pub fn text(&self) -> Result<TextAssets, LoadError> {
        Ok(TextAssets::read(&self.checkpoint)?)
    }

    /// The model's name, if its files say it, or have it.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match (self.checkpoint.facts(), self.checkpoint.folder()) {
            (Facts::Gguf(metadata), _) => {
                metadata.string("general.name").ok().flatten().map(str::to_owned)
            }
            (Facts::HuggingFace(_), Some(folder)) => folder_name(folder),
            (Facts::HuggingFace(_), None) => None,
        }
    }

    /// What to call the model where nobody gave it a name: after its file or folder.
    #[must_use]
    pub fn stem(&self) -> String {
        let folder = self.checkpoint.folder().and_then(folder_name);
        let stem = || self.path.file_stem().unwrap_or(self.path.as_os_str());
        folder.unwrap_or_else(|| without_part(&stem().to_string_lossy()).to_owned())
    }

    /// Number of tokens; 0 if the model cannot run.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.blueprint().map_or(0, |blueprint| blueprint.spec().vocab)
    }

    /// Most positions of one sequence that the model was trained for; 0 if its files do not say it.
    #[must_use]
    pub fn context(&self) -> u32 {
        let facts = self.checkpoint.facts();
        let key = match facts {
            Facts::Gguf(_) => {
                let architecture = facts.string("general.architecture").ok().flatten();
                format!("{}.context_length", architecture.unwrap_or_default())
            }
            Facts::HuggingFace(_) => "max_position_embeddings".to_owned(),
        };
        facts.u32(&key).ok().flatten().unwrap_or_default()
    }

    /// What the model is, for a person to read.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::new(self)
    }

    pub(crate) fn blueprint(&self) -> Result<Blueprint<'_>, LoadError> {
        Ok(Blueprint::read(&self.checkpoint)?)
    }

    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// The name of a folder, also of `.`.
fn folder_name(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    Some(folder.file_name()?.to_string_lossy().into_owned())
}

/// `NAME` of `NAME-00001-of-00003`.
fn without_part(stem: &str) -> &str {
    let number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let base = stem.rsplit_once("-of-").filter(|(_, count)| number(count));
    let base = base.and_then(|(rest, _)| rest.rsplit_once('-')).filter(|(_, part)| number(part));
    base.map_or(stem, |(name, _)| name)
}
