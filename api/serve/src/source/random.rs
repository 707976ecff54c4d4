//! Models whose weights nobody trained.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

/// The type of weights where none is named.
const ELEMENT: &str = "BF16";

/// A model of a `config.json` with weights that are made up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Random {
    pub(crate) config: PathBuf,
    /// The name of the type of its weights.
    pub(crate) element: String,
    pub(crate) seed: u64,
}

impl Random {
    /// What follows `random:` in `text`: `CONFIG.json[:TYPE][@SEED]`.
    ///
    /// # Errors
    /// It has another form.
    pub(super) fn parse(text: &str, rest: &str) -> Result<Self> {
        let (rest, seed) = match rest.rsplit_once('@') {
            // A path may have such a sign, too.
            Some((before, seed)) if !seed.contains(['/', '.']) => match seed.parse() {
                Ok(seed) => (before, seed),
                Err(_) => bail!("`{text}`: the seed must be an integer, but is `{seed}`"),
            },
            Some(_) | None => (rest, 0),
        };
        let (config, element) = match rest.rsplit_once(':') {
            Some((before, element)) if !element.contains(['/', '.']) => (before, element),
            Some(_) | None => (rest, ELEMENT),
        };
        ensure!(
            config.ends_with(".json") && !element.is_empty(),
            "`{text}` is not of the form random:CONFIG.json[:TYPE][@SEED]"
        );
        Ok(Self { config: config.into(), element: element.to_owned(), seed })
    }
}

impl fmt::Display for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, element, seed } = self;
        write!(f, "random:{}:{element}@{seed}", config.display())
    }
}
