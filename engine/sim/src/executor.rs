//! The executor: tokens made up at once, handed out when the step would have ended.

use std::thread;
use std::time::{Duration, Instant};

use engine_contract::{
    EngineError, EngineInfo, Executor, Logprob, Logprobs, Outcome, Row, Sampled, StepOutput,
    StepPlan, Ticket, TokenId,
};

use crate::CostModel;

/// Sizes of a simulated engine.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Most positions of one sequence; 0 is what the cost model has.
    pub context_max: u32,
    /// Positions in a cache block.
    pub block_size: u32,
    /// Bytes of the cache; 0 is what the cost model has.
    pub kv_bytes_max: u64,
    /// Most rows in a step.
    pub rows_max: u32,
    /// Most positions in a step.
    pub step_tokens_max: u32,
}

/// How long steps take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speed {
    /// As long as the costs say.
    #[default]
    Real,
    /// No time at all.
    Unbounded,
}

/// An engine that computes nothing. What it says of a sequence is a function of the sequence's
/// number, of the position and of the request's seed, whatever else is in the batch.
pub struct SimExecutor {
    info: EngineInfo,
    costs: CostModel,
    speed: Speed,
    /// When the last step ends.
    ends: Option<Instant>,
}

struct SimTicket {
    output: StepOutput,
    ends: Instant,
}

impl Sizes {
    /// What an engine of these sizes and costs says of itself. It has one block at least, and no
    /// more than a number has room for.
    #[must_use]
    pub fn info(&self, costs: &CostModel) -> EngineInfo {
        let or = |asked: u64, own: u64| if asked == 0 { own } else { asked };
        let context = or(self.context_max.into(), costs.context.into()).min(costs.context.into());
        let block_bytes = costs.kv_position_bytes.saturating_mul(self.block_size.into());
        let num_blocks = or(self.kv_bytes_max, costs.kv_bytes) / block_bytes;
        let num_blocks = num_blocks.clamp(1, BLOCKS_MAX);
        EngineInfo {
            vocab: self.vocab,
            context: context as u32,
            block_size: self.block_size,
            num_blocks: num_blocks as u32,
            rows_max: self.rows_max,
            step_tokens_max: self.step_tokens_max,
            weight_bytes: costs.weight_bytes,
            kv_bytes: num_blocks * block_bytes,
            can_be_abandoned: true,
        }
    }
}

impl SimExecutor {
    /// An engine of these sizes whose steps take what `costs` say.
    ///
    /// # Panics
    /// If the vocabulary is empty.
    #[must_use]
    pub fn new(costs: CostModel, sizes: Sizes, speed: Speed) -> Self {
        assert!(sizes.vocab > 0, "a vocabulary has tokens");
        Self { info: sizes.info(&costs), costs, speed, ends: None }
    }

    fn sample(&self, row: &Row) -> Option<Sampled> {
        let sampling = row.sample.as_ref()?;
        let position = u64::from(row.start) + row.tokens.len() as u64;
        let drawn = mix(sampling.seed ^ mix(row.sequence.0 ^ (position << 40)));
        let token = |nth: u64| {
            let vocab = u64::from(self.info.vocab);
            TokenId(((drawn % vocab + nth) % vocab) as u32)
        };
        let num_top = sampling.logprobs.map(|top| top.min(self.info.vocab));
        let logprobs = num_top.map(|num_top| {
            let logprob = |nth| Logprob { token: token(nth), logprob: -0.5 - nth as f32 };
            let top = (0..u64::from(num_top)).map(logprob).collect();
            Box::new(Logprobs { drawn: logprob(0).logprob, top })
        });
        Some(Sampled { sequence: row.sequence, outcome: Outcome::Token(token(0)), logprobs })
    }
}

impl Executor for SimExecutor {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn launch(&mut self, plan: StepPlan) -> Result<Box<dyn Ticket>, EngineError> {
        let now = Instant::now();
        let before = self.ends.unwrap_or(now);
        let begins = before.max(now);
        let takes = match self.speed {
            Speed::Real => self.costs.time(&plan),
            Speed::Unbounded => Duration::ZERO,
        };
        let ends = begins + takes;
        self.ends = Some(ends);
        let sampled = plan.rows.iter().filter_map(|row| self.sample(row)).collect();
        let output = StepOutput { step: plan.step, sampled, gap: begins - before };
        Ok(Box::new(SimTicket { output, ends }))
    }
}

impl Ticket for SimTicket {
    fn wait(self: Box<Self>) -> Result<StepOutput, EngineError> {
        thread::sleep(self.ends.saturating_duration_since(Instant::now()));
        Ok(self.output)
    }
}

/// The last step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The scheduler keeps a record of each block.
const BLOCKS_MAX: u64 = 1 << 24;
