//! The books on what a plan does: each row as it comes, whose turn it was, and who was preempted.

use std::collections::{BTreeMap, BTreeSet};

use engine_contract::{Row, RowTokens, StepPlan, Stop, TableChange};
use runtime_core::{Costs, Counter, TenantId};

use crate::books::Books;
use crate::client::{Client, Standing};
use crate::view::View;

impl Books {
    /// Takes in the rows of a plan, and looks that each was its tenant's turn.
    pub(crate) fn take_rows(
        &mut self,
        plan: &StepPlan,
        resumed: &[usize],
        before: &View,
        after: &View,
    ) {
        let counters = before.tenants.iter().map(|(&id, one)| (id, one.counter));
        let mut counters: BTreeMap<_, _> = counters.collect();
        let mut flight = Vec::new();
        for (number, row) in plan.rows.iter().enumerate() {
            let index = self.index_of(row.sequence);
            let client = &self.clients[index];
            let id = client.tenant();
            let is_fresh = matches!(row.table, TableChange::Fresh(_));
            let is_decode = !is_fresh && client.num_planned >= client.num_text;
            if is_fresh {
                self.check_head(index, resumed);
            }
            if !is_decode {
                let later: Vec<_> = plan.rows[number..].iter().collect();
                let others = counters.iter().filter(|&(&other, _)| other != id);
                for (&other, _) in others.filter(|&(_, &counter)| is_less(counter, counters[&id])) {
                    self.check_passed(other, is_fresh, &later, plan, (before, after));
                }
            }
            let (samples, cost) = self.take_row(index, row, before.costs);
            flight.push((index, samples));
            let weight = self.tables.get(id).weight;
            self.fairness.charge(id, cost, weight);
            let counter = counters.get_mut(&id).expect("a tenant with requests is shown");
            counter.0 += u128::from(cost) * Counter::UNIT / u128::from(weight);
        }
        self.flights.push_back(flight);
        check_counters(&counters, before, after);
    }

    /// Nobody of its tenant is in front of whoever is admitted.
    fn check_head(&self, index: usize, resumed: &[usize]) {
        let head = &self.clients[index];
        for (other, client) in self.clients.iter().enumerate() {
            let is_rival = client.is_waiting() && client.tenant() == head.tenant();
            let is_behind = other == index || head.order() < client.order();
            let is_back = resumed.contains(&other);
            let id = head.request.id;
            assert!(!is_rival || is_behind || is_back, "law 8: {id:?} overtakes");
        }
        let num_seats = self.seats_of(head.tenant());
        let running_max = self.tables.get(head.tenant()).running_max;
        assert!(num_seats < running_max, "law 15: {:?} has too many seats", head.tenant());
    }

    /// A tenant with less service had no turn before another: it wanted none, or could have none.
    fn check_passed(
        &self,
        id: TenantId,
        is_fresh: bool,
        later: &[&Row],
        plan: &StepPlan,
        (before, after): (&View, &View),
    ) {
        let own = || self.clients.iter().filter(|client| client.tenant() == id);
        // One that is let go is lifted at some moment of the plan.
        let was_held_back = before.is_held_back(id);
        let is_held_back = after.is_held_back(id) || was_held_back;
        let has_preempted = after.num_preempted_since(before) > 0;
        let is_waiting = own().any(|client| client.is_waiting()) && !is_held_back;
        let is_shut = !is_fresh && matches!(plan.stop, Stop::Blocks | Stop::Rows);
        let is_excused = !is_waiting || is_shut || has_preempted;
        assert!(is_excused, "law 13: {id:?} had less, waits, and is passed ({:?})", plan.stop);
        let is_idle = |client: &&Client| {
            let has_row = later.iter().any(|row| row.sequence.0 == client.request.id.0);
            client.is_plannable() && client.num_planned < client.num_text && has_row
        };
        let is_prefilling = own().any(|client| is_idle(&client));
        assert!(!is_prefilling || has_preempted || was_held_back, "law 13: {id:?} had less");
    }

