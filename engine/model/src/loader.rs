//! Brings weights from a checkpoint to a backend, one at a time.

use engine_backend::{Backend, BackendError, DType, Noise, Rope, Source, Tensor};

use crate::place::{Kind, Place};
use crate::weights::Shape;
use crate::{Blueprint, Bytes, ModelError, Name, TensorInfo, share};

/// A blueprint and the backend that gets its weights.
pub(crate) struct Loader<'a, B> {
    pub(crate) backend: &'a mut B,
    pub(crate) blueprint: &'a Blueprint<'a>,
}

impl<'a, B: Backend> Loader<'a, B> {
    /// One weight whose outputs are those of the rank's parts of the tensors at `places`, one after
    /// the other. Their bytes are held only until the backend has made them its own.
    pub(crate) fn matrix(
        &mut self,
        places: &[Place],
        layer: usize,
    ) -> Result<B::Matrix, ModelError> {
        let shape = |place: Place| place.shape(self.blueprint.spec());
        let wanted: Vec<_> =
            places.iter().map(|&place| (self.tensor(place, layer), shape(place))).collect();
        let exact = places.iter().any(|&place| self.blueprint.is_exact(place));
        self.parts(&wanted, exact)
    }

    /// The weight of the rank's part of the output product, made of the embedding.
    pub(crate) fn tied_output(&mut self) -> Result<B::Matrix, ModelError> {
        let shape = Place::Output.shape(self.blueprint.spec());
        self.parts(&[(self.tensor(Place::Embedding, 0), shape)], false)
    }

