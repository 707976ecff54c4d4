//! Runs sequences through an executor as a scheduler might: rows of any order and size, prompts cut
//! anywhere, blocks from anywhere, several steps in flight.

use std::collections::VecDeque;
use std::sync::Arc;

use engine_contract::{
    BlockId, Executor, Outcome, Row, RowTokens, Sampling, SeatId, SequenceId, StepId, StepPlan,
    Stop, TableChange, Ticket, TokenId,
};

use crate::dice::Dice;

/// A prompt, and how many tokens to draw after it.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) prompt: Vec<u32>,
    pub(crate) outputs: usize,
    pub(crate) sampling: Sampling,
}

/// How freely steps are cut.
#[derive(Clone, Copy)]
pub(crate) struct Cuts {
    /// Steps in flight.
    pub(crate) depth: usize,
    /// Most prompt positions in a row.
    pub(crate) chunk_max: usize,
    /// Most sequences that run at once.
    pub(crate) running_max: usize,
}

/// Each job's draws, and the other sequences in the batches: there to make a mess.
pub(crate) struct Driver<'a> {
    executor: &'a mut dyn Executor,
    dice: Dice,
    cuts: Cuts,
    free_blocks: Vec<BlockId>,
    free_seats: Vec<SeatId>,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    in_flight: VecDeque<Box<dyn Ticket>>,
    next_step: u64,
    drawn: Vec<Vec<Outcome>>,
}

struct Sequence {
    id: usize,
    text: Arc<[TokenId]>,
    sampling: Arc<Sampling>,
    seat: SeatId,
    blocks: Vec<BlockId>,
    /// Positions in steps launched.
    planned: usize,
    /// Draws in steps launched, and all of them.
    draws: usize,
    outputs: usize,
    fresh: bool,
}

impl<'a> Driver<'a> {
    /// Runs all jobs to their end.
    pub(crate) fn run(
        executor: &'a mut dyn Executor,
        jobs: &[Job],
        cuts: Cuts,
        seed: u64,
        first_step: u64,
    ) -> Vec<Vec<Outcome>> {
        let info = *executor.info();
        let mut dice = Dice::new(seed);
        let mut free_blocks: Vec<_> = (0..info.num_blocks).map(BlockId).collect();
        dice.shuffle(&mut free_blocks);
        let mut driver = Self {
            executor,
            dice,
            cuts,
            free_blocks,
            free_seats: (0..info.rows_max).map(SeatId).collect(),
            waiting: jobs.iter().enumerate().map(|(id, job)| Sequence::new(id, job)).collect(),
            running: Vec::new(),
            in_flight: VecDeque::new(),
            next_step: first_step,
            drawn: vec![Vec::new(); jobs.len()],
        };
        while !driver.waiting.is_empty() || !driver.running.is_empty() {
            driver.admit();
            let planned = driver.in_flight.len() < driver.cuts.depth && driver.launch();
            if !planned {
                driver.collect();
            }
        }
        driver.drawn
    }

    fn admit(&mut self) {
        let block_size = self.executor.info().block_size as usize;
        while self.running.len() < self.cuts.running_max {
            let Some(next) = self.waiting.front() else { return };
            let needed = (next.text.len() + next.outputs).div_ceil(block_size);
            if needed > self.free_blocks.len() || self.free_seats.is_empty() {
                return;
            }
            let mut next = self.waiting.pop_front().expect("was looked at");
            let seat = self.dice.below(self.free_seats.len());
            next.seat = self.free_seats.swap_remove(seat);
            // All blocks at once; a row names only those that it needs.
            next.blocks = self.free_blocks.split_off(self.free_blocks.len() - needed);
            self.running.push(next);
        }
    }

    /// Launches a step of whatever can go on; `false` if nothing can.
    fn launch(&mut self) -> bool {
        let info = *self.executor.info();
        let mut budget = info.step_tokens_max as usize;
        self.dice.shuffle(&mut self.running);
        let mut rows = Vec::new();
        for sequence in &mut self.running {
            // Now and then a sequence sits out.
            if budget == 0 || (!rows.is_empty() && self.dice.below(4) == 0) {
                continue;
            }
            let most = budget.min(self.cuts.chunk_max);
            if let Some(row) = sequence.row(most, info.block_size as usize, &mut self.dice) {
                budget -= row.tokens.len();
                rows.push(row);
            }
        }
        if rows.is_empty() {
            return false;
        }
        let plan = StepPlan { step: StepId(self.next_step), rows, stop: Stop::Empty };
        self.next_step += 1;
        self.in_flight.push_back(self.executor.launch(plan).expect("a working engine"));
        true
    }

    fn collect(&mut self) {
        let ticket =
            self.in_flight.pop_front().expect("nothing can go on, so something is in flight");
        for sampled in ticket.wait().expect("a working engine").sampled {
            let id = sampled.sequence.0 as usize;
            self.drawn[id].push(sampled.outcome);
            let at = self.running.iter().position(|sequence| sequence.id == id);
            let at = at.expect("whoever draws is running");
            if self.drawn[id].len() == self.running[at].outputs {
                let ended = self.running.swap_remove(at);
                self.free_blocks.extend(ended.blocks);
                self.free_seats.push(ended.seat);
            }
        }
    }
}

impl Sequence {
    fn new(id: usize, job: &Job) -> Self {
        Self {
            id,
            text: job.prompt.iter().copied().map(TokenId).collect(),
            sampling: Arc::new(job.sampling),
            seat: SeatId(0),
            blocks: Vec::new(),
            planned: 0,
            draws: 0,
            outputs: job.outputs,
            fresh: true,
        }
    }

    /// The next row, of at most `most` positions; `None` once every draw was launched.
    fn row(&mut self, most: usize, block_size: usize, dice: &mut Dice) -> Option<Row> {
        if self.draws == self.outputs {
            return None;
        }
        let start = self.planned;
        let left = self.text.len().saturating_sub(start);
        let (tokens, draws) = if left == 0 {
            (RowTokens::Device, true)
        } else {
            let length = 1 + dice.below(left.min(most));
            (RowTokens::Host(self.text.clone(), start..start + length), length == left)
        };
        self.planned += tokens.len();
        self.draws += usize::from(draws);
        let had = if self.fresh { 0 } else { start.div_ceil(block_size) };
        let new = self.blocks[had..self.planned.div_ceil(block_size)].to_vec();
        let table = if self.fresh { TableChange::Fresh(new) } else { TableChange::Extend(new) };
        self.fresh = false;
        Some(Row {
            sequence: SequenceId(self.id as u64),
            seat: self.seat,
            start: start as u32,
            tokens,
            table,
            sample: draws.then(|| self.sampling.clone()),
        })
    }
}
