//! What each request has used, for whoever keeps the books.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Usage;

/// One request that was taken and has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageRecord {
    /// The front end's name for it.
    pub request: String,
    /// Whose it was.
    pub tenant: Arc<str>,
    /// The tokens that it took. Of a client that left, all that were generated, heard or not.
    pub usage: Usage,
    /// How it ended: the word that metrics have for it.
    pub outcome: &'static str,
    /// From the call to its first step, if there was one.
    pub queue: Option<Duration>,
    /// From the call to its first token, if there was one.
    pub ttft: Option<Duration>,
    /// From the call to its end.
    pub total: Duration,
}

/// Takes records, on the thread that serves the request: it must not wait. `false` when a record is
/// lost, which is counted.
#[derive(Clone)]
pub struct UsageSink {
    take: Arc<dyn Fn(UsageRecord) -> bool + Send + Sync>,
}

impl UsageSink {
    /// A sink that hands records to a function.
    pub fn new(take: impl Fn(UsageRecord) -> bool + Send + Sync + 'static) -> Self {
        Self { take: Arc::new(take) }
    }

    pub(crate) fn put(&self, record: UsageRecord) -> bool {
        (self.take)(record)
    }
}

impl fmt::Debug for UsageSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsageSink")
    }
}
