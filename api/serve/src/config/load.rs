//! The layers, in order: defaults, a file, the environment, the command line.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::layer::Layers;
use super::{Config, Origin, Setting, flatten};

/// What a variable's name begins with: `ANTIPHON__SECTION__KEY`.
const PREFIX: &str = "ANTIPHON__";

/// The list that is no section.
const TENANTS: &str = "tenants";

/// Larger is no configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where settings come from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// A TOML file.
    pub(crate) file: Option<PathBuf>,
    /// The variables of the environment that begin with the prefix.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Keys and values of the command line, with the flag's name.
    pub(crate) flags: Vec<(&'static str, Value, &'static str)>,
}

impl Sources {
    /// The environment of this process, with nothing else.
    pub(crate) fn from_environment() -> Self {
        let ours = |(name, _): &(OsString, OsString)| {
            name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
        };
        let mut environment: Vec<_> = std::env::vars_os().filter(ours).collect();
        environment.sort();
        Self { environment, ..Self::default() }
    }
}

/// Reads all layers.
///
/// # Errors
/// The first thing that is wrong, with the key and where it came from.
pub(crate) fn load(sources: &Sources) -> Result<Config> {
    let mut layers = Layers::new();
    if let Some(path) = &sources.file {
        let text =
            read(path).with_context(|| format!("cannot read configuration {}", path.display()))?;
        from_file(&mut layers, path, &text)?;
    }
    for (name, value) in &sources.environment {
        let setting = from_variable(&layers, name, value)?;
        layers.apply(setting)?;
    }
    for (key, value, flag) in &sources.flags {
        let origin = Origin::Flag(flag);
        layers.apply(Setting { key: (*key).to_owned(), value: value.clone(), origin })?;
    }
    layers.finish()
}

fn read(path: &Path) -> Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        bail!("not a file");
    }
    if metadata.len() > FILE_BYTES_MAX {
        bail!("it has {} bytes; at most {FILE_BYTES_MAX} are read", metadata.len());
    }
    Ok(fs::read_to_string(path)?)
}

fn from_file(layers: &mut Layers, path: &Path, text: &str) -> Result<()> {
    let parsed = DeTable::parse(text)
        .and_then(|spans| Ok((spans, toml::from_str::<toml::Table>(text)?)))
        .map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(text, span.start));
            let reason = error.message().lines().next().unwrap_or_default().to_owned();
            anyhow!("{}:{line}: {reason}", path.display())
        });
    let (spans, mut table) = parsed?;
    let spans = spans.get_ref();
    let origin = |at: usize| Origin::File(path.to_owned(), line_at(text, at));
    if let Some(tenants) = table.remove(TENANTS) {
        let place = |index, key: Option<&str>| origin(entry_start(spans, index, key));
        layers.apply_tenants(&tenants, place)?;
    }
    for (key, value) in flatten(&table) {
        let origin = origin(span_start(spans, &key));
        layers.apply(Setting { key, value, origin })?;
    }
    Ok(())
}

/// Where in the text a tenant's key stands; its entry, without a key.
fn entry_start(table: &DeTable<'_>, index: usize, key: Option<&str>) -> usize {
    let named = |table: &DeTable<'_>, key: &str| {
        let found = table.iter().find(|(name, _)| name.get_ref().as_ref() == key);
        found.map(|(name, _)| name.span().start)
    };
    let list = table.get(TENANTS).map(toml::Spanned::get_ref);
    let Some(DeValue::Array(list)) = list else { return named(table, TENANTS).unwrap_or(0) };
    let Some(entry) = list.get(index) else { return named(table, TENANTS).unwrap_or(0) };
    match (entry.get_ref(), key) {
        (DeValue::Table(inner), Some(key)) => {
            named(inner, key).unwrap_or_else(|| entry.span().start)
        }
        _ => entry.span().start,
    }
}

/// Where in the text the key stands; its section, if the parser has no place for it.
fn span_start(table: &DeTable<'_>, key: &str) -> usize {
    let (first, rest) =
        key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref().as_ref() == first)
    else {
        return 0;
    };
    match (rest, value.get_ref()) {
        (Some(rest), DeValue::Table(inner)) => span_start(inner, rest),
        _ => name.span().start,
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn from_variable(layers: &Layers, name: &OsString, value: &OsString) -> Result<Setting> {
    let shown = name.to_string_lossy().into_owned();
    let (Some(name), Some(text)) = (name.to_str(), value.to_str()) else {
        bail!("environment variable {shown}: its name and value must be valid UTF-8");
    };
    let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
    let origin = Origin::Environment(shown);
    let value = match layers.default_of(&key, &origin)? {
        Value::Boolean(_) => text.parse().map(Value::Boolean).ok(),
        Value::Integer(_) => text.parse().map(Value::Integer).ok(),
        Value::Float(_) => text.parse().map(Value::Float).ok(),
        Value::Array(_) | Value::Datetime(_) | Value::String(_) | Value::Table(_) => {
            Some(Value::String(text.to_owned()))
        }
    };
    let Some(value) = value else {
        let want = layers.default_of(&key, &origin)?.type_str();
        bail!("{origin}: `{key}` takes a value of type {want}, not {text:?}");
    };
    Ok(Setting { key, value, origin })
}
