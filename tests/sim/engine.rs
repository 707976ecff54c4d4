//! An engine that computes hashes and trusts nobody.
//!
//! A cache slot holds the history of the text up to its position, so a wrong table, a stale block
//! or a block handed out too early shows as a history that is not the sequence's own. Steps are
//! computed when they are launched; their results are handed out later, in order.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use engine_contract::{
    BlockId, Outcome, Row, RowTokens, Sampled, SequenceId, StepId, StepOutput, StepPlan,
    TableChange, TokenId,
};
use runtime_core::{Limits, Request};

use crate::rng::Rng;
use crate::script::{extend, sample};

pub(crate) struct Engine {
    limits: Limits,
    slots: Vec<Option<Slot>>,
    seats: Vec<Option<Seat>>,
    texts: BTreeMap<SequenceId, Text>,
    pub(crate) launched: VecDeque<Launched>,
}

/// One position of the cache.
#[derive(Clone, Copy)]
struct Slot {
    history: u64,
    salt: u64,
    step: StepId,
    writer: SequenceId,
}

struct Seat {
    sequence: SequenceId,
    table: Vec<BlockId>,
    /// Where the next row starts.
    end: u32,
    /// What the last row sampled.
    sampled: Option<TokenId>,
}

/// The truth about a sequence: every token there is, and the history up to each.
struct Text {
    tokens: Vec<TokenId>,
    histories: Vec<u64>,
    salt: u64,
    seed: u64,
}

/// A step whose result has not been handed out.
pub(crate) struct Launched {
    pub(crate) output: StepOutput,
    pub(crate) num_tokens: u32,
    reach: Vec<Reach>,
}

/// What a row of a step may touch.
struct Reach {
    sequence: SequenceId,
    seat: u32,
    table: Vec<BlockId>,
}

impl Engine {
    pub(crate) fn new(limits: Limits) -> Self {
        let num_slots = limits.num_blocks * limits.block_size;
        Self {
            limits,
            slots: vec![None; num_slots as usize],
            seats: (0..limits.rows_max).map(|_| None).collect(),
            texts: BTreeMap::new(),
            launched: VecDeque::new(),
        }
    }

    pub(crate) fn expect(&mut self, request: &Request) {
        let mut text = Text {
            tokens: Vec::new(),
            histories: Vec::new(),
            salt: request.salt,
            seed: request.sampling.seed,
        };
        request.prompt.iter().for_each(|&token| text.push(token));
        self.texts.insert(SequenceId(request.id.0), text);
    }

    /// Computes a step, as soon as it is launched. Of a thousand outcomes, `not_finite` are.
    pub(crate) fn launch(&mut self, plan: &StepPlan, rng: &mut Rng, not_finite: u32) {
        let reach: Vec<_> = plan.rows.iter().map(|row| self.seat_row(row)).collect();
        for (row, mine) in plan.rows.iter().zip(&reach) {
            self.check_reads(plan.step, row, mine);
            self.check_writes(row, mine, &reach);
        }
        let mut sampled = Vec::new();
        for (row, mine) in plan.rows.iter().zip(&reach) {
            self.write(plan.step, row, mine);
            let is_last =
                row.start as usize + row.tokens.len() == self.texts[&row.sequence].tokens.len();
            assert_eq!(row.sample.is_some(), is_last, "{:?} samples at its end", row.sequence);
            if row.sample.is_some() {
                let outcome = self.sample(row, mine, rng.chance(not_finite));
                sampled.push(Sampled::bare(row.sequence, outcome));
            }
        }
        let output = StepOutput { step: plan.step, sampled, gap: Duration::ZERO };
        self.launched.push_back(Launched { output, num_tokens: plan.num_tokens() as u32, reach });
    }

    /// Hands out the result of the oldest step.
    pub(crate) fn land(&mut self) -> Option<Launched> {
        self.launched.pop_front()
    }

    /// What the row of `sequence` could touch is worthless, but for what others hold already:
    /// whoever finds it from now on must not read it.
    pub(crate) fn spoil(
        &mut self,
        landed: &Launched,
        sequence: SequenceId,
        still_held: &[BlockId],
    ) {
        let size = self.limits.block_size as usize;
        let rows = landed.reach.iter().filter(|reach| reach.sequence == sequence);
        for block in rows.flat_map(|reach| &reach.table).filter(|block| !still_held.contains(block))
        {
            let start = block.0 as usize * size;
            self.slots[start..start + size].fill(None);
        }
    }

