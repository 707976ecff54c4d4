//! How requests were answered, counted by route and status.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use runtime::Telemetry;

/// Counts answers. Copies share their counts.
#[derive(Clone, Default)]
pub(crate) struct Responses {
    by_route: Family<[(&'static str, String); 2], Counter>,
}

impl Responses {
    /// Counts that appear among the runtime's.
    pub(crate) fn registered(telemetry: &Telemetry) -> Self {
        let responses = Self::default();
        let family = responses.by_route.clone();
        telemetry.register(|registry| {
            let help = "Answers whose head was made, by route and status";
            registry.register("http_responses", help, family);
        });
        responses
    }

    /// Counts an answer. `route` is a pattern of ours and never a client's word, which would let a
    /// client make as many series as it likes.
    pub(crate) fn count(&self, route: &str, status: u16) {
        let labels = [("route", route.to_owned()), ("status", status.to_string())];
        self.by_route.get_or_create(&labels).inc();
    }
}
