//! The tenants of a configuration: entries of `[[tenants]]`, read key by key, so that an error says
//! which entry and what would be right.

use anyhow::{Result, anyhow, bail};
use runtime::KeyHash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use super::keys::nearest;
use super::layer::Origin;

/// One tenant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) key_hashes: Vec<Hash>,
    /// Whether requests without a key are this tenant's.
    pub(crate) anonymous: bool,
    /// Empty: all.
    pub(crate) models: Vec<String>,
    pub(crate) weight: u32,
    pub(crate) priority_max: u8,
    pub(crate) kv_per_mille: u32,
    #[serde(flatten)]
    pub(crate) limits: Limits,
}

/// What a tenant is limited in; what is not said is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) running_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting_tokens_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests_per_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens_per_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
}

/// The hash of a key. Printed, it is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(pub(crate) KeyHash);

/// Every key of an entry, sorted.
pub(crate) const KEYS: &[&str] = &[
    "anonymous",
    "key_hashes",
    "kv_per_mille",
    "models",
    "name",
    "priority_max",
    "queue_timeout_ms",
    "requests_per_minute",
    "running_max",
    "timeout_ms",
    "tokens_per_minute",
    "waiting_max",
    "waiting_tokens_max",
    "weight",
];

/// A value on its way into an entry.
struct Entry<'a> {
    /// Like `tenants[2].weight`.
    path: String,
    origin: Origin,
    value: &'a Value,
}

/// Reads the list of tenants; `origin` says where a key of an entry stands.
///
/// # Errors
/// The first key that is unknown, of a wrong type, or out of range.
pub(crate) fn read(
    value: &Value,
    origin: impl Fn(usize, Option<&str>) -> Origin,
) -> Result<Vec<Tenant>> {
    let list = value.as_array().filter(|list| list.iter().all(Value::is_table));
    let Some(list) = list else {
        bail!("{}: `tenants` is a list: begin each of them with [[tenants]]", origin(0, None))
    };
    let tables = list.iter().filter_map(Value::as_table).enumerate();
    tables.map(|(index, table)| read_one(index, table, |key| origin(index, key))).collect()
}

fn read_one(
    index: usize,
    table: &Table,
    origin: impl Fn(Option<&str>) -> Origin,
) -> Result<Tenant> {
    let mut tenant = Tenant {
        name: String::new(),
        key_hashes: Vec::new(),
        anonymous: false,
        models: Vec::new(),
        weight: 1,
        priority_max: u8::MAX,
        kv_per_mille: 1_000,
        limits: Limits::default(),
    };
    if !table.contains_key("name") {
        bail!("{}: `tenants[{index}].name` is missing", origin(None));
    }
    for (key, value) in table {
        let path = format!("tenants[{index}].{key}");
        tenant.set(key, &Entry { path, origin: origin(Some(key)), value })?;
    }
    Ok(tenant)
}

impl Tenant {
    fn set(&mut self, key: &str, entry: &Entry<'_>) -> Result<()> {
        let limits = &mut self.limits;
        match key {
            "anonymous" => self.anonymous = entry.flag()?,
            "key_hashes" => self.key_hashes = entry.hashes()?,
            "kv_per_mille" => self.kv_per_mille = entry.number(1, 1_000)?,
            "models" => self.models = entry.texts()?,
            "name" => self.name = entry.text()?,
            "priority_max" => self.priority_max = entry.number(0, 255)?,
            "queue_timeout_ms" => limits.queue_timeout_ms = Some(entry.number(1, DAY_MS)?),
            "requests_per_minute" => limits.requests_per_minute = Some(entry.number(1, TIB)?),
            "running_max" => limits.running_max = Some(entry.number(1, MILLION)?),
            "timeout_ms" => limits.timeout_ms = Some(entry.number(1, DAY_MS)?),
            "tokens_per_minute" => limits.tokens_per_minute = Some(entry.number(1, TIB)?),
            "waiting_max" => limits.waiting_max = Some(entry.number(1, MILLION)?),
            "waiting_tokens_max" => limits.waiting_tokens_max = Some(entry.number(1, TIB)?),
            "weight" => self.weight = entry.number(1, MILLION)?,
            _ => {
                let Entry { path, origin, .. } = entry;
                let nearest = nearest(key, KEYS.iter().copied()).expect("there are keys");
                bail!("{origin}: unknown key `{path}`; the nearest one is `{nearest}`")
            }
        }
        Ok(())
    }
}

