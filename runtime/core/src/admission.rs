//! What may enter: the server at all, and then the running sequences.

use engine_contract::Stop;

use crate::arena::Key;
use crate::budget::Draft;
use crate::kv::Prefix;
use crate::prefill::Turned;
use crate::roster::{Departures, Member};
use crate::sequence::{Place, Sequence};
use crate::work::Work;
use crate::{QueueBound, Rejected, Request, Scheduler};

/// Whether the head of a line may run now.
enum Entry {
    /// It may, and begins with this.
    Free(Prefix),
    /// A bound of its tenant is in the way, and of nobody else.
    HeldBack,
    /// The step or the server has no room for it, so for nobody.
    Shut(Stop),
}

impl Scheduler {
    /// Whose a request is and how many tokens it may generate, if it may wait. The last token of an
    /// output needs no position in the cache: nothing is computed after it.
    pub(crate) fn judge(&self, request: &Request) -> Result<(Key<Member>, u32), Rejected> {
        let limits = &self.limits;
        let prompt = u32::try_from(request.prompt.len()).unwrap_or(u32::MAX);
        let capacity = self.capacity(limits.num_blocks);
        if prompt == 0 {
            return Err(Rejected::EmptyPrompt);
        }
        if prompt >= limits.context {
            return Err(Rejected::ContextExceeded { prompt, context: limits.context });
        }
        if prompt > capacity {
            return Err(Rejected::ExceedsCache { prompt, capacity });
        }
        let unknown = Rejected::UnknownTenant(request.terms.tenant);
        let key = self.roster.find(request.terms.tenant).ok_or(unknown)?;
        let capacity = capacity.min(self.capacity(self.roster[key].blocks_max));
        if prompt > capacity {
            return Err(Rejected::ExceedsShare { prompt, capacity });
        }
        let deadlines = [request.terms.queue_deadline, request.terms.deadline];
        if deadlines.into_iter().flatten().any(|deadline| deadline <= self.now) {
            return Err(Rejected::DeadlinePassed);
        }
        self.judge_tenant_queue(&self.roster[key], prompt)?;
        self.judge_queue(prompt)?;
        let room = (limits.context - prompt).min((capacity - prompt).saturating_add(1));
        Ok((key, request.max_tokens.min(room)))
    }

    fn judge_tenant_queue(&self, member: &Member, prompt: u32) -> Result<(), Rejected> {
        let (waiting, num_tokens) = (member.line.len(), member.line.num_tokens());
        let maxima = (member.tenant.waiting_max, member.tenant.waiting_tokens_max);
        let Some(full) = full(waiting, num_tokens, prompt, maxima) else { return Ok(()) };
        let retry_after_us = self.time_for(&full, &member.departures);
        Err(Rejected::TenantQueueFull { waiting, bound: full.bound, retry_after_us })
    }

    fn judge_queue(&self, prompt: u32) -> Result<(), Rejected> {
        let (waiting, num_tokens) = (self.roster.num_waiting(), self.roster.num_waiting_tokens());
        let maxima = (self.limits.waiting_max, self.limits.waiting_tokens_max);
        let Some(full) = full(waiting, num_tokens, prompt, maxima) else { return Ok(()) };
        let retry_after_us = self.time_for(&full, self.roster.departures());
        Err(Rejected::QueueFull { waiting, bound: full.bound, retry_after_us })
    }

    fn time_for(&self, full: &Full, departures: &Departures) -> Option<u64> {
        let pace = match full.bound {
            QueueBound::Requests(_) => &departures.requests,
            QueueBound::Tokens(_) => &departures.tokens,
        };
        pace.time_for(full.num_over, self.now)
    }

