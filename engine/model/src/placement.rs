//! Which tensor is what: every tensor of a checkpoint in its place.

use std::collections::{HashMap, HashSet};

use crate::architecture::Architecture;
use crate::place::{Kind, Place, Presence};
use crate::spec::DecoderSpec;
use crate::weights::Shape;
use crate::{Checkpoint, Facts, ModelError, Name, TensorInfo};

/// A row of an architecture's table: the names of a weight, and its place.
///
/// A `*` in a name stands for the number of a layer, an `@` for that of an expert; without one, a
/// tensor holds all experts, one after the other. A name is empty where its format has no such
/// weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    gguf: &'static str,
    safetensors: &'static str,
    place: Place,
}

/// Every tensor of a checkpoint in its place: one, or one for each expert.
#[derive(Debug)]
pub(crate) struct Placement<'a> {
    tensors: HashMap<(Place, usize), Vec<&'a TensorInfo>>,
}

/// A tensor that a model needs.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// What sort of numbers it holds.
    pub(crate) kind: Kind,
}

/// The names of a weight in GGUF and in safetensors, and its place.
pub(crate) const fn weight(gguf: &'static str, safetensors: &'static str, place: Place) -> Weight {
    Weight { gguf, safetensors, place }
}

/// What older checkpoints carry along although nobody needs it.
const IGNORED: &str = ".rotary_emb.inv_freq";

impl<'a> Placement<'a> {
    /// Puts every tensor of the checkpoint in its place.
    ///
    /// # Errors
    /// A tensor is missing, has no place, or has a shape or a type that its place does not take.
    pub(crate) fn resolve(
        checkpoint: &'a Checkpoint,
        architecture: &'static Architecture,
        spec: &DecoderSpec,
    ) -> Result<Self, ModelError> {
        let infos = checkpoint.tensors();
        let names: HashMap<_, _> = infos.iter().map(|info| (info.name.as_str(), info)).collect();
        let mut tensors = HashMap::new();
        // The first name that the checkpoint lacks ends this, so false counts of layers and experts
        // cost nothing.
        for weight in architecture.weights.iter().copied().flatten() {
            weight.visit(checkpoint.facts(), spec, &mut |layer, presence, wanted| {
                let Some(&info) = names.get(wanted.name.as_str()) else {
                    return match presence {
                        Presence::Absent | Presence::Optional => Ok(()),
                        Presence::Required => Err(ModelError::MissingTensor {
                            tensor: Name::from(&*wanted.name),
                            expected: wanted.shape,
                        }),
                    };
                };
                check(info, wanted)?;
                tensors.entry((weight.place, layer)).or_insert_with(Vec::new).push(info);
                Ok(())
            })?;
        }
        let placement = Self { tensors };
        placement.check_extra(checkpoint, architecture)?;
        Ok(placement)
    }

    /// The tensors at a place; none where it is empty.
    pub(crate) fn find(&self, place: Place, layer: usize) -> &[&'a TensorInfo] {
        self.tensors.get(&(place, layer)).map_or(&[], Vec::as_slice)
    }

    /// Every place of every layer, and its tensors.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (Place, &[&'a TensorInfo])> {
        self.tensors.iter().map(|(&(place, _), all)| (place, all.as_slice()))
    }

    /// Every place of every layer, and how many elements its tensors have together.
    pub(crate) fn elements(&self) -> impl Iterator<Item = (Place, u64)> {
        let sum = |all: &[&TensorInfo]| all.iter().map(|info| info.num_elements()).sum();
        self.tensors().map(move |(place, all)| (place, sum(all)))
    }

    fn check_extra(
        &self,
        checkpoint: &Checkpoint,
        architecture: &'static Architecture,
    ) -> Result<(), ModelError> {
        let placed = self.tensors.values().flatten().map(|info| info.name.as_str());
        let placed: HashSet<_> = placed.collect();
        let left = |info: &&TensorInfo| !placed.contains(info.name.as_str());
        match checkpoint.tensors().iter().filter(left).find(|info| !info.name.ends_with(IGNORED)) {
            None => Ok(()),
            Some(extra) => Err(ModelError::Extra {
                tensor: Name::from(&*extra.name),
                found: Shape::from(extra),
                architecture: architecture.name,
            }),
        }
    }
}

impl Weight {
    /// Every tensor that is wanted for this weight, with its layer.
    pub(crate) fn visit(
        &self,
        facts: &Facts,
        spec: &DecoderSpec,
        each: &mut dyn FnMut(usize, Presence, Wanted) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let name = match facts {
            Facts::Gguf(_) => self.gguf,
            Facts::HuggingFace(_) => self.safetensors,
        };
        let layers = if name.contains('*') { spec.layers.len() } else { 1 };
        for layer in 0..layers {
            let presence = self.place.presence(spec, layer);
            if presence == Presence::Absent || name.is_empty() {
                continue;
            }
            let name = name.replace('*', &layer.to_string());
            let (shape, kind) = (self.place.shape(spec), self.place.kind());
            match self.place.experts(spec) {
                Some(experts) if name.contains('@') => {
                    for expert in 0..experts {
                        let name = name.replace('@', &expert.to_string());
                        each(layer, presence, Wanted { name, shape: shape.clone(), kind })?;
                    }
                }
                Some(experts) => {
                    each(layer, presence, Wanted { name, shape: shape.times(experts), kind })?;
                }
                None => each(layer, presence, Wanted { name, shape, kind })?,
            }
        }
        Ok(())
    }
}

/// Whether a tensor is what was wanted.
fn check(info: &TensorInfo, wanted: Wanted) -> Result<(), ModelError> {
    let tensor = Name::from(&*info.name);
    let found = Shape::from(info);
    if found != wanted.shape {
        return Err(ModelError::Shape { tensor, expected: wanted.shape, found });
    }
    let plain = info.element.block_elements == 1;
    let matrix = wanted.kind == Kind::Matrix;
    if info.element.dtype.is_some() && (plain || matrix) {
        return Ok(());
    }
    let supported =
        if matrix { crate::ElementType::supported() } else { "F32, F16, BF16".to_owned() };
    Err(ModelError::ElementType { tensor, found: info.element.name, supported })
}
