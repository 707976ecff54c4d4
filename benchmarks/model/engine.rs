//! Antiphon's engine, run step by step as the scheduler would.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use engine::{Config, Device, ModelFile};
use engine_contract::{
    BlockId, Executor, Outcome, Row, RowTokens, Sampling, SeatId, SequenceId, StepId, StepPlan,
    Stop, TableChange, TokenId,
};

use crate::Test;

/// A loaded model.
pub(crate) struct Engine {
    executor: Box<dyn Executor>,
    sampling: Arc<Sampling>,
    next_step: u64,
    next_sequence: u64,
}

impl Engine {
    /// Loads a file, with a cache and steps as large as `tests` need them.
    pub(crate) fn load(model: &Path, threads: usize, tests: &[Test]) -> Result<Self> {
        let (mut rows, mut positions, mut step_tokens) = (1, 1, 1);
        for test in tests {
            let (test_rows, test_positions, test_step_tokens) = match *test {
                Test::Prompt(tokens) => (1, tokens, tokens),
                Test::Generate { tokens, batch } => (batch, tokens + 1, batch),
            };
            rows = rows.max(test_rows);
            positions = positions.max(test_positions);
            step_tokens = step_tokens.max(test_step_tokens);
        }
        let config = Config {
            device: Device::Cpu,
            threads,
            rows_max: rows.try_into()?,
            step_tokens_max: step_tokens.max(rows).try_into()?,
            context_max: positions.try_into()?,
            ..Config::default()
        };
        config.validate()?;
        let executor = engine::load(&ModelFile::open(model)?, &config)?.executor;
        let info = executor.info();
        ensure!(info.context as usize >= positions, "the model takes {} positions", info.context);
        let needed = rows * positions.div_ceil(info.block_size as usize);
        ensure!(info.num_blocks as usize >= needed, "the cache holds {} blocks", info.num_blocks);
        Ok(Self { executor, sampling: Arc::new(Sampling::GREEDY), next_step: 0, next_sequence: 0 })
    }

    /// Runs a test once; its rate in tokens a second, over all sequences.
    pub(crate) fn run(&mut self, test: Test) -> Result<f64> {
        let started = Instant::now();
        let tokens = match test {
            Test::Prompt(tokens) => {
                self.step(1, 0, tokens)?;
                tokens
            }
            Test::Generate { tokens, batch } => {
                for position in 0..tokens {
                    self.step(batch, position, 1)?;
                }
                tokens * batch
            }
        };
        Ok(tokens as f64 / started.elapsed().as_secs_f64())
    }

    /// Computes `tokens` positions from `start` on in each of `rows` sequences, which are new ones
    /// at 0, and draws a token after each. Seat `i` has the `i`th share of the cache.
    fn step(&mut self, rows: usize, start: usize, tokens: usize) -> Result<()> {
        if start == 0 {
            self.next_sequence += rows as u64;
        }
        let rows: Vec<_> = (0..rows).map(|seat| self.row(seat, start, tokens)).collect();
        let plan = StepPlan { step: StepId(self.next_step), rows, stop: Stop::Empty };
        self.next_step += 1;
        let output = self.executor.launch(plan)?.wait()?;
        let finite = output.sampled.iter().all(|row| matches!(row.outcome, Outcome::Token(_)));
        ensure!(finite, "logits that are not finite");
        Ok(())
    }

    fn row(&self, seat: usize, start: usize, tokens: usize) -> Row {
        let info = self.executor.info();
        let size = info.block_size as usize;
        let first = seat * (info.context as usize).div_ceil(size);
        let new = start.div_ceil(size)..(start + tokens).div_ceil(size);
        let new = new.map(|block| BlockId((first + block) as u32)).collect();
        let fresh = start == 0;
        Row {
            sequence: SequenceId(self.next_sequence - 1 - seat as u64),
            seat: SeatId(seat as u32),
            start: start as u32,
            tokens: if fresh { text(seat, tokens, info.vocab) } else { RowTokens::Device },
            table: if fresh { TableChange::Fresh(new) } else { TableChange::Extend(new) },
            sample: Some(self.sampling.clone()),
            num_prompt: 1,
        }
    }
}

/// Tokens from all over the vocabulary.
fn text(seat: usize, tokens: usize, vocab: u32) -> RowTokens {
    let token = |i: usize| TokenId(((seat * 7_919 + i * 104_729) % vocab as usize) as u32);
    RowTokens::Host((0..tokens).map(token).collect(), 0..tokens)
}
