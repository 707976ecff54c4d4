//! What a seed asks for: sizes, requests, and how the outside world behaves.

use std::sync::Arc;

use engine_contract::{Sampling, TokenId};
use runtime_core::{Costs, Finish, Limits, PrefixCache, Pricing, Request, RequestId, Terms};

use crate::rng::{Rng, mix};

/// Few tokens, so that stop tokens come up and prompts collide.
const VOCAB: u32 = 40;

/// How the outside world behaves in one run.
pub(crate) struct Temper {
    /// Chances that an event is one of these, in per mille.
    pub(crate) arrival: u32,
    pub(crate) cancel: u32,
    pub(crate) fail: u32,
    pub(crate) drain: u32,
    pub(crate) stall: u32,
    pub(crate) reload: u32,
    /// The chance that a request has a deadline, for each of the two, in per mille.
    pub(crate) deadline: u32,
    /// The chance that an event is followed by a poll, in per mille.
    pub(crate) poll: u32,
    /// The chance that an outcome is not finite, in per mille.
    pub(crate) not_finite: u32,
    /// Whether planning waits for an event of its own.
    pub(crate) lazy: bool,
    pub(crate) num_requests: u32,
    /// What a step takes, and each of its positions, in microseconds.
    pub(crate) step_us: (u32, u32),
}

impl Temper {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let is_calm = rng.chance(300);
        let mut rare = |chance| if is_calm { 0 } else { *rng.pick(&[0, 0, chance]) };
        let (cancel, fail, drain, stall) = (rare(80), rare(3), rare(4), rare(4));
        let not_finite = rare(8);
        let (reload, deadline) = (rare(15), rare(300));
        Self {
            arrival: *rng.pick(&[50, 200, 600]),
            cancel,
            fail,
            drain,
            stall,
            reload,
            deadline,
            poll: *rng.pick(&[50, 400, 1_000]),
            not_finite,
            lazy: rng.chance(250),
            num_requests: rng.between(4..=30),
            step_us: (rng.between(1..=30), rng.between(0..=5)),
        }
    }
}

pub(crate) fn draw_limits(rng: &mut Rng) -> Limits {
    let block_size = *rng.pick(&[1, 2, 3, 4, 8]);
    let context = *rng.pick(&[2, 16, 32, 48, 64]);
    // Mostly room for about two sequences, so that they have to fight for it.
    let crowded = rng.between(1..=2 * context) / block_size + 1;
    Limits {
        block_size,
        num_blocks: if rng.chance(750) { crowded } else { 6 * context },
        context,
        rows_max: *rng.pick(&[1, 2, 3, 4, 6]),
        step_tokens_max: if rng.chance(600) { rng.between(1..=8) } else { rng.between(8..=64) },
        pipeline_depth: rng.between(1..=3),
        waiting_max: if rng.chance(300) { rng.between(1..=3) } else { 30 },
        waiting_tokens_max: *rng.pick(&[1, 200, 1_000, 1_000]),
        step_timeout_us: 1_000,
        prefix_cache: if rng.chance(700) { PrefixCache::On } else { PrefixCache::Off },
        costs: Costs { prefill: *rng.pick(&[1, 1, 3]), output: *rng.pick(&[2, 1, 5]) },
        pricing: *rng.pick(&[Pricing::Fixed, Pricing::Fixed, Pricing::Measured]),
        itl_target_us: *rng.pick(&[0, 0, 10, 40, 100]),
        ageing_us: *rng.pick(&[1, 30, 1_000]),
    }
}

/// The most that tokens may ever cost.
pub(crate) fn costs_max(limits: &Limits) -> Costs {
    match limits.pricing {
        Pricing::Fixed => limits.costs,
        Pricing::Measured => Costs::MEASURED_MAX,
    }
}

/// A prompt that begins like others do, and an output that may end early.
pub(crate) fn draw_request(rng: &mut Rng, id: u64, limits: &Limits, terms: Terms) -> Request {
    let longest = if rng.chance(900) { limits.context / 2 } else { limits.context + 2 };
    let shortest = u32::from(rng.chance(980));
    let len = rng.between(shortest..=longest.max(1));
    let family = u64::from(rng.between(0..=2));
    let num_shared = rng.between(0..=len);
    let shared = (0..num_shared).map(|i| TokenId(mix(family << 32 | u64::from(i)) as u32 % VOCAB));
    let mut prompt: Vec<_> = shared.collect();
    prompt.extend((num_shared..len).map(|_| TokenId(rng.between(0..=VOCAB - 1))));
    let stop_tokens: Vec<_> =
        (0..*rng.pick(&[0, 0, 1, 2])).map(|_| TokenId(rng.between(0..=VOCAB - 1))).collect();
    Request {
        id: RequestId(id),
        prompt: prompt.into(),
        max_tokens: *rng.pick(&[1, 2, 20, 60]),
        min_tokens: rng.between(0..=3),
        stop_tokens: stop_tokens.into(),
        sampling: Arc::new(Sampling { seed: rng.next(), ..Sampling::GREEDY }),
        salt: u64::from(rng.chance(150)),
        terms,
    }
}

/// The history of a text, one token longer.
pub(crate) fn extend(history: u64, token: TokenId) -> u64 {
    mix(history.rotate_left(5) ^ (u64::from(token.0) + 1))
}

/// The token that the fake model samples at `position`, after `history`.
pub(crate) fn sample(history: u64, position: u32, seed: u64) -> TokenId {
    TokenId(mix(history ^ mix(seed ^ u64::from(position))) as u32 % VOCAB)
}

/// Most tokens that the limits and its tenant's blocks let a request generate.
pub(crate) fn output_max(request: &Request, limits: &Limits, num_blocks: u32) -> u32 {
    let num_prompt = request.prompt.len() as u32;
    let capacity = num_blocks * limits.block_size;
    request.max_tokens.min(limits.context - num_prompt).min(capacity + 1 - num_prompt)
}

/// What a request generates when it is alone in the world.
pub(crate) fn isolated_run(request: &Request, output_max: u32) -> (Vec<TokenId>, Finish) {
    let mut history = request.prompt.iter().fold(0, |history, &token| extend(history, token));
    let mut output = Vec::new();
    loop {
        let position = (request.prompt.len() + output.len()) as u32;
        let token = sample(history, position, request.sampling.seed);
        let may_stop = output.len() as u32 >= request.min_tokens;
        if may_stop && request.stop_tokens.contains(&token) {
            return (output, Finish::StopToken(token));
        }
        history = extend(history, token);
        output.push(token);
        if output.len() as u32 == output_max {
            return (output, Finish::Length);
        }
    }
}
