//! The knobs of the HTTP edge.

/// How the server listens, and what it takes from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Host name or address to listen on.
    pub host: String,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Threads that serve connections; 0 is one per core.
    pub workers: usize,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Longest that a request's body may take to arrive, in milliseconds.
    pub body_timeout_ms: u64,
    /// Longest that a request's head may take to arrive, in milliseconds.
    pub head_timeout_ms: u64,
    /// Longest that a connection is kept between requests, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Silence in a stream after which a comment is sent, in milliseconds.
    pub keep_alive_ms: u64,
    /// Longest that open connections are waited for when the server stops, in milliseconds. They
    /// are waited for after the runtime has drained, so this is for the last bytes only.
    pub shutdown_timeout_ms: u64,
    /// Longest that sent bytes may stay unacknowledged, because the client reads nothing or is gone
    /// without a word, before its connection is closed, in milliseconds. Longer than the runtime's
    /// stall timeout, or a client that comes back in time finds no word about why its stream ended.
    pub unread_timeout_ms: u64,
}

/// A knob outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("http.{key} must be {expected}, not {value}")]
pub struct ConfigError {
    /// The knob.
    pub key: &'static str,
    /// What would be right.
    pub expected: &'static str,
    /// What it is.
    pub value: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            workers: 0,
            body_bytes_max: 2 << 20,
            body_timeout_ms: 30_000,
            head_timeout_ms: 5_000,
            idle_timeout_ms: 75_000,
            keep_alive_ms: 15_000,
            shutdown_timeout_ms: 5_000,
            unread_timeout_ms: 60_000,
        }
    }
}

impl Config {
    /// Checks every knob's range.
    ///
    /// # Errors
    /// The first knob outside its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let error = |key, expected, value: String| Err(ConfigError { key, expected, value });
        if self.host.is_empty() {
            return error("host", "a host name or an address", "empty".to_owned());
        }
        if self.workers > 1024 {
            return error("workers", "at most 1024", self.workers.to_string());
        }
        if !(1024..=1 << 30).contains(&self.body_bytes_max) {
            return error("body_bytes_max", "1024 to 2^30", self.body_bytes_max.to_string());
        }
        let times = [
            ("body_timeout_ms", self.body_timeout_ms),
            ("head_timeout_ms", self.head_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("keep_alive_ms", self.keep_alive_ms),
            ("shutdown_timeout_ms", self.shutdown_timeout_ms),
            ("unread_timeout_ms", self.unread_timeout_ms),
        ];
        match times.into_iter().find(|(_, value)| !(1..=3_600_000).contains(value)) {
            Some((key, value)) => error(key, "1 to 3600000", value.to_string()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_a_bad_knob_is_named() {
        Config::default().validate().unwrap();
        let config = Config { keep_alive_ms: 0, ..Config::default() };
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "http.keep_alive_ms must be 1 to 3600000, not 0"
        );
    }
}
