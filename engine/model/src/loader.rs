//! Brings weights from a file to a backend, one at a time.

use engine_backend::{Backend, DType, Rope, Tensor};

use crate::place::Place;
use crate::weights::Mapped;
use crate::{Blueprint, ModelError, TensorInfo};

/// A blueprint and the backend that gets its weights.
pub(crate) struct Loader<'a, B> {
    pub(crate) backend: &'a mut B,
    pub(crate) blueprint: &'a Blueprint<'a>,
}

impl<B: Backend> Loader<'_, B> {
    /// One weight whose outputs are those of the tensors at `places`, one after the other. The
    /// file's bytes are mapped only until the backend has made them its own.
    pub(crate) fn matrix(
        &mut self,
        places: &[Place],
        layer: usize,
    ) -> Result<B::Matrix, ModelError> {
        let tensors: Vec<_> =
            places.iter().map(|&place| self.blueprint.placement.tensor(place, layer)).collect();
        let pieces = tensors
            .iter()
            .map(|tensor| self.blueprint.gguf.bytes(tensor))
            .collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<_> =
            tensors.iter().zip(&pieces).map(|(tensor, bytes)| part(tensor, bytes)).collect();
        Ok(self.backend.matrix(&parts)?)
    }

    pub(crate) fn vector(&mut self, place: Place, layer: usize) -> Result<B::Vector, ModelError> {
        self.fused_vector(&[place], layer)
    }

    /// One vector of the tensors at `places`, one after the other.
    pub(crate) fn fused_vector(
        &mut self,
        places: &[Place],
        layer: usize,
    ) -> Result<B::Vector, ModelError> {
        let mut values = Vec::new();
        for &place in places {
            values.extend(self.values(self.blueprint.placement.tensor(place, layer))?);
        }
        Ok(self.backend.vector(&values)?)
    }

    /// The spec's rotation, its frequencies divided by those that the file may have for a longer
    /// context.
    pub(crate) fn rope(&self) -> Result<Rope, ModelError> {
        let mut rope = self.blueprint.spec().attention.rope.clone();
        if let Some(tensor) = self.blueprint.placement.find(Place::RopeDivisors, 0) {
            let divisors = self.values(tensor)?;
            for (frequency, divisor) in rope.frequencies.iter_mut().zip(divisors) {
                *frequency /= divisor;
            }
        }
        Ok(rope)
    }

    fn values(&self, tensor: &TensorInfo) -> Result<Vec<f32>, ModelError> {
        let bytes = self.blueprint.gguf.bytes(tensor)?;
        Ok(match dtype(tensor) {
            DType::Bf16 => decode(&bytes, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
            DType::F16 => decode(&bytes, |bytes| half::f16::from_le_bytes(bytes).to_f32()),
            DType::F32 => decode(&bytes, f32::from_le_bytes),
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
            | DType::Q8_0 => {
                unreachable!("places of vectors take plain types alone")
            }
        })
    }
}

fn part<'a>(tensor: &TensorInfo, bytes: &'a Mapped) -> Tensor<'a> {
    let size = |index| {
        let size = tensor.dimensions.get(index).copied().unwrap_or(1);
        usize::try_from(size).expect("no larger than the file")
    };
    Tensor { dtype: dtype(tensor), rows: size(1), cols: size(0), bytes }
}

fn dtype(tensor: &TensorInfo) -> DType {
    tensor.element.dtype.expect("places take supported types alone")
}

fn decode<const N: usize>(bytes: &[u8], one: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.chunks_exact(N).map(|chunk| one(chunk.try_into().expect("chunks of N"))).collect()
}
