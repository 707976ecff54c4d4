//! Rotary position embedding, and the way of keys and values to the cache.
#![expect(unsafe_code, reason = "launches kernels")]

use engine_backend::{Heads, Rope, RopePairs};

use crate::OpenError;
use crate::buffer::{Buffer, Element, Vector};
use crate::cache::{Cache, DeviceShape};
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::step::Step;

/// Most pairs of a head: frequencies travel with the launch.
const PAIRS_MAX: usize = 128;

/// Heads of a block at a time, a warp for each.
const HEADS_EACH: usize = 8;
/// Rows that keep the device busy with a block each, all heads one after the other.
const ROWS_BUSY: usize = 512;

/// The kernels.
pub(crate) struct Ropes {
    rope: Function,
    norm: Function,
}

/// Norms of heads that were asked for, and are done on the way of what comes after.
#[derive(Clone, Copy)]
pub(crate) struct HeadNorms {
    qkv: u64,
    rows: usize,
    heads: Heads,
    query: u64,
    key: u64,
    eps: f32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Norm {
    qkv: u64,
    query: u64,
    key: u64,
    eps: f32,
    queries: i32,
    keys: i32,
    dim: i32,
}

/// A rotation that was asked for: norms heads, if that was too, turns queries and keys in place,
/// and writes keys and values to the cache.
#[derive(Clone, Copy)]
pub(crate) struct Turning {
    rows: usize,
    pub(crate) params: TurnParams,
}

/// The rotation as kernels know it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct TurnParams {
    qkv: u64,
    cache: u64,
    positions: u64,
    slots: u64,
    query: u64,
    key: u64,
    eps: f32,
    queries: i32,
    shape: DeviceShape,
    /// Those before are not this kernel's.
    first_head: i32,
    pairs: i32,
    neighbours: i32,
    magnitude: f32,
    frequencies: [f32; PAIRS_MAX],
}

impl Ropes {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        Ok(Self {
            rope: modules.function("rope", "rope_and_store")?,
            norm: modules.function("rope", "head_rms_norm")?,
        })
    }

    /// The norms alone.
    pub(crate) fn norm(&self, queue: &Queue, norms: HeadNorms) {
        let HeadNorms { qkv, rows, heads, query, key, eps } = norms;
        let Heads { queries, keys_values, dim } = heads;
        let (queries, keys) = (queries as i32, keys_values as i32);
        let params = Norm { qkv, query, key, eps, queries, keys, dim: dim as i32 };
        let groups = (heads.queries + keys_values).div_ceil(HEADS_EACH);
        // SAFETY: rows are as wide as the heads say, and a weight as long as a head.
        unsafe { queue.launch(self.norm, Grid::new((rows, groups), 32 * HEADS_EACH), &params) };
    }

    pub(crate) fn launch(&self, queue: &Queue, turning: &Turning) {
        let Turning { rows, params } = turning;
        let heads = (params.queries + 2 * params.shape.heads() - params.first_head) as usize;
        let groups = if *rows < ROWS_BUSY { heads.div_ceil(HEADS_EACH) } else { 1 };
        let grid = Grid::new((*rows, groups), 32 * HEADS_EACH);
        // SAFETY: the step has a position and a slot of this cache for each row.
        unsafe { queue.launch(self.rope, grid, params) };
    }
}

impl Ropes {
    /// What comes before attention that turns on the way; what is left for that, if it can. That of
    /// lone positions brings keys and values too, and that of spans turns halves of whole heads.
    pub(crate) fn before(
        &self,
        queue: &Queue,
        step: &Step,
        turning: Option<Turning>,
    ) -> Option<Turning> {
        let turning = turning?;
        if step.is_lone() {
            return Some(turning);
        }
        if !turning.is_of_halves() {
            self.launch(queue, &turning);
            return None;
        }
        self.launch(queue, &turning.without_queries());
        Some(turning)
    }
}

impl Turning {
    pub(crate) fn new(
        (step, heads, rope): (&Step, Heads, &Rope),
        norms: Option<HeadNorms>,
        qkv: &mut Buffer,
        cache: &mut Cache,
    ) -> Self {
        let shape = cache.shape();
        let pairs = rope.frequencies.len();
        assert_eq!(qkv.width(), heads.qkv_width(), "width of fused projections");
        assert_eq!((shape.heads, shape.dim), (heads.keys_values, heads.dim), "heads of a cache");
        assert_eq!(qkv.rows(), step.counts().tokens, "a row for each token");
        assert!(2 * pairs <= heads.dim && pairs <= PAIRS_MAX, "pairs of a head");
        let mut frequencies = [0.0; PAIRS_MAX];
        frequencies[..pairs].copy_from_slice(&rope.frequencies);
        let params = TurnParams {
            qkv: qkv.held_mut(Element::F32),
            cache: cache.pointer_mut(),
            positions: step.positions(),
            slots: step.cache_slots(),
            query: norms.map_or(0, |norms| norms.query),
            key: norms.map_or(0, |norms| norms.key),
            eps: norms.map_or(0.0, |norms| norms.eps),
            queries: heads.queries as i32,
            shape: cache.device_shape(),
            first_head: 0,
            pairs: pairs as i32,
            neighbours: i32::from(rope.pairs == RopePairs::Neighbours),
            magnitude: rope.magnitude,
            frequencies,
        };
        Self { rows: qkv.rows(), params }
    }

    /// Whether pairs are the halves of whole heads.
    fn is_of_halves(&self) -> bool {
        let TurnParams { pairs, neighbours, shape, .. } = self.params;
        neighbours == 0 && 2 * pairs == shape.dim()
    }

    /// The same of keys and values alone.
    fn without_queries(&self) -> Self {
        let params = TurnParams { first_head: self.params.queries, ..self.params };
        Self { params, ..*self }
    }

    /// Whether it is of these projections, on their way to this cache.
    pub(crate) fn is_of(&self, qkv: &Buffer, cache: &Cache) -> bool {
        self.params.qkv == qkv.pointer() && self.params.cache == cache.pointer()
    }
}

impl TurnParams {
    /// Of nothing.
    pub(crate) const NONE: Self = Self {
        qkv: 0,
        cache: 0,
        positions: 0,
        slots: 0,
        query: 0,
        key: 0,
        eps: 0.0,
        queries: 0,
        shape: DeviceShape::NONE,
        first_head: 0,
        pairs: 0,
        neighbours: 0,
        magnitude: 0.0,
        frequencies: [0.0; PAIRS_MAX],
    };
}

impl HeadNorms {
    /// Norms each query head by `query`, and each key head by `key`, in place.
    pub(crate) fn new(
        qkv: &mut Buffer,
        heads: Heads,
        (query, key): (&Vector, &Vector),
        eps: f32,
    ) -> Self {
        let dim = heads.dim;
        assert_eq!(qkv.width(), heads.qkv_width(), "width of fused projections");
        assert!(query.length() == dim && key.length() == dim, "weight of a head's norm");
        let (rows, qkv) = (qkv.rows(), qkv.held_mut(Element::F32));
        Self { qkv, rows, heads, query: query.pointer(), key: key.pointer(), eps }
    }

    /// Whether they are of these projections.
    pub(crate) fn are_of(&self, qkv: &Buffer) -> bool {
        self.qkv == qkv.pointer()
    }
}
