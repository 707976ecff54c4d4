//! Which numbers are allowed, key by key. Every number in the tree has its line here; a test
//! counts.

/// The allowed values of one key, both ends included.
pub(crate) struct Range {
    pub(crate) key: &'static str,
    pub(crate) min: i64,
    pub(crate) max: i64,
}

const HOUR_MS: i64 = 3_600_000;
const TIB: i64 = 1 << 40;

/// Sorted by key.
pub(crate) const RANGES: &[Range] = &[
    Range::new("engine.block_size", 1, 256),
    Range::new("engine.context_max", 0, 1 << 24),
    Range::new("engine.gpus", 0, 64),
    Range::new("engine.kv_bytes_max", 0, TIB),
    Range::new("engine.rows_max", 1, 4096),
    Range::new("engine.step_tokens_max", 1, 65_536),
    Range::new("engine.threads", 0, 1024),
    Range::new("http.body_bytes_max", 1024, 1 << 30),
    Range::new("http.body_timeout_ms", 1, HOUR_MS),
    Range::new("http.head_timeout_ms", 1, HOUR_MS),
    Range::new("http.idle_timeout_ms", 1, HOUR_MS),
    Range::new("http.keep_alive_ms", 1, HOUR_MS),
    Range::new("http.port", 0, 65_535),
    Range::new("http.workers", 0, 256),
    Range::new("scheduler.ageing_ms", 0, HOUR_MS),
    Range::new("scheduler.drain_timeout_ms", 1, HOUR_MS),
    Range::new("scheduler.itl_target_ms", 0, 60_000),
    Range::new("scheduler.pipeline_depth", 1, 4),
    Range::new("scheduler.stall_timeout_ms", 1, HOUR_MS),
    Range::new("scheduler.step_timeout_ms", 1, HOUR_MS),
    Range::new("scheduler.waiting_max", 1, 1_000_000),
    Range::new("scheduler.waiting_tokens_max", 1, TIB),
    Range::new("text.encode_inline_bytes_max", 0, 1 << 30),
    Range::new("text.encode_threads", 1, 256),
];

impl Range {
    const fn new(key: &'static str, min: i64, max: i64) -> Self {
        Self { key, min, max }
    }

    /// The range of a key; none if the key is no number.
    pub(crate) fn of(key: &str) -> Option<&'static Self> {
        RANGES.iter().find(|range| range.key == key)
    }

    pub(crate) fn contains(&self, value: i64) -> bool {
        (self.min..=self.max).contains(&value)
    }
}
