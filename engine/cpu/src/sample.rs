//! Drawing tokens from logits.

use std::cmp::Ordering;

use engine_backend::{Draw, Logprobs, Sample, StepLayout};
use parking_lot::Mutex;

use crate::{
    buffer::Buffer,
    exp::exp,
    logprobs::Wanted,
    random::uniform,
    simd::{Chosen, Cuts, Kernel, LANES, Simd, Team, grid, run},
    tally::Tally,
};

/// Candidates that are ranked at first, and by how much that grows if they are not enough: sorting
/// a whole vocabulary takes longer than the rest of a small model's step.
const RANKED: usize = 256;
const RANKED_GROWTH: usize = 8;

/// What sampling keeps from step to step: nothing but memory, for each thread.
pub(crate) struct Rooms(Vec<Mutex<Room>>);

#[derive(Default)]
pub(crate) struct Room {
    /// Logits after penalties.
    adjusted: Vec<f32>,
    /// For each token its probability relative to the likeliest token's.
    pub(crate) weights: Vec<f32>,
    /// Tokens, the likeliest first as far as they are ranked.
    pub(crate) ranking: Vec<u32>,
}

/// What a row gives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drew {
    /// `None` where logits are not finite.
    pub(crate) token: Option<u32>,
    /// If they were asked for and there is a token.
    pub(crate) logprobs: Option<Logprobs>,
}

impl Rooms {
    pub(crate) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Mutex::default()).collect())
    }
}

/// Draws a token from each row of logits.
pub(crate) fn sample(
    team: &Team,
    isa: Chosen,
    rooms: &Rooms,
    (logits, layout, tallies): (&Buffer, &StepLayout, &[Tally]),
    drawn: &mut Vec<Drew>,
) {
    let samples = &layout.samples;
    assert_eq!(logits.rows(), samples.len(), "a row of logits for each sample");
    let width = logits.width();
    drawn.clear();
    drawn.resize(samples.len(), Drew::default());
    let rows = Cuts::Every { step: 1, total: samples.len() };
    grid(team, drawn, 1, rows, Cuts::Every { step: 1, total: 1 }, &|mut out, thread| {
        let sample = &samples[out.row()];
        let logits = &logits.values()[out.row() * width..][..width];
        let mut room = rooms.0[thread].lock();
        let Sample { draw, position, seat, .. } = *sample;
        let tally = &tallies[seat];
        let token = run(isa, Row { logits, draw, tally, position, room: &mut room });
        let logprobs = token
            .zip(draw.logprobs)
            .map(|(drawn, top)| run(isa, Wanted { logits, drawn, top, room: &mut room }));
        out.line(0)[0] = Drew { token, logprobs };
    });
}

/// Draws from one row.
struct Row<'a> {
    logits: &'a [f32],
    draw: Draw,
    tally: &'a Tally,
    position: u32,
    room: &'a mut Room,
}

impl Kernel for Row<'_> {
    type Output = Option<u32>;

    #[inline(always)]
    fn call<S: Simd>(self, s: S) -> Option<u32> {
        let Room { adjusted, weights, ranking } = self.room;
        let (mut logits, mut largest) = (self.logits, largest_finite(s, self.logits)?);
        if let Some(penalties) = &self.draw.penalties {
            adjusted.clear();
            adjusted.extend_from_slice(logits);
            self.tally.adjust(penalties, adjusted);
            largest = largest_finite(s, adjusted)?;
            logits = adjusted;
        }
        if self.draw.temperature <= 0.0 {
            let first = logits.iter().position(|logit| *logit == largest);
            return first.map(|token| token as u32);
        }
        weigh(s, logits, largest, self.draw.temperature, weights);
        let u = uniform(self.draw.seed, self.position);
        if keeps_all(&self.draw) {
            return pick(weights, 0..logits.len() as u32, u);
        }
        let kept = rank(logits, weights, &self.draw, ranking);
        pick(weights, ranking[..kept].iter().copied(), u)
    }
}

fn keeps_all(draw: &Draw) -> bool {
    draw.top_k == 0 && draw.top_p >= 1.0 && draw.min_p <= 0.0
}

/// The largest logit, if all are finite.
#[inline(always)]
pub(crate) fn largest_finite<S: Simd>(s: S, logits: &[f32]) -> Option<f32> {
    let (whole, rest) = logits.as_chunks::<LANES>();
    let mut last = [*logits.first()?; LANES];
    last[..rest.len()].copy_from_slice(rest);
    let mut largest = s.splat(f32::NEG_INFINITY);
    // Zero times anything is zero, unless it isn't finite.
    let mut flaw = s.zero();
    for logits in whole.iter().chain([&last]) {
        let logits = s.load(logits);
        largest = s.max(largest, logits);
        flaw = s.fma(logits, s.zero(), flaw);
    }
    (s.sum(flaw) == 0.0).then(|| s.largest(largest))
}

