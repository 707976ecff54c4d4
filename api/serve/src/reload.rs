//! What changes while serving: SIGHUP, or `POST /admin/reload`, reads the configuration again.

use anyhow::Result;
use runtime::{Handle, TenancyChanges};

use crate::config::compose::{Composed, compose};
use crate::config::{self, Config, Sources, flatten};
use crate::logging::Logging;
use crate::reach;

/// The configuration in force, and where it comes from.
pub(crate) struct Reload {
    sources: Sources,
    config: Config,
    logging: Logging,
    handle: Handle,
    reopen: Option<Box<dyn Fn()>>,
}

impl Reload {
    pub(crate) fn new(sources: Sources, config: Config, logging: Logging, handle: Handle) -> Self {
        Self { sources, config, logging, handle, reopen: None }
    }

    /// The same, and something that is opened again each time, whatever the configuration says.
    pub(crate) fn reopening(self, reopen: impl Fn() + 'static) -> Self {
        Self { reopen: Some(Box::new(reopen)), ..self }
    }

    /// Reads all layers again. What can change live does; what cannot is named, and stays as it is.
    /// A configuration that is wrong changes nothing.
    ///
    /// # Errors
    /// What is wrong; it is in the log, too.
    pub(crate) fn run(&mut self) -> Result<String, String> {
        if let Some(reopen) = &self.reopen {
            reopen();
        }
        self.try_run().map_err(|error| {
            let why = format!("the configuration stays as it is: {error:#}");
            tracing::error!("{why}");
            why
        })
    }

    fn try_run(&mut self) -> Result<String> {
        let new = config::load(&self.sources)?;
        let Composed { tenancy, .. } = compose(&new)?;
        // Where it listens stays; who may come there is what changes.
        reach::check(&new, &self.config.http)?;
        let tenants = self.handle.set_tenancy(&tenancy)?;
        let report = self.take(new, &tenants);
        let dropped = self.logging.num_dropped();
        tracing::info!(log_lines_dropped = dropped, "reloaded: {tenants}");
        Ok(report)
    }

    /// The new configuration counts; says what has come of it.
    fn take(&mut self, new: Config, tenants: &TenancyChanges) -> String {
        let mut report = tenants.to_string();
        for Change { key, from, to } in changes(&self.config, &new) {
            let line = match &*key {
                // Counted among the tenants' changes.
                "http.admin_key_hashes" => continue,
                "http.allow_open" | "log.level" => {
                    let line = format!("`{key}` was {from}, and is {to}");
                    tracing::info!("reloaded: {line}");
                    line
                }
                _ => {
                    let line = format!("`{key}` is {from} until the next start, and then {to}");
                    tracing::warn!("{line}");
                    line
                }
            };
            report.push_str(&format!("; {line}"));
        }
        self.logging.set_level(new.log.level);
        self.config.log.level = new.log.level;
        self.config.http.admin_key_hashes = new.http.admin_key_hashes;
        self.config.http.allow_open = new.http.allow_open;
        self.config.tenants = new.tenants;
        report
    }
}

struct Change {
    key: String,
    from: toml::Value,
    to: toml::Value,
}

/// What differs, but for the tenants.
fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let sections = |config: &Config| {
        let plain = Config { tenants: Vec::new(), ..config.clone() };
        flatten(&plain.to_table())
    };
    let pairs = sections(old).into_iter().zip(sections(new));
    let changed = pairs.filter(|((_, from), (_, to))| from != to);
    changed.map(|((key, from), (_, to))| Change { key, from, to }).collect()
}
