//! Rotary position embedding, and the way of keys and values to the cache.
#![expect(unsafe_code, reason = "launches kernels")]

use engine_backend::{Heads, Rope, RopePairs};

use crate::OpenError;
use crate::buffer::{Buffer, Element};
use crate::cache::Cache;
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::step::Step;

/// Most pairs of a head: frequencies travel with the launch.
const PAIRS_MAX: usize = 256;

/// The kernel.
pub(crate) struct Ropes(Function);

#[derive(Clone, Copy)]
#[repr(C)]
struct Turn {
    qkv: u64,
    cache: u64,
    positions: u64,
    slots: u64,
    queries: i32,
    keys: i32,
    dim: i32,
    block_size: i32,
    pairs: i32,
    neighbours: i32,
    magnitude: f32,
    frequencies: [f32; PAIRS_MAX],
}

impl Ropes {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        modules.function("rope", "rope_and_store").map(Self)
    }

    /// Turns queries and keys in place, and writes keys and values to the cache.
    pub(crate) fn launch(
        &self,
        queue: &Queue,
        (step, heads, rope): (&Step, Heads, &Rope),
        qkv: &mut Buffer,
        cache: &mut Cache,
    ) {
        let shape = cache.shape();
        let pairs = rope.frequencies.len();
        assert_eq!(qkv.width(), heads.qkv_width(), "width of fused projections");
        assert_eq!((shape.heads, shape.dim), (heads.keys_values, heads.dim), "heads of a cache");
        assert_eq!(qkv.rows(), step.counts().tokens, "a row for each token");
        assert!(2 * pairs <= heads.dim && pairs <= PAIRS_MAX, "pairs of a head");
        let mut frequencies = [0.0; PAIRS_MAX];
        frequencies[..pairs].copy_from_slice(&rope.frequencies);
        let params = Turn {
            qkv: qkv.held_mut(Element::F32),
            cache: cache.pointer_mut(),
            positions: step.positions(),
            slots: step.cache_slots(),
            queries: heads.queries as i32,
            keys: heads.keys_values as i32,
            dim: heads.dim as i32,
            block_size: shape.block_size as i32,
            pairs: pairs as i32,
            neighbours: i32::from(rope.pairs == RopePairs::Neighbours),
            magnitude: rope.magnitude,
            frequencies,
        };
        // SAFETY: the step has a position and a slot of this cache for each row.
        unsafe { queue.launch(self.0, Grid::new((qkv.rows(), 1), 256), &params) };
    }
}
