//! What a seed asks for: sizes, requests, and how the outside world behaves.

use std::sync::Arc;

use engine_contract::{Sampling, TokenId};
use runtime_core::{Finish, Limits, PrefixCache, Request, RequestId};

use crate::rng::{Rng, mix};

/// Few tokens, so that stop tokens come up and prompts collide.
const VOCAB: u32 = 40;

/// How the outside world behaves in one run: chances in percent of one event, or of one answer.
pub(crate) struct Temper {
    pub(crate) arrival: u32,
    pub(crate) cancel: u32,
    pub(crate) poll: u32,
    pub(crate) fail: u32,
    pub(crate) drain: u32,
    pub(crate) stall: u32,
    pub(crate) not_finite: u32,
    /// Whether planning waits for an event of its own.
    pub(crate) lazy: bool,
    pub(crate) num_requests: u32,
}

impl Temper {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let calm = rng.percent(30);
        let mut rare = |percent| if calm { 0 } else { *rng.pick(&[0, 0, percent]) };
        let (cancel, fail, drain, stall) = (rare(8), rare(1), rare(1), rare(1));
        let not_finite = rare(3);
        Self {
            arrival: *rng.pick(&[5, 20, 60]),
            cancel,
            poll: *rng.pick(&[5, 40, 100]),
            fail,
            drain,
            stall,
            not_finite,
            lazy: rng.percent(25),
            num_requests: rng.between(4..=30),
        }
    }
}

pub(crate) fn draw_limits(rng: &mut Rng) -> Limits {
    let block_size = *rng.pick(&[1, 2, 3, 4, 8]);
    Limits {
        block_size,
        num_blocks: if rng.percent(70) { rng.between(1..=16) } else { rng.between(16..=80) },
        context: *rng.pick(&[2, 8, 24, 48, 64]),
        rows_max: rng.between(1..=6),
        step_tokens_max: if rng.percent(60) { rng.between(1..=8) } else { rng.between(8..=64) },
        pipeline_depth: rng.between(1..=3),
        waiting_max: rng.between(1..=12),
        waiting_tokens_max: *rng.pick(&[1, 30, 100, 1_000]),
        step_timeout_us: 1_000,
        prefix_cache: if rng.percent(70) { PrefixCache::On } else { PrefixCache::Off },
    }
}

/// A prompt that begins like others do, and an output that may end early.
pub(crate) fn draw_request(rng: &mut Rng, id: u64, limits: &Limits) -> Request {
    let longest = if rng.percent(90) { limits.context.min(30) } else { limits.context + 2 };
    let shortest = u32::from(rng.percent(98));
    let len = rng.between(shortest..=longest.max(1));
    let family = u64::from(rng.between(0..=2));
    let num_shared = rng.between(0..=len);
    let shared = (0..num_shared).map(|i| TokenId(mix(family << 32 | u64::from(i)) as u32 % VOCAB));
    let mut prompt: Vec<_> = shared.collect();
    prompt.extend((num_shared..len).map(|_| TokenId(rng.between(0..=VOCAB - 1))));
    let stop_tokens: Vec<_> =
        (0..rng.between(0..=2)).map(|_| TokenId(rng.between(0..=VOCAB - 1))).collect();
    Request {
        id: RequestId(id),
        prompt: prompt.into(),
        max_tokens: rng.between(1..=20),
        min_tokens: rng.between(0..=3),
        stop_tokens: stop_tokens.into(),
        sampling: Arc::new(Sampling { seed: rng.next(), ..Sampling::GREEDY }),
        salt: u64::from(rng.percent(15)),
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

/// Most tokens that the limits let a request generate.
pub(crate) fn output_max(request: &Request, limits: &Limits) -> u32 {
    let num_prompt = request.prompt.len() as u32;
    let capacity = limits.num_blocks * limits.block_size;
    request.max_tokens.min(limits.context - num_prompt).min(capacity + 1 - num_prompt)
}

/// What a request generates when it is alone in the world.
pub(crate) fn isolated_run(request: &Request, limits: &Limits) -> (Vec<TokenId>, Finish) {
    let mut history = request.prompt.iter().fold(0, |history, &token| extend(history, token));
    let mut output = Vec::new();
    loop {
        let position = (request.prompt.len() + output.len()) as u32;
        let token = sample(history, position, request.sampling.seed);
        let may_stop = output.len() as u32 >= request.min_tokens;
        if may_stop && request.stop_tokens.contains(&token) {
            return (output, Finish::StopToken);
        }
        history = extend(history, token);
        output.push(token);
        if output.len() as u32 == output_max(request, limits) {
            return (output, Finish::Length);
        }
    }
}