impl Entry<'_> {
    fn not(&self, expected: &str) -> anyhow::Error {
        let Self { path, origin, value } = self;
        let found = value.type_str();
        anyhow!("{origin}: `{path}` takes a value of type {expected}, not {found}")
    }

    fn flag(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.not("boolean"))
    }

    fn text(&self) -> Result<String> {
        Ok(self.value.as_str().ok_or_else(|| self.not("string"))?.to_owned())
    }

    fn texts(&self) -> Result<Vec<String>> {
        let list = self.value.as_array().ok_or_else(|| self.not("array"))?;
        let text = |(index, value)| {
            let path = format!("{}[{index}]", self.path);
            Entry { path, origin: self.origin.clone(), value }.text()
        };
        list.iter().enumerate().map(text).collect()
    }

    fn hashes(&self) -> Result<Vec<Hash>> {
        let Self { path, origin, .. } = self;
        let hash = |(index, text): (usize, &String)| {
            let hash = text.parse().map_err(|why| anyhow!("{origin}: `{path}[{index}]`: {why}"))?;
            Ok(Hash(hash))
        };
        self.texts()?.iter().enumerate().map(hash).collect()
    }

    fn number<T: TryFrom<i64>>(&self, min: i64, max: i64) -> Result<T> {
        let Self { path, origin, value } = self;
        let number = value.as_integer().ok_or_else(|| self.not("integer"))?;
        match T::try_from(number) {
            Ok(fits) if (min..=max).contains(&number) => Ok(fits),
            Ok(_) | Err(_) => bail!("{origin}: `{path}` is {number}; allowed are {min} to {max}"),
        }
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.masked())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

const MILLION: i64 = 1_000_000;
const TIB: i64 = 1 << 40;
const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Tenant>, String> {
        let table: Table = text.parse().unwrap();
        let origin = |_, _: Option<&str>| Origin::Flag("--x");
        read(&table["tenants"], origin).map_err(|error| error.to_string())
    }

    /// The third entry of a list with this line in it.
    fn problem(line: &str) -> String {
        let first = "[[tenants]]\nname = \"a\"\n[[tenants]]\nname = \"b\"\n[[tenants]]\n";
        let name = if line.starts_with("name") { "" } else { "name = \"c\"\n" };
        read_text(&format!("{first}{name}{line}\n")).unwrap_err()
    }

    #[test]
    fn an_entry_has_defaults_for_all_but_its_name() {
        let tenants = read_text("[[tenants]]\nname = \"a\"\nweight = 3\ntimeout_ms = 9\n").unwrap();
        let expected = Tenant {
            name: "a".to_owned(),
            key_hashes: Vec::new(),
            anonymous: false,
            models: Vec::new(),
            weight: 3,
            priority_max: 255,
            kv_per_mille: 1_000,
            limits: Limits { timeout_ms: Some(9), ..Limits::default() },
        };
        assert_eq!(tenants, [expected]);
        assert_eq!(read_text("tenants = []").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_entry() {
        for (line, message) in [
            ("weight = 0", "`tenants[2].weight` is 0; allowed are 1 to 1000000"),
            ("weight = -1", "`tenants[2].weight` is -1; allowed are 1 to 1000000"),
            ("weight = 0.5", "`tenants[2].weight` takes a value of type integer, not float"),
            ("running_max = 0", "`tenants[2].running_max` is 0; allowed are 1 to 1000000"),
            (
                "requests_per_minute = 0",
                "`tenants[2].requests_per_minute` is 0; allowed are 1 to 1099511627776",
            ),
            ("priority_max = 256", "`tenants[2].priority_max` is 256; allowed are 0 to 255"),
            ("anonymous = 1", "`tenants[2].anonymous` takes a value of type boolean, not integer"),
            ("name = 1", "`tenants[2].name` takes a value of type string, not integer"),
            ("models = \"a\"", "`tenants[2].models` takes a value of type array, not string"),
            ("models = [1]", "`tenants[2].models[0]` takes a value of type string, not integer"),
            ("wieght = 1", "unknown key `tenants[2].wieght`; the nearest one is `weight`"),
            ("key_hashes = [\"sk-secret\"]", IN_CLEAR),
            (
                "key_hashes = [\"sha256:12\"]",
                "`tenants[2].key_hashes[0]`: after `sha256:` there must be 64 hexadecimal digits",
            ),
        ] {
            assert_eq!(problem(line), format!("--x: {message}"), "{line}");
        }
        let nameless = read_text("[[tenants]]\nweight = 1\n").unwrap_err();
        assert_eq!(nameless, "--x: `tenants[0].name` is missing");
        let one = "--x: `tenants` is a list: begin each of them with [[tenants]]";
        assert_eq!(read_text("[tenants]\nname = \"a\"").unwrap_err(), one);
        assert_eq!(read_text("tenants = [1]").unwrap_err(), one);
    }

    const IN_CLEAR: &str = "`tenants[2].key_hashes[0]`: it must be the hash of a key, and looks \
        like a key in clear; `antiphon key` makes a key and its hash, and `printf %s KEY | \
        sha256sum` hashes one that there is";
}