    /// Brings the seat's table up to date.
    fn seat_row(&mut self, row: &Row) -> Reach {
        let in_flight = |seat: u32| {
            let reach = self.launched.iter().flat_map(|launched| &launched.reach);
            reach.into_iter().any(|reach| reach.seat == seat)
        };
        let is_busy = in_flight(row.seat.0);
        let seat = &mut self.seats[row.seat.0 as usize];
        match &row.table {
            TableChange::Fresh(blocks) => {
                assert!(
                    !is_busy,
                    "law 4: {:?} is reused by {:?} in flight",
                    row.seat, row.sequence
                );
                assert_eq!(
                    row.start % self.limits.block_size,
                    0,
                    "a shared prefix is whole blocks"
                );
                let (sequence, table) = (row.sequence, blocks.clone());
                *seat = Some(Seat { sequence, table, end: row.start, sampled: None });
            }
            TableChange::Extend(blocks) => {
                let seat = seat.as_mut().expect("a seat's first row is fresh");
                assert_eq!(seat.sequence, row.sequence, "a seat's first row is fresh");
                assert_eq!(seat.end, row.start, "rows of a sequence follow one another");
                seat.table.extend(blocks);
            }
        }
        let seat = seat.as_mut().expect("just seated");
        if let RowTokens::Device = row.tokens {
            let text = &self.texts[&row.sequence];
            let truth = text.tokens.get(row.start as usize).copied();
            assert!(seat.sampled.is_some(), "{:?} reads a token nobody sampled", row.sequence);
            assert_eq!(seat.sampled, truth, "law 10: the token before of {:?}", row.sequence);
        }
        seat.end = row.start + row.tokens.len() as u32;
        seat.sampled = None;
        let num_blocks = seat.end.div_ceil(self.limits.block_size) as usize;
        assert_eq!(seat.table.len(), num_blocks, "the table covers what is computed, and no more");
        Reach { sequence: row.sequence, seat: row.seat.0, table: seat.table.clone() }
    }

    /// Every earlier position holds this very text, and was there before the step began.
    fn check_reads(&self, step: StepId, row: &Row, mine: &Reach) {
        let text = &self.texts[&row.sequence];
        for position in 0..row.start {
            let slot = self.slots[self.slot(mine, position)];
            let slot = slot.unwrap_or_else(|| {
                panic!("law 5: {:?} reads {position}, which nobody wrote", row.sequence)
            });
            let truth = text.histories[position as usize];
            assert_eq!(slot.history, truth, "law 5: {:?} reads another text", row.sequence);
            assert_eq!(
                slot.salt, text.salt,
                "{:?} reads what others of its salt wrote",
                row.sequence
            );
            let is_done = slot.step < step;
            assert!(is_done, "law 5: {:?} reads what the same step writes", row.sequence);
            let is_known = slot.writer == row.sequence || !self.is_in_flight(slot.step);
            assert!(is_known, "law 5: {:?} shares a block before it is computed", row.sequence);
        }
    }

    /// Nobody else, in this step or in flight, can see what this row writes.
    fn check_writes(&self, row: &Row, mine: &Reach, step: &[Reach]) {
        let in_flight = self.launched.iter().flat_map(|launched| &launched.reach);
        let first = row.start / self.limits.block_size;
        let written = &mine.table[first as usize..];
        for other in in_flight.chain(step).filter(|other| other.sequence != row.sequence) {
            let is_seen = written.iter().any(|block| other.table.contains(block));
            let names = (row.sequence, other.sequence);
            assert!(!is_seen, "law 4, 5: {:?} writes what {:?} can see", names.0, names.1);
        }
    }

    fn write(&mut self, step: StepId, row: &Row, mine: &Reach) {
        let len = row.tokens.len() as u32;
        for (index, position) in (row.start..row.start + len).enumerate() {
            let text = &self.texts[&row.sequence];
            let token = match &row.tokens {
                RowTokens::Device => text.tokens[position as usize],
                RowTokens::Host(tokens, range) => tokens[range.clone()][index],
            };
            assert_eq!(
                token, text.tokens[position as usize],
                "law 10: input of {:?}",
                row.sequence
            );
            let before = match position {
                0 => 0,
                _ => self.slots[self.slot(mine, position - 1)].expect("just checked").history,
            };
            let (history, salt) = (extend(before, token), text.salt);
            let index = self.slot(mine, position);
            self.slots[index] = Some(Slot { history, salt, step, writer: row.sequence });
        }
    }

    fn sample(&mut self, row: &Row, mine: &Reach, not_finite: bool) -> Outcome {
        let end = row.start + row.tokens.len() as u32;
        let slot = self.slots[self.slot(mine, end - 1)].expect("just written");
        let text = self.texts.get_mut(&row.sequence).expect("a known sequence");
        let token = sample(slot.history, end, text.seed);
        text.push(token);
        self.seats[row.seat.0 as usize].as_mut().expect("seated").sampled = Some(token);
        if not_finite { Outcome::NotFinite } else { Outcome::Token(token) }
    }

    fn slot(&self, reach: &Reach, position: u32) -> usize {
        let size = self.limits.block_size;
        let block = reach.table[(position / size) as usize];
        (block.0 * size + position % size) as usize
    }

    fn is_in_flight(&self, step: StepId) -> bool {
        self.launched.iter().any(|launched| launched.output.step == step)
    }
}

impl Text {
    fn push(&mut self, token: TokenId) {
        let history = self.histories.last().copied().unwrap_or(0);
        self.tokens.push(token);
        self.histories.push(extend(history, token));
    }
}
