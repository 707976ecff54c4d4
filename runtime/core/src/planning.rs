//! How a step grows: rows for those running that need one token, and how a row is made.

use engine_contract::{Row, Stop};

use crate::Scheduler;
use crate::arena::Key;
use crate::budget::Draft;
use crate::flight::FlightRow;
use crate::sequence::{Place, Sequence};
use crate::work::Work;

impl Scheduler {
    /// Rows for running sequences that need one token, in the order of admission. Those with more
    /// to catch up are put aside: a long text takes what these leave over, so it never holds them
    /// up.
    pub(crate) fn plan_decodes(&mut self, draft: &mut Draft) {
        let mut index = 0;
        while let Some(key) = self.running.nth(index) {
            let sequence = &self.sequences[key];
            let admission = sequence.admission;
            if sequence.is_decoding() {
                self.plan_row(draft, key);
            } else {
                draft.prefilling.push(key);
            }
            // It may have left, and others before it may have been preempted.
            index = self.running.index_after(admission, index);
        }
    }

    /// A row as long as the sequence wants, the budget allows and there is room for; none if that
    /// is nothing.
    pub(crate) fn plan_row(&mut self, draft: &mut Draft, key: Key<Sequence>) {
        let sequence = &self.sequences[key];
        let num_wanted = sequence.horizon() - sequence.num_planned;
        let num_left = num_wanted.min(draft.budget.num_tokens());
        if num_left == 0 {
            return draft.budget.stop(Stop::Tokens);
        }
        let start = sequence.num_planned;
        let num_tokens = self.latency.chunk(draft, sequence, start, num_left);
        if num_tokens == 0 {
            return draft.withhold();
        }
        let len = self.room(draft, key, num_tokens);
        if len < num_tokens {
            if self.reach_in_pool(&self.sequences[key]) < u64::from(num_tokens) {
                draft.budget.stop(Stop::Blocks);
            } else {
                draft.budget.hold_back();
            }
        } else if num_tokens == num_left && len < num_wanted {
            draft.budget.stop(Stop::Tokens);
        }
        if len > 0 {
            self.push_row(draft, key, len);
        }
        if len == num_tokens && num_tokens < num_left {
            draft.budget.close();
        }
    }

    fn push_row(&mut self, draft: &mut Draft, key: Key<Sequence>, len: u32) {
        let sequence = &mut self.sequences[key];
        let (start, end) = (sequence.num_planned, sequence.num_planned + len);
        self.kv.grow(&mut sequence.table, end);
        let tokens = sequence.row_tokens(len);
        draft.pace.add(Work::chunk(sequence, len));
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
        let num_prefill = sequence.charge_to(end);
        let member = &mut self.roster[sequence.tenant];
        member.service.charge(self.prices.costs.of(num_prefill, samples.into()));
        member.sums.prefill += u64::from(num_prefill);
        if sequence.is_all_planned() {
            sequence.place = Place::Ending;
            member.num_running -= 1;
            self.running.leave(sequence.admission);
        }
    }
}