    fn parts(
        &mut self,
        wanted: &[(&'a TensorInfo, Shape)],
        exact: bool,
    ) -> Result<B::Matrix, ModelError> {
        let held = wanted.iter().map(|(tensor, _)| self.hold(tensor));
        let held = held.collect::<Result<Vec<_>, _>>()?;
        let mut rooms = vec![Vec::new(); held.len()];
        let wholes = held.iter().zip(wanted).zip(&mut rooms);
        let parts: Vec<_> = wholes
            .map(|((held, (_, shape)), room)| {
                share::part(held.matrix(0, 1), shape, self.blueprint.rank, room)
            })
            .collect();
        let matrix =
            if exact { self.backend.exact_matrix(&parts) } else { self.backend.matrix(&parts) };
        matrix.map_err(|error| kept(held.first(), error))
    }

    /// One weight for each expert of the rank's share, each of the outputs of its tensors at
    /// `places`.
    pub(crate) fn experts(
        &mut self,
        places: &[Place],
        layer: usize,
    ) -> Result<B::Experts, ModelError> {
        let number = self.blueprint.spec().mixture.map_or(0, |mixture| mixture.router.experts);
        let held = places
            .iter()
            .map(|&place| {
                let tensors = self.blueprint.placement.find(place, layer);
                tensors.iter().map(|tensor| self.hold(tensor)).collect::<Result<Vec<_>, _>>()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let expert = |index| held.iter().map(|held| expert(held, index, number)).collect();
        let experts: Vec<Vec<_>> = self.blueprint.rank.share(number).map(expert).collect();
        let experts = self.backend.experts(&experts);
        experts.map_err(|error| kept(held.first().and_then(|held| held.first()), error))
    }

    /// The weight of a norm.
    pub(crate) fn norm(&mut self, place: Place, layer: usize) -> Result<B::Vector, ModelError> {
        self.vector(&[place], layer)
    }

    /// One vector of the rank's parts of the tensors at `places`, one after the other.
    pub(crate) fn vector(
        &mut self,
        places: &[Place],
        layer: usize,
    ) -> Result<B::Vector, ModelError> {
        let mut values = Vec::new();
        for &place in places {
            let offset = match place.kind() {
                Kind::Norm => self.blueprint.spec().norms.offset,
                Kind::Bias | Kind::Divisors | Kind::Matrix => 0.0,
            };
            let stored = self.hold(self.tensor(place, layer))?.values();
            let length = place.shape(self.blueprint.spec()).columns();
            let part = share::slice(&stored, length, self.blueprint.rank);
            values.extend(part.iter().map(|value| value + offset));
        }
        Ok(self.backend.vector(&values)?)
    }

    /// The spec's rotations, their frequencies divided by those that the checkpoint may have for a
    /// longer context.
    pub(crate) fn ropes(&self) -> Result<Vec<Rope>, ModelError> {
        let mut ropes = self.blueprint.spec().attention.ropes.clone();
        for tensor in self.blueprint.placement.find(Place::RopeDivisors, 0) {
            let divisors = self.hold(tensor)?.values();
            for rope in &mut ropes {
                let pairs = rope.frequencies.iter_mut().zip(&divisors);
                pairs.for_each(|(frequency, divisor)| *frequency /= divisor);
            }
        }
        Ok(ropes)
    }

    fn tensor(&self, place: Place, layer: usize) -> &'a TensorInfo {
        self.blueprint.placement.find(place, layer).first().expect("required places were filled")
    }

    fn hold(&self, tensor: &'a TensorInfo) -> Result<Held<'a>, ModelError> {
        let checkpoint = self.blueprint.checkpoint;
        let content = match checkpoint.noise(tensor) {
            Some(noise) => Content::Noise(noise),
            None => Content::Bytes(checkpoint.bytes(tensor)?),
        };
        Ok(Held { tensor, content })
    }
}

/// An error about a weight, or several that are kept together.
fn kept(first: Option<&Held<'_>>, error: BackendError) -> ModelError {
    match first {
        Some(Held { tensor, .. }) => ModelError::Kept { tensor: Name::from(&*tensor.name), error },
        None => error.into(),
    }
}

/// One expert's part of what holds all `number` of them.
fn expert<'a>(held: &'a [Held<'_>], index: usize, number: usize) -> Tensor<'a> {
    match held {
        [all] => all.matrix(index, number),
        each => each[index].matrix(0, 1),
    }
}

/// A tensor and what is in it.
struct Held<'a> {
    tensor: &'a TensorInfo,
    content: Content,
}

enum Content {
    Bytes(Bytes),
    /// A matrix that the backend makes itself.
    Noise(Noise),
}

impl Held<'_> {
    /// The `index`th of `number` equal parts, as a matrix.
    fn matrix(&self, index: usize, number: usize) -> Tensor<'_> {
        let size = |index| {
            let size = self.tensor.dimensions.get(index).copied().unwrap_or(1);
            usize::try_from(size).expect("no larger than the file")
        };
        let rows = size(1) * size(2) / number;
        let source = match &self.content {
            Content::Bytes(bytes) => {
                let length = bytes.len() / number;
                Source::Bytes(&bytes[index * length..][..length])
            }
            Content::Noise(noise) => Source::Noise(noise.from_row(index * rows)),
        };
        Tensor { dtype: self.dtype(), rows, cols: size(0), source }
    }

    fn values(&self) -> Vec<f32> {
        match self.dtype() {
            DType::Bf16 => self.decode(|bytes| half::bf16::from_le_bytes(bytes).to_f32()),
            DType::F16 => self.decode(|bytes| half::f16::from_le_bytes(bytes).to_f32()),
            DType::F32 => self.decode(f32::from_le_bytes),
            DType::Iq4Nl
            | DType::Iq4Xs
            | DType::Mxfp4
            | DType::Q2K
            | DType::Q3K
            | DType::Q4_0
            | DType::Q4_1
            | DType::Q4K
            | DType::Q5_0
            | DType::Q5_1
            | DType::Q5K
            | DType::Q6K
            | DType::Q8_0 => unreachable!("places of vectors take plain types alone"),
        }
    }

    fn decode<const N: usize>(&self, one: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let Content::Bytes(bytes) = &self.content else {
            unreachable!("vectors have bytes");
        };
        bytes.chunks_exact(N).map(|chunk| one(chunk.try_into().expect("chunks of N"))).collect()
    }

    fn dtype(&self) -> DType {
        self.tensor.element.dtype.expect("places take supported types alone")
    }
}
