//! Runs sequences through an executor as a scheduler might: rows of any order and size, prompts cut
//! anywhere, blocks from anywhere, several steps in flight, sequences sent back to start over.

use std::collections::VecDeque;
use std::sync::Arc;

use engine_contract::{
    BlockId, Executor, Outcome, Row, RowTokens, Sampled, Sampling, SeatId, SequenceId, StepId,
    StepPlan, Stop, TableChange, Ticket, TokenId,
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
    in_flight: VecDeque<(Box<dyn Ticket>, Vec<usize>)>,
    next_step: u64,
    drawn: Vec<Vec<Sampled>>,
}

struct Sequence {
    id: usize,
    num_prompt: usize,
    /// What was known when it last took a seat.
    text: Arc<[TokenId]>,
    sampling: Arc<Sampling>,
    seat: SeatId,
    blocks: Vec<BlockId>,
    /// Positions in steps launched.
    planned: usize,
    /// Draws in steps launched, and all of them.
    draws: usize,
    outputs: usize,
    /// Its rows in steps that have not ended.
    in_flight: usize,
    fresh: bool,
}

impl<'a> Driver<'a> {
    /// Runs all jobs to their end; the outcomes of their draws.
    pub(crate) fn run(
        executor: &'a mut dyn Executor,
        jobs: &[Job],
        cuts: Cuts,
        seed: u64,
        first_step: u64,
    ) -> Vec<Vec<Outcome>> {
        let sampled = Self::sample(executor, jobs, cuts, seed, first_step);
        sampled.iter().map(|all| all.iter().map(|one| one.outcome).collect()).collect()
    }

    /// Runs all jobs to their end; all that came of their draws.
    pub(crate) fn sample(
        executor: &'a mut dyn Executor,
        jobs: &[Job],
        cuts: Cuts,
        seed: u64,
        first_step: u64,
    ) -> Vec<Vec<Sampled>> {
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
            if driver.cuts.running_max > 1 && driver.dice.below(8) == 0 {
                driver.preempt();
            }
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
            let needed = (next.num_prompt + next.outputs).div_ceil(block_size);
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

    /// Sends a sequence back, if there is one of which all is known: it starts over, with what it
    /// has drawn as part of its text.
    fn preempt(&mut self) {
        let Some(at) = self.running.iter().position(|sequence| sequence.in_flight == 0) else {
            return;
        };
        let token = |sampled: &Sampled| match sampled.outcome {
            Outcome::Token(token) => Some(token),
            Outcome::NotFinite => None,
        };
        let drawn = &self.drawn[self.running[at].id];
        let Some(drawn) = drawn.iter().map(token).collect::<Option<Vec<_>>>() else { return };
        let mut sequence = self.running.swap_remove(at);
        let prompt = &sequence.text[..sequence.num_prompt];
        sequence.text = [prompt, &drawn].concat().into();
        self.free_blocks.append(&mut sequence.blocks);
        self.free_seats.push(sequence.seat);
        sequence.planned = 0;
        sequence.fresh = true;
        self.waiting.push_back(sequence);
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
        let ids = plan.rows.iter().map(|row| row.sequence.0 as usize).collect();
        let ticket = self.executor.launch(plan).expect("a working engine");
        self.in_flight.push_back((ticket, ids));
        true
    }

    fn collect(&mut self) {
        let (ticket, ids) =
            self.in_flight.pop_front().expect("nothing can go on, so something is in flight");
        for sequence in &mut self.running {
            sequence.in_flight -= usize::from(ids.contains(&sequence.id));
        }
        for sampled in ticket.wait().expect("a working engine").sampled {
            let id = sampled.sequence.0 as usize;
            self.drawn[id].push(sampled);
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
            num_prompt: job.prompt.len(),
            text: job.prompt.iter().copied().map(TokenId).collect(),
            sampling: Arc::new(job.sampling.clone()),
            seat: SeatId(0),
            blocks: Vec::new(),
            planned: 0,
            draws: 0,
            outputs: job.outputs,
            in_flight: 0,
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
        self.in_flight += 1;
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
            num_prompt: self.num_prompt as u32,
        })
    }
}
