//! How a step's positions are dealt out that decodes leave over: to the tenant that has had the
//! least service, one row at a time.
//!
//! A tenant's turn is a chunk for its running sequence that was admitted first, and when it has
//! none without a row, the admission of its head. What a turn costs counts at once, so the next one
//! may be another tenant's. A tenant that nothing more can be done for leaves the round; the step
//! is over when all have.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Range;

use crate::Scheduler;
use crate::arena::Key;
use crate::budget::Draft;
use crate::roster::{Claim, Member};
use crate::sequence::Place;

/// The tenants in a round, the least served on top.
#[derive(Default)]
struct Round {
    lanes: Vec<Lane>,
    order: BinaryHeap<Reverse<(Claim, usize)>>,
}

/// What is left to do for one tenant.
struct Lane {
    tenant: Key<Member>,
    /// Which of [`Draft::prefilling`] are its own and have had no turn.
    chunks: Range<usize>,
}

/// What a turn leads to.
pub(crate) enum Turned {
    /// The tenant may have another turn.
    Again,
    /// Nothing more can be done for it in this step.
    Over,
}

impl Scheduler {
    pub(crate) fn plan_prefills(&mut self, draft: &mut Draft) {
        let mut round = Round::default();
        self.enter_prefilling(&mut round, draft);
        // A preemption in the round may bring somebody back who has left it.
        while self.enter_waiting(&mut round, draft) {
            while let Some(Reverse((claim, index))) = round.order.pop() {
                if draft.budget.num_tokens() == 0 {
                    round.order.clear();
                    break;
                }
                let tenant = round.lanes[index].tenant;
                let current = self.roster.claim(tenant);
                if claim != current {
                    round.order.push(Reverse((current, index)));
                    continue;
                }
                match self.take_turn(draft, &mut round.lanes[index]) {
                    Turned::Again => {
                        round.order.push(Reverse((self.roster.claim(tenant), index)));
                    }
                    Turned::Over => {}
                }
            }
        }
        for lane in &round.lanes {
            self.roster[lane.tenant].has_lane = false;
        }
    }

    fn take_turn(&mut self, draft: &mut Draft, lane: &mut Lane) -> Turned {
        if let Some(index) = lane.chunks.next() {
            let key = draft.prefilling[index];
            // Somebody may have taken its blocks.
            if self.sequences[key].place == Place::Running {
                self.roster.take_turn(lane.tenant);
                draft.num_promised = None;
                self.plan_row(draft, key);
            }
            return Turned::Again;
        }
        self.admit_head(draft, lane.tenant)
    }

    /// Tenants with running sequences that have text to catch up.
    fn enter_prefilling(&mut self, round: &mut Round, draft: &mut Draft) {
        let tenant = |key| self.sequences[key].tenant;
        // Stable: a tenant's own stay in the order of admission.
        draft.prefilling.sort_by_key(|&key| tenant(key).number());
        let mut start = 0;
        for chunks in draft.prefilling.chunk_by(|&a, &b| tenant(a) == tenant(b)) {
            let end = start + chunks.len();
            round.lanes.push(Lane { tenant: tenant(chunks[0]), chunks: start..end });
            start = end;
        }
        for (index, lane) in round.lanes.iter().enumerate() {
            self.roster[lane.tenant].has_lane = true;
            round.order.push(Reverse((self.roster.claim(lane.tenant), index)));
        }
    }

    /// Tenants of whom somebody waits. Says whether anybody is in the round.
    fn enter_waiting(&mut self, round: &mut Round, draft: &Draft) -> bool {
        if !draft.budget.is_stopped() && draft.budget.num_tokens() > 0 {
            for index in 0..self.roster.backlogged().len() {
                let tenant = self.roster.backlogged()[index];
                if !core::mem::replace(&mut self.roster[tenant].has_lane, true) {
                    round.order.push(Reverse((self.roster.claim(tenant), round.lanes.len())));
                    round.lanes.push(Lane { tenant, chunks: 0..0 });
                }
            }
        }
        !round.order.is_empty()
    }
}
