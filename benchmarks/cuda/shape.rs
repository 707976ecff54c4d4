//! Sizes of models that are measured, and what a step of one takes at least.

use clap::ValueEnum;
use engine_backend::{Heads, Router};

/// Sizes of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) vocab: usize,
    pub(crate) heads: Heads,
    pub(crate) mlp: Mlp,
}

/// What follows attention.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mlp {
    /// One gated MLP, so wide.
    Dense(usize),
    /// Experts, each a gated MLP so wide.
    Mixture(Router, usize),
}

/// Models whose sizes are known.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Known {
    #[value(name = "qwen3-30b-a3b")]
    Qwen3Mixture30B,
    #[value(name = "qwen3-8b")]
    Qwen3Dense8B,
    #[value(name = "qwen3-0.6b")]
    Qwen3Dense0_6B,
}

impl Known {
    pub(crate) fn shape(self) -> Shape {
        let heads = |queries, keys_values| Heads { queries, keys_values, dim: 128 };
        match self {
            Self::Qwen3Mixture30B => Shape {
                layers: 48,
                width: 2048,
                vocab: 151_936,
                heads: heads(32, 4),
                mlp: Mlp::Mixture(Router { experts: 128, chosen: 8, normalised: true }, 768),
            },
            Self::Qwen3Dense8B => Shape {
                layers: 36,
                width: 4096,
                vocab: 151_936,
                heads: heads(32, 8),
                mlp: Mlp::Dense(12_288),
            },
            Self::Qwen3Dense0_6B => Shape {
                layers: 28,
                width: 1024,
                vocab: 151_936,
                heads: heads(16, 8),
                mlp: Mlp::Dense(3072),
            },
        }
    }
}

impl Shape {
    /// Weights of a layer that every step reads.
    fn dense(&self) -> usize {
        let Self { width, heads, .. } = *self;
        let mlp = match self.mlp {
            Mlp::Dense(inner) => 3 * width * inner,
            Mlp::Mixture(router, _) => width * router.experts,
        };
        width * heads.qkv_width() + heads.out_width() * width + mlp
    }

    /// Weights of one expert.
    fn expert(&self) -> usize {
        match self.mlp {
            Mlp::Dense(_) => 0,
            Mlp::Mixture(_, inner) => 3 * self.width * inner,
        }
    }

    /// Bytes of keys and values of one position.
    pub(crate) fn kv_bytes(&self) -> usize {
        2 * 2 * self.heads.keys_values * self.heads.dim * self.layers
    }

    /// Multiplications and additions of `count` prompts of so many tokens.
    pub(crate) fn operations(&self, count: usize, tokens: usize) -> f64 {
        let chosen = match self.mlp {
            Mlp::Dense(_) => 0,
            Mlp::Mixture(router, _) => router.chosen,
        };
        let products = 2 * (self.dense() + chosen * self.expert());
        let scores = 2 * tokens * self.heads.out_width();
        (self.layers * count * tokens) as f64 * (products + scores) as f64
    }
}