    /// Admits the head of a tenant's line if the step and the pool have room. Nobody overtakes a
    /// head whose turn it is but for a bound of its own tenant, so it is admitted as soon as those
    /// running have made room for it.
    pub(crate) fn admit_head(&mut self, draft: &mut Draft, tenant: Key<Member>) -> Turned {
        let head = self.roster[tenant].line.head();
        let (Some(key), false) = (head, draft.budget.is_stopped()) else { return Turned::Over };
        match self.entry(draft, key) {
            Entry::Free(_) | Entry::Shut(Stop::Rows | Stop::Blocks)
                if self.roster[tenant].is_held_back =>
            {
                // With what it missed taken off, others may be in front of it.
                self.roster.let_go(tenant);
                Turned::Again
            }
            Entry::Free(prefix) => {
                self.roster.raise_floor(tenant);
                self.roster.take_turn(tenant);
                self.enter(draft, key, prefix);
                Turned::Again
            }
            Entry::HeldBack => {
                self.roster[tenant].is_held_back = true;
                draft.budget.hold_back();
                Turned::Over
            }
            Entry::Shut(Stop::Latency) => {
                draft.withhold();
                Turned::Over
            }
            Entry::Shut(stop) if self.reclaim(draft, key, stop) => Turned::Again,
            Entry::Shut(stop) => {
                draft.budget.stop(stop);
                Turned::Over
            }
        }
    }

    /// What the head of a line begins with if it may run now; else what it lacks. It needs room for
    /// all of its text beside what is promised, else it would soon be preempted again.
    fn entry(&self, draft: &mut Draft, key: Key<Sequence>) -> Entry {
        let sequence = &self.sequences[key];
        let member = &self.roster[sequence.tenant];
        if draft.budget.num_tokens() == 0 {
            return Entry::Shut(Stop::Tokens);
        }
        if !self.has_time(draft, sequence, 0) {
            return Entry::Shut(Stop::Latency);
        }
        if member.num_seats >= member.tenant.running_max {
            return Entry::HeldBack;
        }
        if self.seats.is_empty() || !self.has_room_for_stream(draft, sequence) {
            return Entry::Shut(Stop::Rows);
        }
        let num_promised = self.num_promised(draft);
        // A preempted sequence waits for its own steps in flight, to know where it resumes.
        if sequence.place == Place::Preempted || self.kv.pool.num_available() <= num_promised {
            return Entry::Shut(Stop::Blocks);
        }
        let prefix = self.kv.find(sequence.request.salt, &sequence.text);
        let num_blocks = self.kv.num_blocks_for(sequence.num_text()) - prefix.blocks.len() as u32;
        if !self.share_affords(draft, sequence, num_blocks + prefix.num_idle) {
            return Entry::HeldBack;
        }
        if !self.kv.affords(&prefix, num_blocks + num_promised) {
            return Entry::Shut(Stop::Blocks);
        }
        let num_cached = prefix.blocks.len() as u32 * self.limits.block_size;
        let has_time = self.has_time(draft, sequence, num_cached);
        if has_time { Entry::Free(prefix) } else { Entry::Shut(Stop::Latency) }
    }

    /// Whether steps of everybody who runs, and of this sequence, leave time for prompts; or its
    /// tenant has less than its part of those.
    fn has_room_for_stream(&self, draft: &Draft, sequence: &Sequence) -> bool {
        let prefilling = draft.prefilling.iter().map(|&key| &self.sequences[key]);
        let coming = prefilling.filter(|other| other.place == Place::Running).chain([sequence]);
        let decode = |sequence: &Sequence| Work::row(sequence.num_text(), 1, true);
        let work = draft.pace.decodes.unwrap_or_default();
        let work = coming.map(decode).fold(work, Work::plus);
        if self.latency.has_room(draft, work) {
            return true;
        }
        let num_used = self.limits.rows_max - self.seats.len() as u32;
        let num_due = self.part_of(sequence.tenant, self.per_weight(num_used));
        u64::from(self.roster[sequence.tenant].num_seats) < num_due
    }

    /// Whether the step has time for a row of a sequence that begins at `start`.
    fn has_time(&self, draft: &Draft, sequence: &Sequence, start: u32) -> bool {
        let num_left = (sequence.num_text() - start).min(draft.budget.num_tokens());
        self.latency.chunk(draft, sequence, start, num_left) > 0
    }