    /// Takes in a row; says whether it samples, and what it costs its tenant.
    fn take_row(&mut self, index: usize, row: &Row, costs: Costs) -> (bool, u64) {
        let is_seat_free = self.holders().count() < self.limits.rows_max as usize;
        let admission = self.num_admissions;
        let client = &mut self.clients[index];
        assert_eq!(client.end, None, "law 11: {:?} has ended", row.sequence);
        assert_ne!(client.standing, Standing::Preempted, "law 4: {:?} is leaving", row.sequence);
        let blocks = match &row.table {
            TableChange::Extend(blocks) => blocks,
            TableChange::Fresh(blocks) => {
                assert_eq!(client.standing, Standing::Away, "{:?} is seated twice", row.sequence);
                assert!(is_seat_free, "law 6: more seats than there are");
                client.standing = Standing::Seated;
                client.num_planned = row.start;
                client.num_text = client.num_known();
                client.num_cached.get_or_insert(row.start);
                client.charge_to(row.start);
                client.admission = admission;
                self.num_admissions += 1;
                assert!(row.start < client.num_text, "something is left to compute");
                blocks
            }
        };
        assert_eq!(row.start, client.num_planned, "rows of {:?} follow", row.sequence);
        let is_device = matches!(row.tokens, RowTokens::Device);
        assert_eq!(is_device, row.start >= client.num_known(), "the host says what it knows");
        client.table.extend(blocks);
        client.num_planned += row.tokens.len() as u32;
        client.num_in_flight += 1;
        let samples = client.num_planned == client.horizon();
        client.num_sampling += u32::from(samples);
        let num_output = client.output.len() as u32 + client.num_sampling;
        assert!(num_output <= client.output_max, "law 7: {:?} ends before", row.sequence);
        assert_eq!(row.sample.is_some(), samples, "{:?} samples at its horizon", row.sequence);
        let num_prefill = client.charge_to(client.num_planned);
        client.num_prefilled += num_prefill;
        let cost = u64::from(costs.prefill) * u64::from(num_prefill)
            + u64::from(costs.output) * u64::from(samples);
        (samples, cost)
    }

    /// Those preempted by this very plan who are back in it, since by now they share more blocks.
    pub(crate) fn preempt_resumed(&mut self, plan: &StepPlan) -> Vec<usize> {
        let mut resumed = Vec::new();
        for row in plan.rows.iter().filter(|row| matches!(row.table, TableChange::Fresh(_))) {
            let index = self.index_of(row.sequence);
            if self.clients[index].standing == Standing::Seated {
                assert_eq!(self.clients[index].num_in_flight, 0, "law 4: {:?}", row.sequence);
                self.clients[index].standing = Standing::Preempted;
                self.settle(index);
                resumed.push(index);
            }
        }
        resumed
    }

    /// Those who ran when the plan began and wait now.
    pub(crate) fn victims(&self, after: &View) -> Vec<usize> {
        let running = (0..self.clients.len()).filter(|&index| self.clients[index].is_running());
        let is_back = |client: &Client| after.waiting.contains_key(&client.request.id);
        running.filter(|&index| is_back(&self.clients[index])).collect()
    }

    /// Some of those who still want rows wait again: of their tenants the last in the order, of the
    /// tenants the most served, and never whoever was admitted first.
    /// `first` is who that was when the plan began; when its last row is planned, another is. Those
    /// whom the plan itself admitted, after the first `num_admissions`, may stay although they are
    /// behind.
    pub(crate) fn preempt(
        &mut self,
        victims: Vec<usize>,
        (first, num_admissions): (Option<usize>, u64),
        (before, after): (&View, &View),
    ) {
        self.num_preemptions += victims.len() as u64;
        let is_back = |client: &Client| after.waiting.contains_key(&client.request.id);
        let firsts = [first, self.first_running()];
        for &index in &victims {
            let victim = &self.clients[index];
            let id = victim.request.id;
            assert!(victim.is_plannable(), "law 12: {id:?} had nothing left to plan");
            assert_ne!(Some(index), first, "law 12: the first is never preempted");
            let stays = self.clients.iter().enumerate().filter(|&(other, client)| {
                let is_new = client.admission >= num_admissions;
                let may_stay = is_new || firsts.contains(&Some(other));
                client.is_plannable() && !may_stay && !is_back(client)
            });
            for (_, other) in stays {
                let is_own = other.tenant() == victim.tenant();
                assert!(!is_own || other.order() < victim.order(), "law 12: {id:?} is not last");
                let has_less = is_less(
                    after.tenants[&victim.tenant()].counter,
                    before.tenants[&other.tenant()].counter,
                );
                let is_bounded = self.is_bounded(victim.tenant(), before, after);
                assert!(is_own || !has_less || is_bounded, "law 12: {id:?} had less service");
            }
        }
        for index in victims {
            self.clients[index].standing = Standing::Preempted;
            self.settle(index);
        }
    }

