//! A tenant as an operator describes it, and what makes a table of them usable.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use runtime_core::{Priority, TenantError, TenantId};

use super::key::KeyHash;

/// Who is served, and on which terms. Copies describe the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name in logs and metrics: letters, digits, `_`, `-` and `.`, at most 64.
    pub name: String,
    /// The digests of its keys.
    pub key_hashes: Vec<KeyHash>,
    /// Whether requests without a key are its own. At most one tenant's are.
    pub anonymous: bool,
    /// The models that it may use; empty: all.
    pub models: Vec<String>,
    /// Its share of the server, against the weights of the others that want something.
    pub weight: u32,
    /// The highest priority of its requests; a higher one counts as this.
    pub priority_max: u8,
    /// Most of its requests computed at a time; more wait.
    pub running_max: u32,
    /// Most of its requests waiting; more are refused.
    pub waiting_max: u32,
    /// Most prompt tokens of its requests waiting; more are refused.
    pub waiting_tokens_max: u64,
    /// Thousandths of the cache that its requests may hold.
    pub kv_per_mille: u32,
    /// What it may take a minute.
    pub rates: Rates,
    /// How long its requests may take at most.
    pub timeouts: Timeouts,
}

/// What a tenant may take a minute; `None` as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests that are taken.
    pub requests_per_minute: Option<NonZeroU64>,
    /// Tokens of prompts and outputs together.
    pub tokens_per_minute: Option<NonZeroU64>,
}

/// How long a request may take; `None` as long as it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Until its first step is planned.
    pub queue: Option<Duration>,
    /// Until its output is complete.
    pub whole: Option<Duration>,
}

/// Everybody who may come, and with which keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenancy {
    /// The tenants. Empty: everybody is served, as one tenant without limits.
    pub tenants: Vec<Tenant>,
    /// The digests of the keys of those who run the server.
    pub admin_key_hashes: Vec<KeyHash>,
}

/// Why a table of tenants can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {problem}")]
pub struct TenancyError {
    /// Which entry, like `tenants[2].weight`.
    pub path: String,
    /// What is wrong with it, and what would be right; quotes no key.
    pub problem: String,
}

impl Tenant {
    /// A tenant of weight 1 without keys and without limits.
    #[must_use]
    pub fn unbounded(name: &str) -> Self {
        let core = runtime_core::Tenant::unbounded(TenantId::default());
        Self {
            name: name.to_owned(),
            key_hashes: Vec::new(),
            anonymous: false,
            models: Vec::new(),
            weight: core.weight,
            priority_max: core.priority_max.0,
            running_max: core.running_max,
            waiting_max: core.waiting_max,
            waiting_tokens_max: core.waiting_tokens_max,
            kv_per_mille: core.kv_per_mille,
            rates: Rates::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// What the scheduler knows of it.
    #[must_use]
    pub fn for_core(&self, id: TenantId) -> runtime_core::Tenant {
        runtime_core::Tenant {
            id,
            weight: self.weight,
            priority_max: Priority(self.priority_max),
            running_max: self.running_max,
            waiting_max: self.waiting_max,
            waiting_tokens_max: self.waiting_tokens_max,
            kv_per_mille: self.kv_per_mille,
        }
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let is_legal = |char: char| char.is_ascii_alphanumeric() || "_-.".contains(char);
        if !(1..=NAME_CHARS_MAX).contains(&self.name.len()) || !self.name.chars().all(is_legal) {
            let problem = format!(
                "must be 1 to {NAME_CHARS_MAX} letters, digits, `_`, `-` or `.`: it is in logs and \
                 in metrics"
            );
            return Err(("name", problem));
        }
        let ranges = self.for_core(TenantId::default()).check();
        if let Err(TenantError::OutOfRange { key, value, expected, .. }) = ranges {
            return Err((key, format!("is {value}; it must be {expected}")));
        }
        if self.key_hashes.is_empty() && !self.anonymous {
            let problem = "is empty, so that nobody could be this tenant; `antiphon key` makes a \
                           key and its hash, or `anonymous = true` takes requests without a key";
            return Err(("key_hashes", problem.to_owned()));
        }
        Ok(())
    }
}

impl Tenancy {
    /// Checks everything that can be wrong with it.
    ///
    /// # Errors
    /// The first thing that is.
    pub fn check(&self) -> Result<(), TenancyError> {
        let error = |path: String, problem: String| TenancyError { path, problem };
        if self.tenants.len() > TENANTS_MAX {
            let problem = format!("has {} entries; at most {TENANTS_MAX}", self.tenants.len());
            return Err(error("tenants".to_owned(), problem));
        }
        for (index, tenant) in self.tenants.iter().enumerate() {
            let named = |(key, problem)| error(format!("tenants[{index}].{key}"), problem);
            tenant.check().map_err(named)?;
        }
        self.check_names()?;
        self.check_keys()
    }

    /// The tenant of this name.
    pub(super) fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.name == name)
    }

