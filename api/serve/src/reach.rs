//! Who can reach the server, and whether somebody has said that they may.

use std::net::ToSocketAddrs as _;

use anyhow::{Result, bail};

use crate::config::{Config, Http};

/// Refuses to serve everybody who can reach the address, unless that was asked for.
///
/// # Errors
/// `http` listens where other machines can reach it, and `config` has no tenants and does not allow
/// that everybody is served.
pub(crate) fn check(config: &Config, http: &Http) -> Result<()> {
    if !config.tenants.is_empty() || config.http.allow_open {
        return Ok(());
    }
    // A name that does not resolve is refused where it is bound, in the words of the system.
    let addresses = (&*http.host, http.port).to_socket_addrs().into_iter().flatten();
    let others = addresses.filter(|address| !address.ip().is_loopback());
    if let Some(address) = others.map(|address| address.ip()).next() {
        bail!(
            "`http.host` is \"{}\", where others can reach {address}, and there are no tenants: \
             list them as [[tenants]], with keys that `antiphon key` makes, or set \
             `http.allow_open` to true to serve everybody",
            http.host
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tenants::{Limits, Tenant};

    fn outcome(host: &str, change: impl FnOnce(&mut Config)) -> Result<(), String> {
        let mut config = Config::default();
        config.http.host = host.to_owned();
        change(&mut config);
        let http = config.http.clone();
        check(&config, &http).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_that_knows_nobody_serves_its_own_machine_only() {
        for near in ["127.0.0.1", "::1", "localhost", "127.9.9.9"] {
            assert_eq!(outcome(near, |_| {}), Ok(()), "{near}");
        }
        for far in ["0.0.0.0", "::", "10.0.0.1"] {
            let error = outcome(far, |_| {}).unwrap_err();
            assert!(error.contains(far) && error.contains("http.allow_open"), "{error}");
            assert_eq!(outcome(far, |config| config.http.allow_open = true), Ok(()));
            let tenant = Tenant {
                name: "a".to_owned(),
                key_hashes: Vec::new(),
                anonymous: true,
                models: Vec::new(),
                weight: 1,
                priority_max: 0,
                kv_per_mille: 1,
                limits: Limits::default(),
            };
            assert_eq!(outcome(far, |config| config.tenants.push(tenant)), Ok(()));
        }
    }
}
