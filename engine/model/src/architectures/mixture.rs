//! What architectures with experts have in common.

use engine_backend::Router;

use crate::ModelError;
use crate::architectures::dense::{self, Traits};
use crate::keys::{Key, Keys, SIZES};
use crate::spec::{DecoderSpec, GatedMlp, Mixture, Mlp};

/// Where these architectures differ.
pub(crate) struct MixtureTraits {
    /// Whether the weights of chosen experts are divided by their sum, where nothing else is said.
    pub(crate) normalised: bool,
    /// The width of an expert.
    pub(crate) width: Key<'static>,
    /// The width of an expert that every position goes through, behind a gate of its own.
    pub(crate) shared_width: Option<Key<'static>>,
}

pub(crate) const EXPERTS: Key<'_> = ("expert_count", "num_experts|num_local_experts");
/// The width of an expert that every position goes through, where an architecture has one.
pub(crate) const SHARED_WIDTH: Key<'_> =
    ("expert_shared_feed_forward_length", "shared_expert_intermediate_size");
const CHOSEN: Key<'_> = ("expert_used_count", "num_experts_per_tok");

/// How many experts a model has, if it says that it has any.
pub(crate) fn experts(keys: &Keys<'_>) -> Result<usize, ModelError> {
    keys.size_or(EXPERTS, &(0..=1 << 16), 0)
}

/// A model whose layers have experts, but for those that a `config.json` excepts.
pub(crate) fn spec(
    keys: &Keys<'_>,
    traits: &Traits,
    mixture: &MixtureTraits,
) -> Result<DecoderSpec, ModelError> {
    let mut spec = dense::frame(keys, traits)?;
    let activation = dense::silu(keys)?;
    spec.mixture = Some(Mixture {
        router: router(keys, mixture)?,
        expert: GatedMlp { activation, width: keys.size(mixture.width, &SIZES)? },
        shared: shared(keys, mixture)?.map(|width| GatedMlp { activation, width }),
    });
    let every = keys.size_or(("", "decoder_sparse_step"), &SIZES, 1)?;
    let excepted = keys.integers_if(("", "mlp_only_layers"))?.unwrap_or_default();
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        let dense = excepted.contains(&(index as u32)) || !(index + 1).is_multiple_of(every);
        layer.mlp = if dense { Mlp::Dense } else { Mlp::Mixture };
    }
    if spec.layers.iter().any(|layer| layer.mlp == Mlp::Dense) {
        spec.dense = Some(GatedMlp { activation, width: dense::mlp_width(keys)? });
    }
    Ok(spec)
}

fn router(keys: &Keys<'_>, mixture: &MixtureTraits) -> Result<Router, ModelError> {
    let experts = keys.size(EXPERTS, &(1..=1 << 16))?;
    let chosen = keys.size(CHOSEN, &SIZES)?;
    if chosen > experts {
        return Err(keys.range(CHOSEN, chosen, format!("1 to {experts}, the number of experts")));
    }
    let normalised = keys.flag_or(("expert_weights_norm", "norm_topk_prob"), mixture.normalised)?;
    Ok(Router { experts, chosen, normalised })
}

fn shared(keys: &Keys<'_>, mixture: &MixtureTraits) -> Result<Option<usize>, ModelError> {
    mixture.shared_width.map(|key| keys.size(key, &SIZES)).transpose()
}