    fn check_names(&self) -> Result<(), TenancyError> {
        let mut seen = HashMap::new();
        let mut anonymous = None;
        for (index, tenant) in self.tenants.iter().enumerate() {
            let twin = |key: &str, before: usize| TenancyError {
                path: format!("tenants[{index}].{key}"),
                problem: format!("is also that of tenants[{before}]; there may be one"),
            };
            if let Some(before) = seen.insert(&tenant.name, index) {
                return Err(twin("name", before));
            }
            if tenant.anonymous
                && let Some(before) = anonymous.replace(index)
            {
                return Err(twin("anonymous", before));
            }
        }
        Ok(())
    }

    /// A key that two could use would say nothing.
    fn check_keys(&self) -> Result<(), TenancyError> {
        let mut seen = HashMap::new();
        let admins = [("admin_key_hashes".to_owned(), &self.admin_key_hashes)];
        let tenants = self.tenants.iter().enumerate();
        let tenants = tenants
            .map(|(index, tenant)| (format!("tenants[{index}].key_hashes"), &tenant.key_hashes));
        for (list, hashes) in admins.into_iter().chain(tenants) {
            for (index, hash) in hashes.iter().enumerate() {
                let path = format!("{list}[{index}]");
                if let Some(before) = seen.get(hash) {
                    let problem = format!("is the same as `{before}`; a key belongs to one");
                    return Err(TenancyError { path, problem });
                }
                seen.insert(*hash, path);
            }
        }
        if seen.len() > KEYS_MAX {
            let problem = format!("have {} keys together; at most {KEYS_MAX}", seen.len());
            return Err(TenancyError { path: "tenants".to_owned(), problem });
        }
        Ok(())
    }

    /// Keys of all tenants.
    #[must_use]
    pub fn num_keys(&self) -> usize {
        self.tenants.iter().map(|tenant| tenant.key_hashes.len()).sum()
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |rate: Option<NonZeroU64>| {
            rate.map_or_else(|| "any".to_owned(), |rate| rate.to_string())
        };
        let (requests, tokens) = (said(self.requests_per_minute), said(self.tokens_per_minute));
        write!(f, "{requests} requests and {tokens} tokens a minute")
    }
}

const NAME_CHARS_MAX: usize = 64;
/// Each has its own series of every metric.
const TENANTS_MAX: usize = 1_000;
/// Every request's key is compared with every one of them, within a tenth of a millisecond.
const KEYS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(name: &str) -> Tenant {
        Tenant { key_hashes: vec![KeyHash::of(name)], ..Tenant::unbounded(name) }
    }

    fn problem(change: impl FnOnce(&mut Tenancy)) -> String {
        let mut tenancy = Tenancy {
            tenants: vec![keyed("a"), keyed("b"), keyed("c")],
            admin_key_hashes: vec![KeyHash::of("admin")],
        };
        assert_eq!(tenancy.check(), Ok(()));
        change(&mut tenancy);
        tenancy.check().unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        assert_eq!(
            problem(|tenancy| tenancy.tenants[2].weight = 0),
            "`tenants[2].weight` is 0; it must be from 1 to 1000000"
        );
        assert_eq!(
            problem(|tenancy| tenancy.tenants[0].running_max = 0),
            "`tenants[0].running_max` is 0; it must be at least 1"
        );
        assert_eq!(
            problem(|tenancy| tenancy.tenants[1].kv_per_mille = 1_001),
            "`tenants[1].kv_per_mille` is 1001; it must be from 1 to 1000"
        );
        assert_eq!(
            problem(|tenancy| tenancy.tenants[2].name = "a".to_owned()),
            "`tenants[2].name` is also that of tenants[0]; there may be one"
        );
        for name in ["", "a b", "é", "a\n", &"x".repeat(65)] {
            let problem = problem(|tenancy| tenancy.tenants[1].name = name.to_owned());
            assert!(problem.starts_with("`tenants[1].name` must be 1 to 64 letters"), "{problem}");
        }
        let problem = problem(|tenancy| {
            tenancy.tenants[0].anonymous = true;
            tenancy.tenants[1].anonymous = true;
        });
        assert_eq!(problem, "`tenants[1].anonymous` is also that of tenants[0]; there may be one");
    }

    #[test]
    fn a_key_belongs_to_one() {
        assert_eq!(
            problem(|tenancy| tenancy.tenants[1].key_hashes.push(KeyHash::of("a"))),
            "`tenants[1].key_hashes[1]` is the same as `tenants[0].key_hashes[0]`; a key belongs \
             to one"
        );
        assert_eq!(
            problem(|tenancy| tenancy.tenants[2].key_hashes.push(KeyHash::of("admin"))),
            "`tenants[2].key_hashes[1]` is the same as `admin_key_hashes[0]`; a key belongs to one"
        );
        let nobody = problem(|tenancy| tenancy.tenants[0].key_hashes.clear());
        assert!(nobody.starts_with("`tenants[0].key_hashes` is empty"), "{nobody}");
    }
}
