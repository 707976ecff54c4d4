//! Weights that nobody trained: made on demand, tensor by tensor, and forgotten again.
//!
//! How fast a model runs does not depend on what its weights say, so these measure it without a
//! download. Activations keep their size from layer to layer, so that logits stay finite and
//! distinct.

use std::collections::HashMap;

use engine_backend::noise::{Noise, random_word};

use super::element::ElementType;
use super::tensor::TensorInfo;
use crate::{GgufError, ModelError};

/// Tensors that are made on demand.
#[derive(Debug)]
pub(crate) struct Random {
    seed: u64,
    pub(crate) tensors: Vec<TensorInfo>,
    /// The value that the elements of a vector are near, by its name.
    vectors: HashMap<String, f32>,
}

/// What a tensor is to be filled with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fill {
    /// Random numbers that keep the size of what they are multiplied with.
    Matrix,
    /// Numbers near this one.
    Near(f32),
}

/// How far elements of a vector are from the value that they are near, at most.
const SPREAD: f32 = 0.1;

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, tensors: Vec::new(), vectors: HashMap::new() }
    }

    /// Adds a tensor. A matrix has elements of type `element`; of type F16 where its rows are not
    /// whole blocks of that.
    ///
    /// # Errors
    /// It is too large to be counted.
    pub(crate) fn add(
        &mut self,
        name: &str,
        dimensions: &[u64],
        fill: Fill,
        element: &'static ElementType,
    ) -> Result<(), ModelError> {
        let named = |name| ElementType::named(name).expect("a type that every checkpoint may have");
        let element = match fill {
            Fill::Matrix if dimensions[0].is_multiple_of(element.block_elements) => element,
            Fill::Matrix => named("F16"),
            Fill::Near(value) => {
                self.vectors.insert(name.to_owned(), value);
                named("F32")
            }
        };
        let begin = self.tensors.last().map_or(0, |last| last.bytes.end);
        let elements =
            dimensions.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
        let end = elements
            .and_then(|all| (all / element.block_elements).checked_mul(element.block_bytes))
            .and_then(|bytes| begin.checked_add(usize::try_from(bytes).ok()?))
            .ok_or_else(|| GgufError::TooLarge {
                tensor: name.into(),
                dimensions: dimensions.to_vec(),
            })?;
        let (name, dimensions) = (name.to_owned(), dimensions.to_vec());
        self.tensors.push(TensorInfo { name, element, dimensions, file: 0, bytes: begin..end });
        Ok(())
    }

    /// What a matrix is made of; `None` for a vector.
    pub(crate) fn noise(&self, tensor: &TensorInfo) -> Option<Noise> {
        if self.vectors.contains_key(&tensor.name) {
            return None;
        }
        let inputs = tensor.dimensions[0];
        // Evenly spread, so they are at most 3 / sqrt(inputs).
        let size = (3.0 / inputs as f32).sqrt();
        let stride = inputs / tensor.element.block_elements;
        Some(Noise { key: self.key(tensor), size, first: 0, stride })
    }

    /// Makes a tensor. The same seed and name make the same.
    pub(crate) fn bytes(&self, tensor: &TensorInfo) -> Vec<u8> {
        if let Some(&value) = self.vectors.get(&tensor.name) {
            return near(value, tensor.bytes.len() / 4, self.key(tensor));
        }
        let noise = self.noise(tensor).expect("all but vectors are made of noise");
        let dtype = tensor.element.dtype.expect("made of types that can be computed with");
        let size = |size: u64| usize::try_from(size).expect("no larger than its bytes");
        let cols = tensor.dimensions[0];
        noise.rows(dtype, 0..size(tensor.num_elements() / cols), size(cols))
    }

    fn key(&self, tensor: &TensorInfo) -> u64 {
        random_word(self.seed, hash(&tensor.name))
    }
}

fn near(value: f32, length: usize, key: u64) -> Vec<u8> {
    let draw = |index| (random_word(key, index) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    (0..length as u64).flat_map(|index| (value + SPREAD * draw(index)).to_le_bytes()).collect()
}

/// FNV-1a (Fowler, Noll and Vo).
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
