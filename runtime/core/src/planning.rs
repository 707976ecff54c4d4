//! How a step grows: rows for those running, then for those it can admit.

use engine_contract::{Row, Stop};

use crate::Scheduler;
use crate::arena::Key;
use crate::budget::Draft;
use crate::flight::FlightRow;
use crate::sequence::{Place, Sequence};

impl Scheduler {
    /// Rows for running sequences that need one token, oldest first. Those with more to catch up
    /// are put aside: a long text takes what these leave over, so it never holds them up.
    pub(crate) fn plan_decodes(&mut self, draft: &mut Draft) {
        let mut index = 0;
        while let Some(key) = self.queue.nth_running(index) {
            if self.sequences[key].is_decoding() {
                self.plan_row(draft, key);
            } else {
                draft.prefilling.push(key);
            }
            // One whose last row this was has left the order.
            index += usize::from(self.sequences[key].place == Place::Running);
        }
    }

    /// Chunks for running sequences that have more to catch up, oldest first.
    pub(crate) fn plan_chunks(&mut self, draft: &mut Draft) {
        for index in 0..draft.prefilling.len() {
            let key = draft.prefilling[index];
            // An older one may have taken its blocks.
            if self.sequences[key].place == Place::Running {
                self.plan_row(draft, key);
            }
        }
    }

    /// A row as long as the sequence wants, the budget allows and the pool has room for; none if
    /// that is nothing.
    pub(crate) fn plan_row(&mut self, draft: &mut Draft, key: Key<Sequence>) {
        let sequence = &self.sequences[key];
        let num_wanted = sequence.horizon() - sequence.num_planned;
        let num_tokens = num_wanted.min(draft.budget.num_tokens());
        if num_tokens == 0 {
            return draft.budget.stop(Stop::Tokens);
        }
        let len = self.room(key, num_tokens);
        if len < num_tokens {
            draft.budget.stop(Stop::Blocks);
        } else if len < num_wanted {
            draft.budget.stop(Stop::Tokens);
        }
        if len > 0 {
            self.push_row(draft, key, len);
        }
    }

    /// How many of `num_tokens` positions the pool has room for. If it has none for the first, the
    /// youngest gives up its blocks to anyone older: at once, or when the steps in flight are done
    /// with them, and until then it is enough to wait.
    fn room(&mut self, key: Key<Sequence>, num_tokens: u32) -> u32 {
        loop {
            let sequence = &self.sequences[key];
            let reach = self.kv.reach(&sequence.table) - u64::from(sequence.num_planned);
            if reach > 0 {
                return u32::try_from(reach).unwrap_or(u32::MAX).min(num_tokens);
            }
            let arrival = sequence.arrival;
            if self.num_leaving() > 0 || !self.preempt_younger_than(arrival) {
                return 0;
            }
        }
    }

    fn push_row(&mut self, draft: &mut Draft, key: Key<Sequence>, len: u32) {
        let sequence = &mut self.sequences[key];
        let (start, end) = (sequence.num_planned, sequence.num_planned + len);
        self.kv.grow(&mut sequence.table, end);
        let tokens = sequence.row_tokens(len);
        let samples = sequence.advance(len);
        draft.rows.push(Row {
            sequence: sequence.id(),
            seat: sequence.seat.expect("a running sequence has a seat"),
            start,
            tokens,
            table: sequence.table.change(),
            sample: samples.then(|| sequence.request.sampling.clone()),
            num_prompt: sequence.num_prompt(),
        });
        draft.flight_rows.push(FlightRow { key, end, samples });
        draft.budget.spend(len);
        if sequence.is_all_planned() {
            sequence.place = Place::Ending;
            let arrival = sequence.arrival;
            self.queue.leave_running(arrival);
        }
    }

    /// Sends the youngest running sequence back to the queue, if it is younger than `arrival`.
    fn preempt_younger_than(&mut self, arrival: u64) -> bool {
        let Some(key) = self.queue.preempt_younger_than(arrival) else { return false };
        self.sequences[key].place = Place::Preempted;
        self.preemptions_total += 1;
        self.settle(key);
        true
    }

    /// Sequences that hold a seat and want no further row: their blocks come home by themselves.
    pub(crate) fn num_leaving(&self) -> u32 {
        self.limits.rows_max - self.seats.len() as u32 - self.queue.num_running()
    }
}
