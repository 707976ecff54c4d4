//! Which tensor is what: names in a file to places in a decoder.

use std::collections::HashMap;
use std::fmt;

use crate::architecture::Architecture;
use crate::spec::{DecoderSpec, Mlp};
use crate::{Header, ModelError, Name, TensorInfo};

/// What a weight is to the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    AttentionNorm,
    AttentionOutput,
    Down,
    Embedding,
    Gate,
    Key,
    KeyBias,
    KeyNorm,
    MlpNorm,
    Output,
    OutputNorm,
    Query,
    QueryBias,
    QueryNorm,
    RopeDivisors,
    Up,
    Value,
    ValueBias,
}

/// A row of an architecture's table: a name, and the place of the tensor that has it. A `*` in the
/// name stands for the number of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Optional,
    Required,
}

/// The sizes of a tensor, innermost first, without the ones at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<u64>);

/// Every tensor of a file in its place.
#[derive(Debug)]
pub(crate) struct Placement<'a> {
    tensors: HashMap<(Place, usize), &'a TensorInfo>,
}

/// A weight of this name that must be there.
pub(crate) const fn required(name: &'static str, place: Place) -> Weight {
    Weight { name, place, presence: Presence::Required }
}

/// A weight of this name that may be absent.
pub(crate) const fn optional(name: &'static str, place: Place) -> Weight {
    Weight { name, place, presence: Presence::Optional }
}

impl<'a> Placement<'a> {
    /// Puts every tensor of the file in its place.
    ///
    /// # Errors
    /// A tensor is missing, has no place, or has a shape or a type that its place does not take.
    pub(crate) fn resolve(
        header: &'a Header,
        architecture: &'static Architecture,
        spec: &DecoderSpec,
    ) -> Result<Self, ModelError> {
        let names: HashMap<_, _> =
            header.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut tensors = HashMap::new();
        for weight in architecture.weights {
            // The first layer that the file lacks ends this, so a false count of layers costs
            // nothing.
            for layer in 0..weight.count(spec) {
                let name = weight.name(layer);
                if let Some(tensor) =
                    weight.check(&name, names.get(name.as_str()).copied(), spec)?
                {
                    tensors.insert((weight.place, layer), tensor);
                }
            }
        }
        let placement = Self { tensors };
        placement.check_extra(header, architecture)?;
        Ok(placement)
    }

    /// The tensor at a place that may be empty.
    pub(crate) fn find(&self, place: Place, layer: usize) -> Option<&'a TensorInfo> {
        self.tensors.get(&(place, layer)).copied()
    }

    /// The tensor at a required place.
    pub(crate) fn tensor(&self, place: Place, layer: usize) -> &'a TensorInfo {
        self.find(place, layer).expect("required places were filled")
    }

    fn check_extra(
        &self,
        header: &Header,
        architecture: &'static Architecture,
    ) -> Result<(), ModelError> {
        if self.tensors.len() == header.tensors.len() {
            return Ok(());
        }
        let placed: std::collections::HashSet<_> =
            self.tensors.values().map(|tensor| tensor.name.as_str()).collect();
        let extra = header
            .tensors
            .iter()
            .find(|tensor| !placed.contains(tensor.name.as_str()))
            .expect("each tensor has one place, and there are more tensors than places");
        Err(ModelError::Extra {
            tensor: Name::from(&*extra.name),
            found: Shape::from(extra),
            architecture: architecture.name,
        })
    }
}

impl Weight {
    fn count(&self, spec: &DecoderSpec) -> usize {
        if self.name.contains('*') { spec.layers } else { 1 }
    }

    fn name(&self, layer: usize) -> String {
        self.name.replace('*', &layer.to_string())
    }

    /// The tensor, if it is what the place takes.
    fn check<'a>(
        &self,
        name: &str,
        tensor: Option<&'a TensorInfo>,
        spec: &DecoderSpec,
    ) -> Result<Option<&'a TensorInfo>, ModelError> {
        let expected = self.place.shape(spec);
        let Some(tensor) = tensor else {
            return match self.presence {
                Presence::Optional => Ok(None),
                Presence::Required => {
                    Err(ModelError::MissingTensor { tensor: Name::from(name), expected })
                }
            };
        };
        let found = Shape::from(tensor);
        if found != expected {
            return Err(ModelError::Shape { tensor: Name::from(name), expected, found });
        }
        self.place.check_type(tensor)?;
        Ok(Some(tensor))
    }
}

impl Place {
    fn shape(self, spec: &DecoderSpec) -> Shape {
        let heads = spec.attention.heads;
        let Mlp::Gated { width: mlp_width, .. } = spec.mlp;
        match self {
            Self::AttentionNorm | Self::MlpNorm | Self::OutputNorm => Shape::vector(spec.width),
            Self::AttentionOutput => Shape::matrix(heads.out_width(), spec.width),
            Self::Down => Shape::matrix(mlp_width, spec.width),
            Self::Embedding | Self::Output => Shape::matrix(spec.width, spec.vocab),
            Self::Gate | Self::Up => Shape::matrix(spec.width, mlp_width),
            Self::Key | Self::Value => Shape::matrix(spec.width, heads.keys_values * heads.dim),
            Self::KeyBias | Self::ValueBias => Shape::vector(heads.keys_values * heads.dim),
            Self::KeyNorm | Self::QueryNorm => Shape::vector(heads.dim),
            Self::Query => Shape::matrix(spec.width, heads.queries * heads.dim),
            Self::QueryBias => Shape::vector(heads.queries * heads.dim),
            Self::RopeDivisors => Shape::vector(spec.attention.rope.frequencies.len()),
        }
    }

    const fn is_vector(self) -> bool {
        match self {
            Self::AttentionNorm
            | Self::KeyBias
            | Self::KeyNorm
            | Self::MlpNorm
            | Self::OutputNorm
            | Self::QueryBias
            | Self::QueryNorm
            | Self::RopeDivisors
            | Self::ValueBias => true,
            Self::AttentionOutput
            | Self::Down
            | Self::Embedding
            | Self::Gate
            | Self::Key
            | Self::Output
            | Self::Query
            | Self::Up
            | Self::Value => false,
        }
    }

    fn check_type(self, tensor: &TensorInfo) -> Result<(), ModelError> {
        let plain = tensor.element.block_elements == 1;
        if tensor.element.dtype.is_some() && (plain || !self.is_vector()) {
            return Ok(());
        }
        Err(ModelError::ElementType {
            tensor: Name::from(&*tensor.name),
            found: tensor.element.name,
            supported: if self.is_vector() {
                "F32, F16, BF16".to_owned()
            } else {
                crate::ElementType::supported()
            },
        })
    }
}

impl Shape {
    fn new(mut sizes: Vec<u64>) -> Self {
        while sizes.len() > 1 && sizes.last() == Some(&1) {
            sizes.pop();
        }
        Self(sizes)
    }

    fn vector(length: usize) -> Self {
        Self::new(vec![length as u64])
    }

    fn matrix(columns: usize, rows: usize) -> Self {
        Self::new(vec![columns as u64, rows as u64])
    }
}

impl From<&TensorInfo> for Shape {
    fn from(tensor: &TensorInfo) -> Self {
        Self::new(tensor.dimensions.clone())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
