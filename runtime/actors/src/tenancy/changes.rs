//! What another table of tenants changes, for whoever replaced it.

use std::fmt;

use super::tenant::{Tenancy, Tenant};

/// The difference of two tables, in names and numbers; no key and no digest is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenancyChanges {
    /// Who is new, and with how many keys.
    pub added: Vec<(String, usize)>,
    /// Who is gone.
    pub removed: Vec<String>,
    /// Who is served on other terms, and what has changed.
    pub changed: Vec<(String, Vec<String>)>,
    /// How many keys those who run the server had, and have, if the keys are others.
    pub admin_keys: Option<(usize, usize)>,
}

impl TenancyChanges {
    pub(super) fn between(old: &Tenancy, new: &Tenancy) -> Self {
        let mut changes = Self::default();
        for tenant in &new.tenants {
            match old.tenant(&tenant.name) {
                None => changes.added.push((tenant.name.clone(), tenant.key_hashes.len())),
                Some(before) if before != tenant => {
                    changes.changed.push((tenant.name.clone(), differences(before, tenant)));
                }
                Some(_) => {}
            }
        }
        let gone = old.tenants.iter().filter(|tenant| new.tenant(&tenant.name).is_none());
        changes.removed = gone.map(|tenant| tenant.name.clone()).collect();
        let (before, after) = (&old.admin_key_hashes, &new.admin_key_hashes);
        changes.admin_keys = (before != after).then_some((before.len(), after.len()));
        changes
    }

    /// Whether the tables are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn differences(old: &Tenant, new: &Tenant) -> Vec<String> {
    let mut list = Vec::new();
    let mut note = |key: &str, from: String, to: String| {
        if from != to {
            list.push(format!("{key} {from} -> {to}"));
        }
    };
    let number = |number: u64, none: u64| match number {
        number if number == none => "any".to_owned(),
        number => number.to_string(),
    };
    let count = |count: u32| number(count.into(), u32::MAX.into());
    note("anonymous", old.anonymous.to_string(), new.anonymous.to_string());
    note("models", format!("{:?}", old.models), format!("{:?}", new.models));
    note("weight", old.weight.to_string(), new.weight.to_string());
    note("priority_max", old.priority_max.to_string(), new.priority_max.to_string());
    note("running_max", count(old.running_max), count(new.running_max));
    note("waiting_max", count(old.waiting_max), count(new.waiting_max));
    let tokens = |tenant: &Tenant| number(tenant.waiting_tokens_max, u64::MAX);
    note("waiting_tokens_max", tokens(old), tokens(new));
    note("kv_per_mille", old.kv_per_mille.to_string(), new.kv_per_mille.to_string());
    note("rates", old.rates.to_string(), new.rates.to_string());
    note("timeouts", format!("{:?}", old.timeouts), format!("{:?}", new.timeouts));
    if old.key_hashes != new.key_hashes {
        let (from, to) = (old.key_hashes.len(), new.key_hashes.len());
        list.push(format!("keys {from} -> {to}"));
    }
    list
}

impl fmt::Display for TenancyChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no tenant changed");
        }
        let keys = |(name, keys): &(String, usize)| format!("{name} ({keys} keys)");
        let terms =
            |(name, terms): &(String, Vec<String>)| format!("{name} ({})", terms.join(", "));
        let parts = [
            ("added", self.added.iter().map(keys).collect()),
            ("removed", self.removed.clone()),
            ("changed", self.changed.iter().map(terms).collect::<Vec<_>>()),
            ("admin keys", self.admin_keys.iter().map(|(a, b)| format!("{a} -> {b}")).collect()),
        ];
        let parts = parts.iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<_> =
            parts.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
        f.write_str(&parts.join("; "))
    }
}
