//! One rank's share of a model: of its sizes, and of each tensor.
//!
//! Sizes come first: [`spec`] makes a rank's of the model's. A tensor whose place is smaller then
//! is cut, along rows or along columns, and which of the parts a rank has follows from its index.
//! Where there are fewer parts than ranks, as of keys and values, neighbours have the same one.

use engine_backend::{Heads, Rank, Source, Tensor};

use crate::architectures::dense::{HEADS, KEYS, MLP_WIDTH};
use crate::architectures::mixture::{EXPERTS, SHARED_WIDTH};
use crate::keys::{Key, Keys};
use crate::placement::Placement;
use crate::spec::DecoderSpec;
use crate::weights::Shape;
use crate::{ModelError, Name};

/// The sizes that each of the ranks has.
///
/// # Errors
/// Something cannot be shared out among so many.
pub(crate) fn spec(
    keys: &Keys<'_>,
    mut spec: DecoderSpec,
    rank: Rank,
) -> Result<DecoderSpec, ModelError> {
    let share = |key: Key<'_>, total: usize| divide(keys, key, total, rank.of());
    let heads = spec.attention.heads;
    spec.attention.heads = Heads {
        queries: share(HEADS, heads.queries)?,
        keys_values: keys_values(keys, heads.keys_values, rank.of())?,
        dim: heads.dim,
    };
    if let Some(dense) = &mut spec.dense {
        dense.width = share(MLP_WIDTH, dense.width)?;
    }
    if let Some(mixture) = &mut spec.mixture {
        share(EXPERTS, mixture.router.experts)?;
        if let Some(shared) = &mut mixture.shared {
            shared.width = share(SHARED_WIDTH, shared.width)?;
        }
    }
    if spec.vocab.is_multiple_of(rank.of()) {
        spec.logits = spec.vocab / rank.of();
    }
    Ok(spec)
}

/// Whether every row that must be cut can be.
///
/// # Errors
/// A cut would be within a block.
pub(crate) fn check(
    placement: &Placement<'_>,
    spec: &DecoderSpec,
    rank: Rank,
) -> Result<(), ModelError> {
    let all =
        placement.tensors().flat_map(|(place, all)| all.iter().map(move |info| (place, info)));
    let split = all.filter(|(place, info)| {
        let columns = place.shape(spec).columns() as u64;
        columns != info.dimensions[0] && !columns.is_multiple_of(info.element.block_elements)
    });
    // Of several, always the same one.
    match split.map(|(_, info)| info).min_by_key(|info| &info.name) {
        None => Ok(()),
        Some(info) => Err(ModelError::Cut {
            tensor: Name::from(&*info.name),
            columns: info.dimensions[0],
            parts: rank.of(),
            element: info.element.name,
            block: info.element.block_elements,
        }),
    }
}

/// A rank's part, of this shape, of a weight. Its rows are where they were, if they are whole;
/// otherwise they are brought together in `room`.
pub(crate) fn part<'a>(
    whole: Tensor<'a>,
    shape: &Shape,
    rank: Rank,
    room: &'a mut Vec<u8>,
) -> Tensor<'a> {
    let (rows, cols) = (shape.rows(), shape.columns());
    let row_bytes = |cols| whole.dtype.row_bytes(cols).expect("checked to be whole blocks");
    let (stride, length) = (row_bytes(whole.cols), row_bytes(cols));
    let first = nth(whole.rows / rows, rank) * rows;
    if length == stride {
        let source = match whole.source {
            Source::Bytes(bytes) => Source::Bytes(&bytes[first * stride..][..rows * stride]),
            Source::Noise(noise) => Source::Noise(noise.from_row(first)),
        };
        return Tensor { rows, source, ..whole };
    }
    let bytes = whole.bytes(first..first + rows);
    let first = nth(whole.cols / cols, rank) * length;
    room.extend(bytes.chunks_exact(stride).flat_map(|row| &row[first..][..length]));
    Tensor { rows, cols, source: Source::Bytes(room), ..whole }
}

/// A rank's part, of this length, of a vector.
pub(crate) fn slice(whole: &[f32], length: usize, rank: Rank) -> &[f32] {
    &whole[nth(whole.len() / length, rank) * length..][..length]
}

/// Which of so many parts a rank has.
const fn nth(parts: usize, rank: Rank) -> usize {
    rank.index() * parts / rank.of()
}

fn divide(keys: &Keys<'_>, key: Key<'_>, total: usize, of: usize) -> Result<usize, ModelError> {
    if total.is_multiple_of(of) {
        return Ok(total / of);
    }
    Err(keys.range(key, total, format!("a multiple of {of}, to be cut into as many parts")))
}

/// As many each, or one for several.
fn keys_values(keys: &Keys<'_>, total: usize, of: usize) -> Result<usize, ModelError> {
    if total.is_multiple_of(of) || of.is_multiple_of(total) {
        return Ok((total / of).max(1));
    }
    let expected = format!("a multiple or a divisor of {of}, to be cut into as many parts");
    Err(keys.range(KEYS, total, expected))
}
