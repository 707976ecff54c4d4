//! What operators ask: is it alive, is it ready, what does it do.

pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod reload;
pub(crate) mod responses;

mod process;
