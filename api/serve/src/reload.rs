//! What changes while serving: SIGHUP reads the configuration again.

use crate::config::{self, Config, Sources, flatten};
use crate::logging::Logging;

/// The configuration in force, and where it comes from.
pub(crate) struct Reload {
    sources: Sources,
    config: Config,
    logging: Logging,
}

impl Reload {
    pub(crate) fn new(sources: Sources, config: Config, logging: Logging) -> Self {
        Self { sources, config, logging }
    }

    /// Reads all layers again. What can change live does; what cannot is named, and stays as it is.
    /// A configuration that is wrong changes nothing.
    pub(crate) fn run(&mut self) {
        let new = match config::load(&self.sources) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!("the configuration stays as it is: {error:#}");
                return;
            }
        };
        let changes = changes(&self.config, &new);
        if new.log.level != self.config.log.level {
            self.config.log.level = new.log.level;
            self.logging.set_level(new.log.level);
        }
        for Change { key, from, to } in &changes {
            if key == "log.level" {
                tracing::info!("reloaded: `{key}` was {from}, and is {to}");
            } else {
                tracing::warn!("`{key}` is {from} until the next start, and then {to}");
            }
        }
        let dropped = self.logging.num_dropped();
        tracing::info!(num_changes = changes.len(), log_lines_dropped = dropped, "reloaded");
    }
}

struct Change {
    key: String,
    from: toml::Value,
    to: toml::Value,
}

fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let pairs = flatten(&old.to_table()).into_iter().zip(flatten(&new.to_table()));
    let changed = pairs.filter(|((_, from), (_, to))| from != to);
    changed.map(|((key, from), (_, to))| Change { key, from, to }).collect()
}