/// `e^((logit - largest) / temperature)` for each token.
#[inline(always)]
pub(crate) fn weigh<S: Simd>(
    s: S,
    logits: &[f32],
    largest: f32,
    temperature: f32,
    weights: &mut Vec<f32>,
) {
    weights.resize(logits.len(), 0.0);
    let (whole, rest) = logits.as_chunks::<LANES>();
    let (outs, out) = weights.as_chunks_mut::<LANES>();
    let (largest, temperature) = (s.splat(largest), s.splat(temperature));
    for (logits, out) in whole.iter().zip(outs) {
        let scaled = s.div(s.sub(s.load(logits), largest), temperature);
        s.store(exp(s, scaled), out);
    }
    let (mut last, mut weights) = ([0.0; LANES], [0.0; LANES]);
    last[..rest.len()].copy_from_slice(rest);
    let scaled = s.div(s.sub(s.load(&last), largest), temperature);
    s.store(exp(s, scaled), &mut weights);
    out.copy_from_slice(&weights[..rest.len()]);
}

/// The order of likelihood, of ids where equal.
pub(crate) fn likelier(logits: &[f32]) -> impl Fn(&u32, &u32) -> Ordering {
    |a, b| {
        let (x, y) = (logits[*a as usize], logits[*b as usize]);
        y.partial_cmp(&x).unwrap_or(Ordering::Equal).then(a.cmp(b))
    }
}

/// Ranks tokens by likelihood, ids where equal, and says how many of the first ones the filters
/// keep: each keeps the start of the ranking, so all of them together keep the shortest of those
/// starts. `top_p` is a share of what `top_k` left, as everywhere else.
fn rank(logits: &[f32], weights: &[f32], draw: &Draw, ranking: &mut Vec<u32>) -> usize {
    let order = likelier(logits);
    // The likeliest token has weight 1, and stays whatever `min_p` says.
    let least = draw.min_p.min(1.0);
    let likely = |token: &u32| weights[*token as usize] >= least;
    let narrowed = draw.top_k > 0;
    ranking.clear();
    // What `min_p` drops still counts in what `top_k` left, so it can go first only without that.
    ranking.extend((0..logits.len() as u32).filter(|token| narrowed || likely(token)));
    let most = if narrowed { ranking.len().min(draw.top_k as usize) } else { ranking.len() };
    let mut ranked = if narrowed || draw.top_p >= 1.0 { most } else { most.min(RANKED) };
    loop {
        if ranked < ranking.len() {
            ranking.select_nth_unstable_by(ranked - 1, &order);
        }
        ranking[..ranked].sort_unstable_by(&order);
        let first = &ranking[..ranked];
        let weight = |token: &u32| f64::from(weights[*token as usize]);
        let total: f64 = if narrowed {
            first.iter().map(weight).sum()
        } else {
            weights.iter().map(|weight| f64::from(*weight)).sum()
        };
        let share = nucleus(first.iter().map(weight), draw.top_p, total);
        if share.is_some() || ranked == most {
            return share.unwrap_or(most).min(first.iter().take_while(|t| likely(t)).count());
        }
        ranked = most.min(ranked * RANKED_GROWTH);
    }
}

/// How many of the weights, the largest first, make up `top_p` of the total; `None` if they do not.
fn nucleus(weights: impl Iterator<Item = f64>, top_p: f32, total: f64) -> Option<usize> {
    if top_p >= 1.0 {
        return None;
    }
    let mut sum = 0.0;
    let mut sums = weights.map(|weight| {
        sum += weight;
        sum
    });
    sums.position(|sum| sum >= f64::from(top_p) * total).map(|index| index + 1)
}

/// The token at `u`, `0..1`, of the way through the weights of `tokens`.
fn pick(weights: &[f32], tokens: impl Iterator<Item = u32> + Clone, u: f64) -> Option<u32> {
    let weight = |token: u32| f64::from(weights[token as usize]);
    let total: f64 = tokens.clone().map(weight).sum();
    let target = u * total;
    let mut sum = 0.0;
    let mut last = None;
    for token in tokens {
        sum += weight(token);
        if sum > target {
            return Some(token);
        }
        last = Some(token);
    }
    last
}

#[cfg(test)]
mod tests;
