//! Whose a request is, by its key, and what its tenant may still take.
//!
//! The table of tenants is replaced as a whole: whoever looks sees the old one or the new one. What
//! a tenant has used up outlives the table. The scheduler hears of a new table before anybody can
//! ask under it. It knows no header and no file; keys come in as digests only.

mod changes;
mod key;
mod member;
mod meter;
mod tenant;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use runtime_core::{TenantId, Tenants};
use subtle::ConditionallySelectable as _;

pub use changes::TenancyChanges;
pub use key::{KeyHash, KeyHashError};
pub use member::Standing;
pub use meter::Reading;
pub use tenant::{Rates, Tenancy, TenancyError, Tenant, Timeouts};

pub(crate) use member::{Charge, Member, Place, Record};

/// The name of the one tenant of a server that has none.
pub const DEFAULT_TENANT: &str = "default";

/// The tenants in force, and what is remembered of those that ever were.
#[derive(Debug)]
pub(crate) struct Directory {
    table: RwLock<Arc<Table>>,
    /// Locked while a table is replaced.
    known: Mutex<HashMap<String, Arc<Record>>>,
}

/// One table of tenants.
#[derive(Debug)]
struct Table {
    tenancy: Tenancy,
    members: Vec<Arc<Member>>,
    /// Every key, with the place of its member.
    keys: Vec<(KeyHash, u32)>,
    anonymous: Option<Arc<Member>>,
}

/// Whom a request is from. Copies are the same.
#[derive(Clone)]
pub struct Caller {
    member: Arc<Member>,
}

impl Directory {
    /// Everybody is served, as one tenant.
    pub(crate) fn new() -> Self {
        let mut known = HashMap::new();
        let table = Table::new(&Tenancy::default(), &mut known);
        Self { table: RwLock::new(Arc::new(table)), known: Mutex::new(known) }
    }

    /// Replaces the table; `tell` hears what the scheduler has to know before it counts.
    ///
    /// # Errors
    /// The table can not be used; everything stays as it is.
    pub(crate) fn replace(
        &self,
        tenancy: &Tenancy,
        tell: impl FnOnce(Tenants),
    ) -> Result<TenancyChanges, TenancyError> {
        tenancy.check()?;
        let mut known = self.known.lock();
        let new = Table::new(tenancy, &mut known);
        let old = self.table();
        let listed = new.members.iter().map(|member| member.tenant.for_core(member.record.id));
        let listed = Tenants::new(listed).map_err(|error| TenancyError {
            path: "tenants".to_owned(),
            problem: error.to_string(),
        })?;
        for member in &new.members {
            member.record.set_rates(member.tenant.rates);
        }
        tell(listed);
        *self.table.write() = Arc::new(new);
        Ok(TenancyChanges::between(&old.tenancy, tenancy))
    }

    /// The caller with this key, or the one without any. The time that it takes does not tell how
    /// alike a key is to one that counts.
    pub(crate) fn find(&self, key: Option<&KeyHash>) -> Option<Caller> {
        let table = self.table();
        let Some(key) = key else {
            return table.anonymous.clone().map(|member| Caller { member });
        };
        let mut place = u32::MAX;
        for (known, at) in &table.keys {
            place.conditional_assign(at, known.is(key));
        }
        let member = table.members.get(place as usize)?;
        Some(Caller { member: Arc::clone(member) })
    }

    /// Whether this is a key of those who run the server.
    pub(crate) fn is_admin(&self, key: &KeyHash) -> bool {
        let table = self.table();
        let keys = table.tenancy.admin_key_hashes.iter();
        keys.fold(subtle::Choice::from(0), |found, known| found | known.is(key)).into()
    }

    /// Whether there are no tenants: everybody is served.
    pub(crate) fn is_open(&self) -> bool {
        self.table().tenancy.tenants.is_empty()
    }

    /// What is kept of every tenant in the table.
    pub(crate) fn records(&self) -> Vec<Arc<Record>> {
        self.table().members.iter().map(|member| Arc::clone(&member.record)).collect()
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read())
    }
}

impl Table {
    fn new(tenancy: &Tenancy, known: &mut HashMap<String, Arc<Record>>) -> Self {
        let everybody = [Tenant { anonymous: true, ..Tenant::unbounded(DEFAULT_TENANT) }];
        let tenants = match &*tenancy.tenants {
            [] => &everybody[..],
            listed => listed,
        };
        let members: Vec<_> = tenants
            .iter()
            .map(|tenant| {
                let id = TenantId(u32::try_from(known.len()).expect("names fit into memory"));
                let record = known.entry(tenant.name.clone());
                let record = record.or_insert_with(|| Arc::new(Record::new(id, &tenant.name)));
                Arc::new(Member { tenant: tenant.clone(), record: Arc::clone(record) })
            })
            .collect();
        let keys = (0..).zip(&members).flat_map(|(place, member)| {
            member.tenant.key_hashes.iter().map(move |hash| (*hash, place))
        });
        let anonymous = members.iter().find(|member| member.tenant.anonymous).cloned();
        Self { tenancy: tenancy.clone(), keys: keys.collect(), anonymous, members }
    }
}

impl Caller {
    /// The tenant's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.member.record.name
    }

    /// Whether the tenant may use this model.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        let models = &self.member.tenant.models;
        models.is_empty() || models.iter().any(|allowed| allowed == model)
    }

    /// The longest that its requests may take.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.member.tenant.timeouts
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(self.name()).finish()
    }
}

impl Timeouts {
    /// The shorter of each.
    #[must_use]
    pub fn or_sooner(self, other: Self) -> Self {
        let sooner =
            |one: Option<Duration>, other: Option<Duration>| one.into_iter().chain(other).min();
        Self { queue: sooner(self.queue, other.queue), whole: sooner(self.whole, other.whole) }
    }
}

#[cfg(test)]
mod tests;
