//! Whose a request is, and what each tenant may take of the server.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// A tenant's name. The same one in every table that is ever given to a scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u32);

/// How urgent a request is among its tenant's own; 0 is the least. It buys nothing against others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u8);

/// One tenant: its share, and its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// Its share of the server, against the weights of the others that want something: 1 to
    /// 1,000,000.
    pub weight: u32,
    /// The highest priority of its requests; a higher one counts as this.
    pub priority_max: Priority,
    /// Most seats held by its requests, at least 1.
    pub running_max: u32,
    /// Most of its requests waiting, at least 1.
    pub waiting_max: u32,
    /// Most prompt tokens of its requests waiting, at least 1.
    pub waiting_tokens_max: u64,
    /// Thousandths of the cache that its requests may hold, 1 to 1,000. One that runs alone may
    /// always go on, even beyond a share that has been cut under it.
    pub kv_per_mille: u32,
}

/// A table of tenants that can be used: names are unique, numbers in their ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants(Vec<Tenant>);

/// Why a table of tenants can not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantError {
    /// Two tenants have one name.
    Duplicate(TenantId),
    /// The table is empty.
    NoTenant,
    /// A number is outside its range.
    OutOfRange {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        key: &'static str,
        /// Its value.
        value: u64,
        /// What would be right.
        expected: &'static str,
    },
}

impl Tenant {
    /// A tenant of weight 1 without bounds of its own.
    #[must_use]
    pub const fn unbounded(id: TenantId) -> Self {
        Self {
            id,
            weight: 1,
            priority_max: Priority(u8::MAX),
            running_max: u32::MAX,
            waiting_max: u32::MAX,
            waiting_tokens_max: u64::MAX,
            kv_per_mille: 1_000,
        }
    }

    /// Checks its numbers.
    ///
    /// # Errors
    /// The first [`TenantError::OutOfRange`].
    pub fn check(&self) -> Result<(), TenantError> {
        let tenant = self.id;
        let check = |key, value: u64, range: RangeInclusive<u64>, expected| {
            let is_right = range.contains(&value);
            if is_right {
                Ok(())
            } else {
                Err(TenantError::OutOfRange { tenant, key, value, expected })
            }
        };
        let (count, count_says) = (1..=u64::MAX, "at least 1");
        check("weight", self.weight.into(), 1..=1_000_000, "from 1 to 1000000")?;
        check("running_max", self.running_max.into(), count.clone(), count_says)?;
        check("waiting_max", self.waiting_max.into(), count.clone(), count_says)?;
        check("waiting_tokens_max", self.waiting_tokens_max, count, count_says)?;
        check("kv_per_mille", self.kv_per_mille.into(), 1..=1_000, "from 1 to 1000")
    }
}

impl Tenants {
    /// Checks a table.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(table: impl IntoIterator<Item = Tenant>) -> Result<Self, TenantError> {
        let mut table: Vec<_> = table.into_iter().collect();
        table.sort_by_key(|tenant| tenant.id);
        if table.is_empty() {
            return Err(TenantError::NoTenant);
        }
        if let Some(twins) = table.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(TenantError::Duplicate(twins[0].id));
        }
        table.iter().try_for_each(Tenant::check)?;
        Ok(Self(table))
    }

    /// All tenants, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Tenant> {
        self.0.iter()
    }
}

impl Default for Tenants {
    /// One tenant, to whom everything belongs.
    fn default() -> Self {
        Self(vec![Tenant::unbounded(TenantId::default())])
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for TenantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(tenant) => write!(f, "tenant {tenant} is there twice"),
            Self::NoTenant => f.write_str("there must be at least one tenant"),
            Self::OutOfRange { tenant, key, value, expected } => {
                write!(f, "{key} of tenant {tenant} is {value}, and must be {expected}")
            }
        }
    }
}

impl core::error::Error for TenantError {}
