//! The laws that the books can tell: every plan, count and output is what it had to be.

use std::collections::BTreeSet;

use engine_contract::{Row, StepPlan, Stop, TableChange};
use runtime_core::{End, PrefixCache, Snapshot};

use crate::books::Books;
use crate::client::{Client, Standing};
use crate::script::isolated_run;

impl Books {
    /// `plan` said `None`: it had a reason.
    pub(crate) fn planned_nothing(&mut self, before: &Snapshot, after: &Snapshot) {
        let num_preempted = after.preemptions_total - before.preemptions_total;
        self.preempt_youngest(num_preempted);
        if self.flights.len() == self.limits.pipeline_depth as usize {
            return;
        }
        let is_idle = self.flights.is_empty();
        assert!(!is_idle || self.num_open() == 0, "law 7: nothing planned, and somebody waits");
        let is_dry = after.blocks_used == after.blocks_total;
        let wants = self.clients.iter().any(Client::is_plannable);
        assert!(!wants || is_dry, "law 7: a running sequence was left out");
        let is_stuck =
            wants || !self.has_waiting() || self.head_is_blocked(after) || self.is_seated_out();
        assert!(is_stuck, "law 7: a waiting sequence could have run");
    }

    /// Every count is what the books say.
    pub(crate) fn check(&self, snapshot: &Snapshot) {
        let held: BTreeSet<_> = self.holders().flat_map(|client| &client.table).collect();
        let waiting = self.clients.iter().filter(|client| client.is_waiting());
        let prompts = waiting.clone().map(|client| client.request.prompt.len() as u64);
        let ended = |count: fn(End) -> bool| {
            self.clients.iter().filter(|client| client.end.is_some_and(count)).count() as u64
        };
        let expected = Snapshot {
            waiting: waiting.clone().count() as u32,
            running: self.clients.iter().filter(|client| client.is_running()).count() as u32,
            in_flight: self.flights.len() as u32,
            blocks_total: self.limits.num_blocks,
            blocks_used: held.len() as u32,
            waiting_tokens: prompts.sum(),
            submitted_total: self.num_submitted,
            rejected_total: self.num_rejected,
            finished_total: ended(|end| matches!(end, End::Finished(_))),
            cancelled_total: ended(|end| matches!(end, End::Cancelled(_))),
            failed_total: ended(|end| matches!(end, End::EngineFailed | End::NotFinite)),
            tokens_total: self.clients.iter().map(|client| client.output.len() as u64).sum(),
            steps_total: self.num_steps,
            preemptions_total: self.num_preemptions,
            draining: self.drain_deadline.is_some(),
            // What the index holds is checked by the engine's reads.
            ..*snapshot
        };
        assert_eq!(*snapshot, expected, "law 1, 2: the counts");
        let num_left = snapshot.blocks_total - snapshot.blocks_used;
        assert!(snapshot.blocks_cached <= num_left, "law 1: used + cached + free = total");
        let is_on = self.limits.prefix_cache == PrefixCache::On;
        assert!(is_on || snapshot.blocks_cached == 0, "without an index nothing is cached");
    }

    /// At the end of the world: who finished got exactly what an isolated run gives.
    pub(crate) fn check_outputs(&self) {
        for client in &self.clients {
            let id = client.request.id;
            let (whole, finish) = isolated_run(&client.request, &self.limits);
            assert!(whole.starts_with(&client.output), "law 10: {id:?} got another text");
            match client.end.unwrap_or_else(|| panic!("law 12: {id:?} never ended")) {
                End::Cancelled(_) | End::EngineFailed | End::NotFinite => {}
                End::Finished(how) => {
                    assert_eq!((how, client.output.len()), (finish, whole.len()), "law 10: {id:?}");
                }
            }
        }
    }

