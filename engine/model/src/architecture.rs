//! The architectures that are known, each of them data: how to read a spec, and what its weights
//! are called.

use crate::architectures::{gemma3, llama, qwen2, qwen2_moe, qwen3, qwen3_moe};
use crate::keys::Keys;
use crate::place::Presence;
use crate::placement::{Wanted, Weight};
use crate::spec::DecoderSpec;
use crate::{Facts, GgufError, ModelError};

/// A family of models that the decoder can run.
#[derive(Debug)]
pub struct Architecture {
    /// Its name in GGUF's `general.architecture`.
    pub name: &'static str,
    /// Its names in the `model_type` of a `config.json`.
    pub model_types: &'static [&'static str],
    pub(crate) spec: fn(&Keys<'_>) -> Result<DecoderSpec, ModelError>,
    /// Groups of weights; of each, those that the spec asks for.
    pub(crate) weights: &'static [&'static [Weight]],
}

/// A new architecture is a file in `architectures/` and a line here.
const ARCHITECTURES: &[Architecture] = &[
    gemma3::ARCHITECTURE,
    llama::ARCHITECTURE,
    qwen2::ARCHITECTURE,
    qwen2_moe::ARCHITECTURE,
    qwen3::ARCHITECTURE,
    qwen3_moe::ARCHITECTURE,
];

/// More tensors than any model has.
const TENSORS_MAX: usize = 1 << 20;

impl Architecture {
    /// The architecture that a checkpoint names.
    ///
    /// # Errors
    /// It names none, or one that is not known.
    pub fn find(facts: &Facts) -> Result<&'static Self, ModelError> {
        let key = match facts {
            Facts::Gguf(_) => "general.architecture",
            Facts::HuggingFace(_) => "model_type",
        };
        let Some(name) = facts.string(key)? else {
            return Err(GgufError::Missing { key: key.into(), expected: "a string" }.into());
        };
        let names = |architecture: &Self| match facts {
            Facts::Gguf(_) => vec![architecture.name],
            Facts::HuggingFace(_) => architecture.model_types.to_vec(),
        };
        ARCHITECTURES.iter().find(|architecture| names(architecture).contains(&name)).ok_or_else(
            || {
                let known: Vec<_> = ARCHITECTURES.iter().flat_map(names).collect();
                let (key, known) = (key.into(), known.join(", "));
                ModelError::Architecture { key, found: name.into(), known }
            },
        )
    }

    /// The spec of a checkpoint of this architecture.
    ///
    /// # Errors
    /// A fact is missing, or out of range.
    pub fn read_spec(&self, facts: &Facts) -> Result<DecoderSpec, ModelError> {
        (self.spec)(&Keys { facts, prefix: self.name })
    }

    /// The tensors that a checkpoint with these facts must have.
    ///
    /// # Errors
    /// A fact is missing or out of range; there would be more tensors than any model has.
    pub fn wanted(&self, facts: &Facts) -> Result<Vec<Wanted>, ModelError> {
        let spec = self.read_spec(facts)?;
        let mut all = Vec::new();
        for weight in self.weights.iter().copied().flatten() {
            weight.visit(facts, &spec, &mut |_, presence, wanted| {
                if presence == Presence::Required {
                    all.push(wanted);
                }
                let few = all.len() <= TENSORS_MAX;
                few.then_some(()).ok_or_else(|| self.too_many(facts, &spec))
            })?;
        }
        Ok(all)
    }

    fn too_many(&self, facts: &Facts, spec: &DecoderSpec) -> ModelError {
        let keys = Keys { facts, prefix: self.name };
        let expected = format!("so few that there are at most {TENSORS_MAX} tensors");
        keys.range(("block_count", "num_hidden_layers"), spec.layers.len(), expected)
    }
}
