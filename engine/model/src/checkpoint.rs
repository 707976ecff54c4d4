//! What weights are read from, whatever the format.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use engine_backend::Noise;

use crate::architecture::Architecture;
use crate::place::Kind;
use crate::weights::{Config, Facts, Files, Fill, Mapped, Parts, Random, open_folder};
use crate::{ElementType, ModelError, TensorInfo};

/// A model's facts and weights, opened and checked as a whole. Whether they make a model that can
/// run is for [`crate::Blueprint`] to say.
#[derive(Debug)]
pub struct Checkpoint {
    facts: Facts,
    weights: Weights,
    format: Format,
    folder: Option<PathBuf>,
}

#[derive(Debug)]
enum Weights {
    Files(Files),
    Random(Random),
}

#[derive(Debug)]
enum Format {
    Gguf(u32),
    Random(&'static ElementType, u64),
    Safetensors,
}

/// The bytes of a tensor: mapped or made, and given back when dropped.
#[derive(Debug)]
pub struct Bytes(Held);

#[derive(Debug)]
enum Held {
    Made(Vec<u8>),
    Mapped(Mapped),
}

impl Checkpoint {
    /// Opens a GGUF file, any part of one in several, a Hugging Face folder, or its `config.json`.
    ///
    /// # Errors
    /// A file is missing or cannot be read, something in it is wrong, or it contradicts another.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let folder = hugging_face_folder(path);
        let (facts, files, format) = match &folder {
            Some(folder) => {
                let (config, files) = open_folder(folder)?;
                (Facts::HuggingFace(config), files, Format::Safetensors)
            }
            None => {
                let Parts { version, metadata, files } = Parts::open(path)?;
                (Facts::Gguf(metadata), files, Format::Gguf(version))
            }
        };
        Ok(Self { facts, weights: Weights::Files(files), format, folder })
    }

    /// A model of a `config.json`, with weights that nobody trained: those of matrices have the
    /// type `element`, or F16 where their rows are not whole blocks of it.
    ///
    /// # Errors
    /// The file cannot be read, says of an unknown architecture or of impossible sizes, or the type
    /// cannot be computed with.
    pub fn random(
        config: &Path,
        element: &'static ElementType,
        seed: u64,
    ) -> Result<Self, ModelError> {
        if element.dtype.is_none() {
            return Err(ModelError::ElementType {
                tensor: "*".into(),
                found: element.name,
                supported: ElementType::supported(),
            });
        }
        let facts = Facts::HuggingFace(Config::open(config)?);
        let architecture = Architecture::find(&facts)?;
        // What is stored of a norm is what an offset leaves of 1.
        let norm = 1.0 - architecture.read_spec(&facts)?.norms.offset;
        let mut random = Random::new(seed);
        for wanted in architecture.wanted(&facts)? {
            let fill = match wanted.kind {
                Kind::Bias => Fill::Near(0.0),
                Kind::Divisors => Fill::Near(1.0),
                Kind::Matrix => Fill::Matrix,
                Kind::Norm => Fill::Near(norm),
            };
            random.add(&wanted.name, wanted.shape.sizes(), fill, element)?;
        }
        let format = Format::Random(element, seed);
        let folder = Some(parent(config));
        Ok(Self { facts, weights: Weights::Random(random), format, folder })
    }

    /// What it says of its model besides the tensors.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The folder of its `config.json`; `None` for a GGUF file.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Whether nobody trained its weights.
    #[must_use]
    pub const fn is_random(&self) -> bool {
        matches!(self.weights, Weights::Random(_))
    }

    /// Its tensors, named as the files name them.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        match &self.weights {
            Weights::Files(files) => &files.tensors,
            Weights::Random(random) => &random.tensors,
        }
    }

    /// The bytes of one of its tensors.
    ///
    /// # Errors
    /// The system's.
    pub fn bytes(&self, tensor: &TensorInfo) -> Result<Bytes, ModelError> {
        Ok(Bytes(match &self.weights {
            Weights::Files(files) => Held::Mapped(files.bytes(tensor)?),
            Weights::Random(random) => Held::Made(random.bytes(tensor)),
        }))
    }

    /// What the weights of one of its matrices are made of, if nobody trained them.
    pub(crate) fn noise(&self, tensor: &TensorInfo) -> Option<Noise> {
        match &self.weights {
            Weights::Files(_) => None,
            Weights::Random(random) => random.noise(tensor),
        }
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors().iter().map(|tensor| tensor.bytes.len() as u64).sum()
    }

    /// The format, for a person to read.
    #[must_use]
    pub fn format(&self) -> String {
        let parts = match &self.weights {
            Weights::Files(files) => files.len(),
            Weights::Random(_) => 1,
        };
        if parts > 1 { format!("{}, {parts} parts", self.format) } else { self.format.to_string() }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gguf(version) => write!(f, "GGUF version {version}"),
            Self::Random(element, seed) => write!(f, "random {}, seed {seed}", element.name),
            Self::Safetensors => f.write_str("safetensors"),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Made(bytes) => bytes,
            Held::Mapped(bytes) => bytes,
        }
    }
}

/// The folder that a path names, by itself or by one of its files.
fn hugging_face_folder(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_owned());
    }
    let extension = path.extension()?;
    (extension == "json" || extension == "safetensors").then(|| parent(path))
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}
