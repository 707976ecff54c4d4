//! What may enter: the server at all, and then the running sequences.

use engine_contract::Stop;

use crate::arena::Key;
use crate::budget::Draft;
use crate::kv::Prefix;
use crate::queue::Queue;
use crate::sequence::{Place, Sequence};
use crate::{Limits, Rejected, Request, Scheduler};

/// Whether a request may wait, and if so how many tokens it may generate. The last token of an
/// output needs no position in the cache: nothing is computed after it.
pub(crate) fn judge(limits: &Limits, queue: &Queue, request: &Request) -> Result<u32, Rejected> {
    let prompt = u32::try_from(request.prompt.len()).unwrap_or(u32::MAX);
    let capacity = u64::from(limits.num_blocks) * u64::from(limits.block_size);
    let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
    if prompt == 0 {
        return Err(Rejected::EmptyPrompt);
    }
    if prompt >= limits.context {
        return Err(Rejected::ContextExceeded { prompt, context: limits.context });
    }
    if prompt > capacity {
        return Err(Rejected::ExceedsCache { prompt, capacity });
    }
    let waiting = queue.num_waiting();
    // A prompt larger than the bound may wait alone, or it could never enter.
    let num_tokens = queue.num_waiting_tokens() + u64::from(prompt);
    let too_many_tokens = waiting > 0 && num_tokens > limits.waiting_tokens_max;
    if waiting >= limits.waiting_max || too_many_tokens {
        return Err(Rejected::QueueFull { waiting });
    }
    let room = (limits.context - prompt).min((capacity - prompt).saturating_add(1));
    Ok(request.max_tokens.min(room))
}

impl Scheduler {
    /// Admits from the head of the queue for as long as the step and the pool have room. Nobody
    /// overtakes the head, so it is admitted as soon as those running have made room for it.
    pub(crate) fn admit(&mut self, draft: &mut Draft) {
        if draft.budget.is_stopped() || self.queue.head().is_none() {
            return;
        }
        let mut num_promised = self.num_promised_blocks(draft);
        while let Some(key) = self.queue.head() {
            match self.entry(draft, key, num_promised) {
                Err(stop) => return draft.budget.stop(stop),
                Ok(prefix) => self.enter(key, prefix),
            }
            self.plan_row(draft, key);
            let sequence = &self.sequences[key];
            assert!(sequence.num_in_flight > 0, "law 7: who is admitted gets a row");
            if sequence.place == Place::Running {
                num_promised += self.num_blocks_lacking(sequence) + 1;
            }
        }
    }

    /// What the head of the queue begins with if it may run now; else what it lacks. It needs room
    /// for all of its text beside what is promised, else it would soon be preempted again.
    fn entry(&self, draft: &Draft, key: Key<Sequence>, num_promised: u32) -> Result<Prefix, Stop> {
        let sequence = &self.sequences[key];
        if draft.budget.num_tokens() == 0 {
            return Err(Stop::Tokens);
        }
        if self.seats.is_empty() {
            return Err(Stop::Rows);
        }
        // A preempted sequence waits for its own steps in flight, to know where it resumes.
        if sequence.place == Place::Preempted || self.kv.pool.num_available() <= num_promised {
            return Err(Stop::Blocks);
        }
        let prefix = self.kv.find(sequence.request.salt, &sequence.text);
        let num_blocks = self.kv.num_blocks_for(sequence.num_text()) - prefix.blocks.len() as u32;
        let fits = self.kv.affords(&prefix, num_blocks + num_promised);
        if fits { Ok(prefix) } else { Err(Stop::Blocks) }
    }

    /// The head of the queue takes a seat, and the blocks of the prefix that was found.
    fn enter(&mut self, key: Key<Sequence>, prefix: Prefix) {
        let num_cached = prefix.blocks.len() as u32 * self.limits.block_size;
        self.queue.admit();
        let sequence = &mut self.sequences[key];
        sequence.place = Place::Running;
        sequence.seat = self.seats.pop();
        self.kv.adopt(&mut sequence.table, prefix);
        sequence.num_planned = num_cached;
        sequence.num_computed = num_cached;
        if sequence.num_cached.is_none() {
            sequence.num_cached = Some(num_cached);
            self.prefix_hit_total += u64::from(num_cached);
            if self.kv.prefix.is_some() {
                self.prefix_queried_total += u64::from(sequence.num_prompt());
            }
        }
    }

    /// Blocks that running sequences will need before they are done with their text, and one more
    /// for each, so that an admission is not what makes the next step preempt.
    fn num_promised_blocks(&self, draft: &Draft) -> u32 {
        let prefilling = draft.prefilling.iter().map(|&key| &self.sequences[key]);
        let running = prefilling.filter(|sequence| sequence.place == Place::Running);
        let num_lacking: u32 = running.map(|sequence| self.num_blocks_lacking(sequence)).sum();
        num_lacking + self.queue.num_running()
    }

    fn num_blocks_lacking(&self, sequence: &Sequence) -> u32 {
        self.kv.num_blocks_for(sequence.num_text()).saturating_sub(sequence.table.len())
    }
}
