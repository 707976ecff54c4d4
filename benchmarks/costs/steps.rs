//! An engine whose steps are timed one by one.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use engine::{Config, Device, ModelFile};
use engine_contract::{
    BlockId, Executor, Outcome, Row, RowTokens, Sampling, SeatId, SequenceId, StepId, StepPlan,
    Stop, TableChange, TokenId,
};

/// A loaded model, and of how many steps a figure is the least.
pub(crate) struct Steps {
    executor: Box<dyn Executor>,
    sampling: Arc<Sampling>,
    repeats: usize,
    next_step: u64,
}

/// Seats that have a text of their own in the cache.
const SEATS: u32 = 8;

impl Steps {
    /// Loads a model, and computes `positions` positions for every seat.
    pub(crate) fn load(
        model: &Path,
        threads: usize,
        positions: u32,
        repeats: usize,
    ) -> Result<Self> {
        let config = Config {
            device: Device::Cpu,
            threads,
            rows_max: SEATS,
            step_tokens_max: 512,
            context_max: positions,
            ..Config::default()
        };
        config.validate()?;
        let executor = engine::load(&ModelFile::open(model)?, &config)?.executor;
        let info = executor.info();
        let num_blocks = SEATS * positions.div_ceil(info.block_size);
        ensure!(info.num_blocks >= num_blocks, "the cache holds {} blocks", info.num_blocks);
        let sampling = Arc::new(Sampling::GREEDY);
        let mut steps = Self { executor, sampling, repeats, next_step: 0 };
        for seat in 0..SEATS {
            for start in (0..positions).step_by(512) {
                steps
                    .step(|this| vec![this.row(seat, start, 512.min(positions - start), false)])?;
            }
        }
        Ok(steps)
    }

    /// The least time of a step with one row of `len` positions from `start` on, in microseconds.
    pub(crate) fn prompt_us(&mut self, start: u32, len: u32) -> Result<f64> {
        self.least_us(|this| vec![this.row(0, start, len, false)])
    }

    /// The least time of a step with `num_rows` rows that draw a token after `start`.
    pub(crate) fn decode_us(&mut self, num_rows: u32, start: u32) -> Result<f64> {
        self.least_us(|this| (0..num_rows).map(|seat| this.row(seat, start, 1, true)).collect())
    }

    /// The lines of a file of costs that say how large everything is.
    pub(crate) fn sizes(&self) -> String {
        let info = self.executor.info();
        let positions = u64::from(info.num_blocks) * u64::from(info.block_size);
        format!(
            "context = {}\nkv_position_bytes = {}\nkv_bytes = {}\nweight_bytes = {}\n",
            8_192,
            info.kv_bytes / positions,
            1_u64 << 30,
            info.weight_bytes
        )
    }

    /// Whatever else the machine does makes a step longer, and none shorter.
    fn least_us(&mut self, rows: impl Fn(&Self) -> Vec<Row>) -> Result<f64> {
        let times = (0..self.repeats.max(1)).map(|_| self.step(&rows));
        Ok(times.collect::<Result<Vec<_>>>()?.into_iter().fold(f64::INFINITY, f64::min))
    }

    fn step(&mut self, rows: impl Fn(&Self) -> Vec<Row>) -> Result<f64> {
        let plan = StepPlan { step: StepId(self.next_step), rows: rows(self), stop: Stop::Empty };
        self.next_step += 1;
        let started = Instant::now();
        let output = self.executor.launch(plan)?.wait()?;
        let took = started.elapsed().as_secs_f64() * 1e6;
        let finite = output.sampled.iter().all(|row| matches!(row.outcome, Outcome::Token(_)));
        ensure!(finite, "logits that are not finite");
        Ok(took)
    }

    /// A row of a seat whose sequence is taken to begin anew, with its blocks as they are.
    fn row(&self, seat: u32, start: u32, len: u32, samples: bool) -> Row {
        let info = self.executor.info();
        let each = info.context.div_ceil(info.block_size);
        let blocks = seat * each..seat * each + (start + len).div_ceil(info.block_size);
        let text: Arc<[_]> = (0..start + len).map(|at| token(seat, at, info.vocab)).collect();
        Row {
            sequence: SequenceId(self.next_step * u64::from(SEATS) + u64::from(seat)),
            seat: SeatId(seat),
            start,
            tokens: RowTokens::Host(text, start as usize..(start + len) as usize),
            table: TableChange::Fresh(blocks.map(BlockId).collect()),
            sample: samples.then(|| Arc::clone(&self.sampling)),
            num_prompt: start + len,
        }
    }
}

/// Tokens from all over the vocabulary.
fn token(seat: u32, at: u32, vocab: u32) -> TokenId {
    TokenId((seat.wrapping_mul(7_919).wrapping_add(at.wrapping_mul(104_729))) % vocab)
}
