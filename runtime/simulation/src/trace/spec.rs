//! A trace that is drawn: streams of requests, and a seed.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde::Deserialize;

use super::draw::{exponential, gamma, normal};
use super::{Arrival, Names, Trace, TraceError};

/// A day may have as many, and no trace more.
const ARRIVALS_MAX: usize = 20_000_000;
const SECONDS_MAX: f64 = 31_536_000.0;
const TOKENS_MAX: f64 = 16_777_216.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    seed: u64,
    /// How long requests arrive.
    duration_s: f64,
    /// Of tenants that have another one than 1.
    #[serde(default)]
    weights: BTreeMap<String, u32>,
    #[serde(default, rename = "stream")]
    streams: Vec<Stream>,
}

/// Requests of one tenant that are alike.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stream {
    tenant: String,
    arrivals: Arrivals,
    prompt: Length,
    output: Length,
    #[serde(default)]
    from_s: f64,
    until_s: Option<f64>,
}

/// When requests come; rates are requests a second.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum Arrivals {
    /// So many at once.
    Burst { count: usize },
    /// At equal distances.
    Even { rate: f64 },
    /// With gaps of a gamma distribution: below 1, the smaller its shape, the more in bursts.
    Gamma { rate: f64, shape: f64 },
    /// Each independent of all others.
    Poisson { rate: f64 },
}

/// Tokens of a prompt or an output.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum Length {
    Fixed { tokens: f64 },
    Lognormal { median: f64, sigma: f64, max: f64 },
    Uniform { min: f64, max: f64 },
}

pub(super) fn read(text: &str) -> Result<Trace, TraceError> {
    let spec: Spec = toml::from_str(text)?;
    check("duration_s", spec.duration_s, (0.0, SECONDS_MAX))?;
    let (mut arrivals, mut names) = (Vec::new(), Names::default());
    for (index, stream) in spec.streams.iter().enumerate() {
        let key = |name: &str| format!("stream[{index}].{name}");
        stream.check(&key)?;
        let tenant = names.number(&stream.tenant);
        // A stream's draws are its own, whatever stands beside it.
        let mut rng = Rng::with_seed(spec.seed.wrapping_add((index as u64) << 32));
        stream.draw(spec.duration_s, &mut rng, tenant, &mut arrivals);
        if arrivals.len() > ARRIVALS_MAX {
            let found = format!("more than {ARRIVALS_MAX}");
            let expected = format!("at most {ARRIVALS_MAX} requests in all streams");
            return Err(TraceError::OutOfRange { key: key("arrivals"), found, expected });
        }
    }
    for (name, &weight) in &spec.weights {
        check(&format!("weights.{name}"), weight.into(), (1.0, 1e6))?;
        let number = names.number(name);
        names.names[number as usize].1 = weight;
    }
    Ok(Trace { tenants: names.names, arrivals })
}

impl Stream {
    fn check(&self, key: &dyn Fn(&str) -> String) -> Result<(), TraceError> {
        check(&key("from_s"), self.from_s, (0.0, SECONDS_MAX))?;
        check(&key("until_s"), self.until_s.unwrap_or(SECONDS_MAX), (0.0, SECONDS_MAX))?;
        let rates = (1e-6, 1e6);
        match self.arrivals {
            Arrivals::Burst { count } => {
                check(&key("arrivals.count"), count as f64, (1.0, ARRIVALS_MAX as f64))?;
            }
            Arrivals::Even { rate } | Arrivals::Poisson { rate } => {
                check(&key("arrivals.rate"), rate, rates)?;
            }
            Arrivals::Gamma { rate, shape } => {
                check(&key("arrivals.rate"), rate, rates)?;
                check(&key("arrivals.shape"), shape, (0.01, 100.0))?;
            }
        }
        self.prompt.check(&key("prompt"))?;
        self.output.check(&key("output"))
    }

    fn draw(&self, duration_s: f64, rng: &mut Rng, tenant: u32, arrivals: &mut Vec<Arrival>) {
        let until = self.until_s.unwrap_or(duration_s).min(duration_s);
        let mut push = |at_s: f64, rng: &mut Rng| {
            let at_us = (at_s * 1e6) as u64;
            let (prompt, output) = (self.prompt.draw(rng), self.output.draw(rng));
            arrivals.push(Arrival { at_us, tenant, prompt, output });
            arrivals.len() <= ARRIVALS_MAX
        };
        if let Arrivals::Burst { count } = self.arrivals {
            (0..count).for_each(|_| _ = push(self.from_s, rng));
            return;
        }
        let mut at = self.from_s + self.arrivals.gap(rng);
        while at < until && push(at, rng) {
            at += self.arrivals.gap(rng);
        }
    }
}

impl Arrivals {
    /// Seconds to the next one.
    fn gap(&self, rng: &mut Rng) -> f64 {
        match *self {
            Self::Burst { .. } => 0.0,
            Self::Even { rate } => 1.0 / rate,
            Self::Gamma { rate, shape } => gamma(rng, shape) / rate,
            Self::Poisson { rate } => exponential(rng) / rate,
        }
    }
}

impl Length {
    fn check(&self, key: &str) -> Result<(), TraceError> {
        let tokens = (1.0, TOKENS_MAX);
        match *self {
            Self::Fixed { tokens: fixed } => check(&format!("{key}.tokens"), fixed, tokens),
            Self::Lognormal { median, sigma, max } => {
                check(&format!("{key}.median"), median, tokens)?;
                check(&format!("{key}.sigma"), sigma, (0.0, 10.0))?;
                check(&format!("{key}.max"), max, (median, TOKENS_MAX))
            }
            Self::Uniform { min, max } => {
                check(&format!("{key}.min"), min, tokens)?;
                check(&format!("{key}.max"), max, (min, TOKENS_MAX))
            }
        }
    }

    fn draw(&self, rng: &mut Rng) -> u32 {
        let tokens = match *self {
            Self::Fixed { tokens } => tokens,
            Self::Lognormal { median, sigma, max } => {
                (median * (sigma * normal(rng)).exp()).clamp(1.0, max)
            }
            Self::Uniform { min, max } => min + (max - min + 1.0) * rng.f64(),
        };
        tokens as u32
    }
}

fn check(key: &str, found: f64, (min, max): (f64, f64)) -> Result<(), TraceError> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    let expected = format!("from {min} to {max}");
    Err(TraceError::OutOfRange { key: key.to_owned(), found: found.to_string(), expected })
}
