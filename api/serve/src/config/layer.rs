//! Settings on their way into the tree: where each came from, and whether it may enter.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};
use toml::{Table, Value};

use super::keys::nearest;
use super::range::Range;
use super::tenants::{self, Tenant};
use super::{Config, Engine};

/// One value for one key, and who said so.
pub(crate) struct Setting {
    /// `section.key`.
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The name of an environment variable.
    Environment(String),
    /// A file, and the line in it.
    File(PathBuf, usize),
    /// A command line flag.
    Flag(&'static str),
}

/// The tree while it is being put together. Later settings win.
pub(crate) struct Layers {
    defaults: Table,
    tree: Table,
    tenants: Vec<Tenant>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

impl Layers {
    pub(crate) fn new() -> Self {
        let defaults = Config::default().to_table();
        Self { tree: defaults.clone(), defaults, tenants: Vec::new() }
    }

    /// The value that a key has by default; what kind of value it takes is read off it.
    ///
    /// # Errors
    /// There is no such key; names the nearest one.
    pub(crate) fn default_of(&self, key: &str, origin: &Origin) -> Result<&Value> {
        match lookup(&self.defaults, key) {
            None => {
                let leaves = flatten(&self.defaults);
                let sections = self.defaults.keys().map(String::as_str);
                let known = leaves.iter().map(|(leaf, _)| leaf.as_str()).chain(sections);
                let nearest = nearest(key, known).expect("there are keys");
                bail!("{origin}: unknown key `{key}`; the nearest one is `{nearest}`")
            }
            Some(Value::Table(_)) => {
                bail!("{origin}: `{key}` is a section, and takes no value of its own")
            }
            Some(value) => Ok(value),
        }
    }

    /// Puts one setting into the tree.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong kind, a number out of range, a word that is none of the
    /// allowed ones.
    pub(crate) fn apply(&mut self, setting: Setting) -> Result<()> {
        let Setting { key, value, origin } = setting;
        let default = self.default_of(&key, &origin)?;
        if !default.same_type(&value) {
            let (want, got) = (default.type_str(), value.type_str());
            bail!("{origin}: `{key}` takes a value of type {want}, not {got}");
        }
        if let (Some(range), Value::Integer(number)) = (Range::of(&key), &value)
            && !range.contains(*number)
        {
            let Range { min, max, .. } = range;
            bail!("{origin}: `{key}` is {number}; allowed are {min} to {max}");
        }
        self.set(&key, value);
        if let Err(error) = self.tree.clone().try_into::<Config>() {
            let reason = error.message().lines().next().unwrap_or_default().to_owned();
            bail!("{origin}: `{key}`: {reason}");
        }
        Ok(())
    }

    /// Takes the list of tenants; `origin` says where a key of an entry stands.
    ///
    /// # Errors
    /// The first entry that is wrong.
    pub(crate) fn apply_tenants(
        &mut self,
        value: &Value,
        origin: impl Fn(usize, Option<&str>) -> Origin,
    ) -> Result<()> {
        self.tenants = tenants::read(value, origin)?;
        Ok(())
    }

    /// The finished tree.
    ///
    /// # Errors
    /// Values that do not go together.
    pub(crate) fn finish(self) -> Result<Config> {
        let tree: Config = self.tree.try_into().expect("every setting was tried when it came");
        let config = Config { tenants: self.tenants, ..tree };
        let Engine { rows_max, step_tokens_max, .. } = config.engine;
        if step_tokens_max < rows_max {
            bail!(
                "`engine.step_tokens_max` is {step_tokens_max}; it must be at least \
                 `engine.rows_max`, which is {rows_max}, so that every row can decode"
            );
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: Value) {
        let (section, leaf) = key.split_once('.').expect("every leaf is in a section");
        let Some(Value::Table(section)) = self.tree.get_mut(section) else {
            unreachable!("`default_of` found the section");
        };
        section.insert(leaf.to_owned(), value);
    }
}

/// Every value of a tree of tables, with its dotted key. An empty table counts as a value, so that
/// nothing written is passed over.
pub(crate) fn flatten(table: &Table) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => leaves.extend(
                flatten(inner).into_iter().map(|(rest, value)| (format!("{name}.{rest}"), value)),
            ),
            Value::Array(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Float(_)
            | Value::Integer(_)
            | Value::String(_)
            | Value::Table(_) => leaves.push((name.clone(), value.clone())),
        }
    }
    leaves
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => lookup(table.get(section)?.as_table()?, rest),
    }
}
