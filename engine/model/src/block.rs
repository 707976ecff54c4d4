//! What layers are made of. Blocks hold weights and call the backend; they own no activations and
//! no cache, and know no sizes but those of their spec.

mod attention;
mod head;
mod mixture;
mod mlp;
mod scratch;

pub(crate) use attention::Attention;
pub(crate) use head::Head;
pub(crate) use mlp::MlpWeights;
pub(crate) use scratch::{LogitShares, MixtureScratch, MlpScratch, Scratch};
