//! `antiphon key`: a new key, said once, and the hash that goes into the configuration.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use runtime::{KeyHash, Tenancy, Tenant};

use crate::cli::Key;
use crate::terminal;

/// As many bits as the hash has.
const KEY_BYTES: usize = 32;

pub(crate) fn run(options: &Key) -> Result<ExitCode> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow!("{error}").context("the system has no random numbers"))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("sk-antiphon-{digits}");
    let hash = KeyHash::of(&key);
    let mut text = format!("key: {key}\nhash: {hash}\n");
    if let Some(name) = &options.tenant {
        let tenant = Tenant { key_hashes: vec![hash], ..Tenant::unbounded(name) };
        Tenancy { tenants: vec![tenant], ..Tenancy::default() }.check()?;
        text += &format!("\n[[tenants]]\nname = \"{name}\"\nkey_hashes = [\"{hash}\"]\n");
    }
    terminal::write(&text)?;
    Ok(ExitCode::SUCCESS)
}