    /// Whoever was admitted first goes on: each step has a row for it, is full without it, or waits
    /// for blocks that come home. So it ends, and so does everybody.
    pub(crate) fn check_first(&mut self, plan: &StepPlan, is_protected: bool) {
        let Some(first) = self.first_running() else {
            self.first_ends_by = None;
            return;
        };
        let client = &self.clients[first];
        let ends_by = match self.first_ends_by {
            Some((index, ends_by)) if index == first => ends_by,
            _ => self.num_steps + client.cost(&self.limits),
        };
        let id = client.request.id;
        let has_row = plan.rows.iter().any(|row| row.sequence.0 == id.0);
        let is_full = is_protected || plan.num_tokens() == self.limits.step_tokens_max as usize;
        // A full step is somebody else's turn, who had less service.
        let ends_by = ends_by + u64::from(is_full && !has_row);
        assert!(self.num_steps <= ends_by, "law 12: {id:?} was first, and does not end");
        let is_leaving = self.holders().any(|client| !client.is_plannable());
        assert!(has_row || is_full || is_leaving, "law 12: {id:?} is first, and was left out");
        self.first_ends_by = Some((first, ends_by));
    }

    /// Who was admitted first of those who want rows.
    pub(crate) fn first_running(&self) -> Option<usize> {
        let running = (0..self.clients.len()).filter(|&index| self.clients[index].is_plannable());
        running.min_by_key(|&index| self.clients[index].admission)
    }

    /// Seats that a tenant's requests hold.
    pub(crate) fn seats_of(&self, id: TenantId) -> u32 {
        self.holders().filter(|client| client.tenant() == id).count() as u32
    }

    /// Whether something besides its service may cost a tenant a seat: its own part of the cache,
    /// or that it had more than its part of the seats or blocks, which others are due.
    fn is_bounded(&self, id: TenantId, before: &View, after: &View) -> bool {
        let open = self.clients.iter().filter(|client| client.end.is_none());
        let present: BTreeSet<_> = open.chain(self.holders()).map(Client::tenant).collect();
        let weights: u32 = present.iter().map(|&id| self.tables.get(id).weight).sum();
        let part = |total: u32| (total * self.tables.get(id).weight / weights).max(1);
        self.tables.get(id).kv_per_mille < 1_000
            || before.tenants[&id].seats.max(after.tenants[&id].seats) > part(self.limits.rows_max)
            || before.blocks_of(id).max(after.blocks_of(id)) > part(self.limits.num_blocks)
    }
}

/// The counters moved by what was served, and by lifts of those that came back.
fn check_counters(expected: &BTreeMap<TenantId, Counter>, before: &View, after: &View) {
    for (id, one) in &after.tenants {
        let (counter, expected) = (one.counter, expected[id]);
        assert!(counter >= expected, "law 13: {id:?} was served more than is counted");
        let was_waiting = before.tenants[id].waiting > 0 && !before.tenants[id].held_back;
        let is_counted = !is_less(expected, counter);
        // Who has left the queue in this plan may have come back in it.
        let has_preempted = after.num_preempted_since(before) > 0;
        let can_return = !was_waiting || has_preempted;
        assert!(is_counted || can_return, "law 13: {id:?} is charged {counter:?}");
    }
}

/// Less, by more than rounding.
fn is_less(one: Counter, other: Counter) -> bool {
    one.0 + 1_000 < other.0
}
