//! A closed loop: N clients, each sending its next request when the last has ended.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::{self, Timing};

const IDLE: &str = "antiphon_engine_idle_seconds_total";

/// Sizes of every request.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) prompt: usize,
    pub(crate) output: usize,
    /// Ids of prompts are below this, and at least 300.
    pub(crate) vocabulary: u32,
}

/// What one run of the loop measured.
pub(crate) struct Run {
    pub(crate) elapsed: Duration,
    pub(crate) timings: Vec<Timing>,
    /// The device's idle time meanwhile, where the server tells it.
    pub(crate) idle: Option<Duration>,
}

impl Run {
    /// Output tokens a second, over all clients.
    pub(crate) fn output_rate(&self) -> f64 {
        let tokens: u64 = self.timings.iter().map(|timing| timing.output_tokens).sum();
        tokens as f64 / self.elapsed.as_secs_f64()
    }

    /// Each request's time to its first event, in milliseconds.
    pub(crate) fn ttft_ms(&self) -> Vec<f64> {
        self.timings.iter().map(|timing| timing.first_token.as_secs_f64() * 1e3).collect()
    }

    /// Every gap between events, in milliseconds.
    pub(crate) fn gaps_ms(&self) -> Vec<f64> {
        let gaps = self.timings.iter().flat_map(|timing| &timing.gaps);
        gaps.map(|gap| gap.as_secs_f64() * 1e3).collect()
    }

    /// Each request's mean time between tokens, in milliseconds.
    pub(crate) fn tpot_ms(&self) -> Vec<f64> {
        let mean = |timing: &Timing| {
            let decode = timing.total.saturating_sub(timing.first_token).as_secs_f64();
            decode * 1e3 / timing.output_tokens.saturating_sub(1).max(1) as f64
        };
        self.timings.iter().map(mean).collect()
    }
}

/// Lets `clients` clients send `requests` requests each. Equal seeds send equal prompts.
pub(crate) fn closed_loop(
    port: u16,
    clients: usize,
    requests: usize,
    shape: Shape,
    seed: u64,
) -> Result<Run> {
    let idle_before = client::metric(port, IDLE)?;
    let started = Instant::now();
    let mut timings = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..clients)
            .map(|client| scope.spawn(move || one_client(port, client, requests, shape, seed)))
            .collect();
        for thread in threads {
            timings.extend(thread.join().expect("a client thread does not panic")?);
        }
        Ok(())
    })?;
    let elapsed = started.elapsed();
    let idle = idle_before.zip(client::metric(port, IDLE)?);
    let idle = idle.map(|(before, after)| Duration::from_secs_f64((after - before).max(0.0)));
    Ok(Run { elapsed, timings, idle })
}

fn one_client(
    port: u16,
    client: usize,
    requests: usize,
    shape: Shape,
    seed: u64,
) -> Result<Vec<Timing>> {
    (0..requests)
        .map(|request| {
            let stream = seed ^ ((client as u64) << 40) ^ ((request as u64) << 20);
            let prompt = random_prompt(shape, stream);
            let timing = client::completion(port, &prompt, shape.output)
                .with_context(|| format!("client {client}, request {request}"))?;
            ensure!(
                timing.output_tokens == shape.output as u64,
                "asked for {} tokens, got {}",
                shape.output,
                timing.output_tokens
            );
            Ok(timing)
        })
        .collect()
}

/// Token ids that are ordinary text in most vocabularies: those of control tokens and single bytes
/// are below.
fn random_prompt(shape: Shape, seed: u64) -> Vec<u32> {
    const FIRST: u32 = 300;
    let mut state = seed;
    (0..shape.prompt)
        .map(|_| {
            // SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            FIRST + ((z ^ (z >> 31)) % u64::from(shape.vocabulary - FIRST)) as u32
        })
        .collect()
}