    /// The head of a line takes a seat, the blocks of the prefix that was found, and a row.
    fn enter(&mut self, draft: &mut Draft, key: Key<Sequence>, prefix: Prefix) {
        let num_promised = self.num_promised(draft);
        let num_cached = prefix.blocks.len() as u32 * self.limits.block_size;
        let sequence = &mut self.sequences[key];
        let turn = self.roster.depart(sequence.tenant, sequence.order(), self.now);
        sequence.admission = self.running.admit(turn);
        sequence.place = Place::Running;
        sequence.seat = self.seats.pop();
        self.kv.adopt(&mut sequence.table, prefix);
        sequence.num_planned = num_cached;
        sequence.num_computed = num_cached;
        // Found in the cache: computed by nobody, and free.
        sequence.charge_to(num_cached);
        let member = &mut self.roster[sequence.tenant];
        member.num_seats += 1;
        member.num_running += 1;
        if sequence.num_cached.is_none() {
            sequence.num_cached = Some(num_cached);
            self.prefix_hit_total += u64::from(num_cached);
            member.sums.cached += u64::from(num_cached);
            if self.kv.prefix.is_some() {
                self.prefix_queried_total += u64::from(sequence.num_prompt());
            }
            self.deadlines.meet_queue(&sequence.request.terms, sequence.arrival);
        }
        draft.prefilling.push(key);
        self.plan_row(draft, key);
        let sequence = &self.sequences[key];
        assert!(sequence.num_in_flight > 0, "law 7: who is admitted gets a row");
        let num_new = match sequence.place {
            Place::Running => self.num_blocks_lacking(sequence) + 1,
            Place::Closed | Place::Ending | Place::Preempted | Place::Waiting => 0,
        };
        draft.num_promised = Some(num_promised + num_new);
    }

    /// Blocks that running sequences will need before they are done with their text, and one more
    /// for each, so that an admission is not what makes the next step preempt.
    pub(crate) fn num_promised(&self, draft: &mut Draft) -> u32 {
        if let Some(num_promised) = draft.num_promised {
            return num_promised;
        }
        let prefilling = draft.prefilling.iter().map(|&key| &self.sequences[key]);
        let running = prefilling.filter(|sequence| sequence.place == Place::Running);
        let num_lacking: u32 = running.map(|sequence| self.num_blocks_lacking(sequence)).sum();
        *draft.num_promised.insert(num_lacking + self.running.len())
    }

    /// Whether a tenant's part of the cache has room for `num_blocks` more beside what its own
    /// running sequences will need. One that nothing of runs may always begin.
    fn share_affords(&self, draft: &Draft, sequence: &Sequence, num_blocks: u32) -> bool {
        let member = &self.roster[sequence.tenant];
        if member.num_seats == 0 || member.blocks_max == self.limits.num_blocks {
            return true;
        }
        let prefilling = draft.prefilling.iter().map(|&key| &self.sequences[key]);
        let own = prefilling
            .filter(|other| other.place == Place::Running && other.tenant == sequence.tenant);
        let num_lacking: u32 = own.map(|other| self.num_blocks_lacking(other)).sum();
        let num_used = self.num_blocks_of(sequence.tenant);
        num_used + num_lacking + member.num_running + num_blocks <= member.blocks_max
    }

    fn num_blocks_lacking(&self, sequence: &Sequence) -> u32 {
        self.kv.num_blocks_for(sequence.num_text()).saturating_sub(sequence.table.len())
    }

    /// Positions in `num_blocks` blocks.
    fn capacity(&self, num_blocks: u32) -> u32 {
        num_blocks.saturating_mul(self.limits.block_size)
    }
}

/// A queue that takes no more.
struct Full {
    bound: QueueBound,
    /// What has to leave first.
    num_over: u64,
}

/// Whether `waiting` requests with `num_tokens` prompt tokens leave no room for one more. A prompt
/// larger than the bound may wait alone, or it could never enter.
fn full(waiting: u32, num_tokens: u64, prompt: u32, maxima: (u32, u64)) -> Option<Full> {
    let (waiting_max, tokens_max) = maxima;
    if waiting >= waiting_max {
        let num_over = u64::from(waiting - waiting_max) + 1;
        return Some(Full { bound: QueueBound::Requests(waiting_max), num_over });
    }
    let num_tokens = num_tokens.saturating_add(prompt.into());
    let is_full = waiting > 0 && num_tokens > tokens_max;
    let num_over = num_tokens.saturating_sub(tokens_max);
    is_full.then_some(Full { bound: QueueBound::Tokens(tokens_max), num_over })
}
