//! What layers are made of. Blocks hold weights and call the backend; they own no activations and
//! no cache, and know no sizes but those of their spec.

mod attention;
mod head;
mod mlp;

pub(crate) use attention::Attention;
pub(crate) use head::Head;
pub(crate) use mlp::MlpWeights;

use engine_backend::Backend;

use crate::ModelError;
use crate::spec::{DecoderSpec, Mlp};

/// The activations of a step, allocated once for the largest.
///
/// Every position has a row in the first seven, every drawn token one in the last two.
pub(crate) struct Scratch<B: Backend> {
    pub(crate) residual: B::Buffer,
    pub(crate) normed: B::Buffer,
    pub(crate) qkv: B::Buffer,
    pub(crate) attended: B::Buffer,
    pub(crate) gate_up: B::Buffer,
    pub(crate) gated: B::Buffer,
    pub(crate) delta: B::Buffer,
    pub(crate) picked: B::Buffer,
    pub(crate) logits: B::Buffer,
}

impl<B: Backend> Scratch<B> {
    pub(crate) fn allocate(
        backend: &mut B,
        spec: &DecoderSpec,
        rows_max: usize,
        tokens_max: usize,
    ) -> Result<Self, ModelError> {
        let heads = spec.attention.heads;
        let Mlp::Gated { width: mlp_width, .. } = spec.mlp;
        Ok(Self {
            residual: backend.buffer(tokens_max, spec.width)?,
            normed: backend.buffer(tokens_max, spec.width)?,
            qkv: backend.buffer(tokens_max, heads.qkv_width())?,
            attended: backend.buffer(tokens_max, heads.out_width())?,
            gate_up: backend.buffer(tokens_max, 2 * mlp_width)?,
            gated: backend.buffer(tokens_max, mlp_width)?,
            delta: backend.buffer(tokens_max, spec.width)?,
            picked: backend.buffer(rows_max, spec.width)?,
            logits: backend.buffer(rows_max, spec.vocab)?,
        })
    }
}