    /// Decodes come first, then chunks, then those admitted; among each the oldest first.
    pub(crate) fn check_order_of_rows(&self, plan: &StepPlan) {
        let rank = |row: &Row| {
            let client = &self.clients[self.index_of(row.sequence)];
            let group = match row.table {
                TableChange::Fresh(_) => 2,
                TableChange::Extend(_) if client.num_planned < client.num_text => 1,
                TableChange::Extend(_) => 0,
            };
            (group, row.sequence)
        };
        assert!(plan.rows.iter().map(rank).is_sorted_by(|a, b| a < b), "law 8: order of rows");
    }

    /// Who wants one token now, and whether that takes a block.
    pub(crate) fn decoding(&self) -> Vec<(usize, bool)> {
        let clients = self.clients.iter().enumerate();
        let decoding = clients
            .filter(|(_, client)| client.is_plannable() && client.num_planned >= client.num_text);
        let size = self.limits.block_size;
        decoding.map(|(index, client)| (index, client.num_planned.is_multiple_of(size))).collect()
    }

    /// No decode is left out, but for want of a block.
    pub(crate) fn check_decodes(
        &self,
        plan: &StepPlan,
        decoding: &[(usize, bool)],
        after: &Snapshot,
        num_preempted: u64,
    ) {
        let is_dry = after.blocks_used == after.blocks_total;
        for &(index, takes_block) in decoding {
            let client = &self.clients[index];
            let id = client.request.id;
            let has_row = plan.rows.iter().any(|row| row.sequence.0 == id.0);
            let is_excused = takes_block && (is_dry || num_preempted > 0);
            let is_out = client.standing != Standing::Seated;
            assert!(has_row || is_excused || is_out, "law 7: {id:?} was held up");
        }
    }

    /// The reason to stop is true.
    pub(crate) fn check_stop(&self, plan: &StepPlan, after: &Snapshot, num_preempted: u64) {
        let is_dry = after.blocks_used == after.blocks_total;
        match plan.stop {
            Stop::Blocks => {
                let is_blocked = num_preempted > 0 || is_dry || self.head_is_blocked(after);
                assert!(is_blocked, "law 7: there was a block for the next row");
            }
            Stop::Empty => {
                assert!(!self.has_waiting(), "law 7: somebody waits");
                for client in self.clients.iter().filter(|client| client.is_plannable()) {
                    let id = client.request.id;
                    let has_row = plan.rows.iter().any(|row| row.sequence.0 == id.0);
                    assert!(has_row, "law 7: {id:?} was left out");
                    let is_served = client.num_planned + 1 >= client.horizon();
                    assert!(is_served, "law 7: {id:?} was cut short");
                }
            }
            Stop::Rows => {
                assert!(self.has_waiting() && self.is_seated_out(), "law 7: a seat is free")
            }
            Stop::Tokens => {
                let budget = self.limits.step_tokens_max as usize;
                assert_eq!(plan.num_tokens(), budget, "law 7: the budget is not spent");
            }
        }
    }

    fn has_waiting(&self) -> bool {
        self.clients.iter().any(Client::is_waiting)
    }

    fn is_seated_out(&self) -> bool {
        self.holders().count() == self.limits.rows_max as usize
    }

    /// Whether the oldest waiting has to wait for blocks, or for its own steps in flight.
    fn head_is_blocked(&self, snapshot: &Snapshot) -> bool {
        let Some(head) = self.clients.iter().find(|client| client.is_waiting()) else {
            return false;
        };
        let num_blocks = |positions: u32| positions.div_ceil(self.limits.block_size);
        let running = self.clients.iter().filter(|client| client.is_plannable());
        let lacking = running.map(|client| {
            num_blocks(client.num_text).saturating_sub(client.table.len() as u32) + 1
        });
        let num_needed = num_blocks(head.num_known()) + lacking.sum::<u32>();
        let num_available = snapshot.blocks_total - snapshot.blocks_used;
        head.standing == Standing::Preempted || num_available < num_needed
    }
}
