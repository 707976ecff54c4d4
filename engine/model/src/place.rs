//! What a weight is to the decoder, and what follows from it: shape, kind, and whether a layer has
//! it.

use crate::spec::{Bias, DecoderSpec, GatedMlp, Mixture, Mlp, Output, QkNorm};
use crate::weights::Shape;

/// What a weight is to the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    AttentionAfterNorm,
    AttentionNorm,
    AttentionOutput,
    Down,
    Embedding,
    ExpertDown,
    ExpertGate,
    ExpertUp,
    Gate,
    Key,
    KeyBias,
    KeyNorm,
    MlpAfterNorm,
    MlpNorm,
    Output,
    OutputNorm,
    Query,
    QueryBias,
    QueryNorm,
    RopeDivisors,
    Router,
    SharedDown,
    SharedGate,
    SharedRouter,
    SharedUp,
    Up,
    Value,
    ValueBias,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The model has no such place.
    Absent,
    Optional,
    Required,
}

/// What sort of numbers a weight holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A vector that is added.
    Bias,
    /// A vector that frequencies are divided by.
    Divisors,
    /// Outputs of inputs.
    Matrix,
    /// A vector that is multiplied with what a norm gives.
    Norm,
}

impl Place {
    /// Whether layer `layer` of a model has this place.
    pub(crate) fn presence(self, spec: &DecoderSpec, layer: usize) -> Presence {
        let mlp = spec.layers[layer].mlp;
        let shared = spec.mixture.and_then(|mixture| mixture.shared);
        let needed = match self {
            Self::AttentionNorm
            | Self::AttentionOutput
            | Self::Embedding
            | Self::Key
            | Self::MlpNorm
            | Self::OutputNorm
            | Self::Query
            | Self::Value => true,
            Self::AttentionAfterNorm | Self::MlpAfterNorm => spec.norms.after,
            Self::Down | Self::Gate | Self::Up => mlp == Mlp::Dense,
            Self::ExpertDown | Self::ExpertGate | Self::ExpertUp | Self::Router => {
                mlp == Mlp::Mixture
            }
            Self::KeyBias | Self::QueryBias | Self::ValueBias => {
                spec.attention.bias == Bias::QueriesKeysValues
            }
            Self::KeyNorm | Self::QueryNorm => spec.attention.qk_norm == QkNorm::EachHead,
            Self::Output => match spec.output {
                Output::Either => return Presence::Optional,
                Output::Own => true,
            },
            Self::RopeDivisors => return Presence::Optional,
            Self::SharedDown | Self::SharedGate | Self::SharedRouter | Self::SharedUp => {
                mlp == Mlp::Mixture && shared.is_some()
            }
        };
        if needed { Presence::Required } else { Presence::Absent }
    }

    /// How many experts have a weight of their own here; `None` where there are no experts.
    pub(crate) fn experts(self, spec: &DecoderSpec) -> Option<usize> {
        match self {
            Self::ExpertDown | Self::ExpertGate | Self::ExpertUp => {
                Some(mixture(spec).router.experts)
            }
            Self::AttentionAfterNorm
            | Self::AttentionNorm
            | Self::AttentionOutput
            | Self::Down
            | Self::Embedding
            | Self::Gate
            | Self::Key
            | Self::KeyBias
            | Self::KeyNorm
            | Self::MlpAfterNorm
            | Self::MlpNorm
            | Self::Output
            | Self::OutputNorm
            | Self::Query
            | Self::QueryBias
            | Self::QueryNorm
            | Self::RopeDivisors
            | Self::Router
            | Self::SharedDown
            | Self::SharedGate
            | Self::SharedRouter
            | Self::SharedUp
            | Self::Up
            | Self::Value
            | Self::ValueBias => None,
        }
    }

    /// The shape of the weight, of one expert where there are several.
    pub(crate) fn shape(self, spec: &DecoderSpec) -> Shape {
        let heads = spec.attention.heads;
        let (queries, keys) = (heads.queries * heads.dim, heads.keys_values * heads.dim);
        let dense = || spec.dense.expect("a layer has it").width;
        let expert = || mixture(spec).expert.width;
        let shared = || shared(spec).width;
        match self {
            Self::AttentionAfterNorm
            | Self::AttentionNorm
            | Self::MlpAfterNorm
            | Self::MlpNorm
            | Self::OutputNorm => Shape::vector(spec.width),
            Self::AttentionOutput => Shape::matrix(queries, spec.width),
            Self::Down => Shape::matrix(dense(), spec.width),
            Self::Embedding => Shape::matrix(spec.width, spec.vocab),
            Self::ExpertDown => Shape::matrix(expert(), spec.width),
            Self::ExpertGate | Self::ExpertUp => Shape::matrix(spec.width, expert()),
            Self::Gate | Self::Up => Shape::matrix(spec.width, dense()),
            Self::Key | Self::Value => Shape::matrix(spec.width, keys),
            Self::KeyBias | Self::ValueBias => Shape::vector(keys),
            Self::KeyNorm | Self::QueryNorm => Shape::vector(heads.dim),
            Self::Output => Shape::matrix(spec.width, spec.logits),
            Self::Query => Shape::matrix(spec.width, queries),
            Self::QueryBias => Shape::vector(queries),
            Self::RopeDivisors => Shape::vector(spec.attention.ropes[0].frequencies.len()),
            Self::Router => Shape::matrix(spec.width, mixture(spec).router.experts),
            Self::SharedDown => Shape::matrix(shared(), spec.width),
            Self::SharedGate | Self::SharedUp => Shape::matrix(spec.width, shared()),
            Self::SharedRouter => Shape::matrix(spec.width, 1),
        }
    }

    /// What sort of numbers the weight holds.
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::KeyBias | Self::QueryBias | Self::ValueBias => Kind::Bias,
            Self::RopeDivisors => Kind::Divisors,
            Self::AttentionOutput
            | Self::Down
            | Self::Embedding
            | Self::ExpertDown
            | Self::ExpertGate
            | Self::ExpertUp
            | Self::Gate
            | Self::Key
            | Self::Output
            | Self::Query
            | Self::Router
            | Self::SharedDown
            | Self::SharedGate
            | Self::SharedRouter
            | Self::SharedUp
            | Self::Up
            | Self::Value => Kind::Matrix,
            Self::AttentionAfterNorm
            | Self::AttentionNorm
            | Self::KeyNorm
            | Self::MlpAfterNorm
            | Self::MlpNorm
            | Self::OutputNorm
            | Self::QueryNorm => Kind::Norm,
        }
    }
}

fn mixture(spec: &DecoderSpec) -> Mixture {
    spec.mixture.expect("a layer has it")
}

fn shared(spec: &DecoderSpec) -> GatedMlp {
    mixture(spec).shared.expect("a layer has it")
}
