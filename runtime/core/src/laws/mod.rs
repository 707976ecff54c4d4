//! What is true of a scheduler between any two calls.

mod tenants;

use alloc::vec;

use engine_contract::BlockId;

use crate::sequence::{Place, Sequence};
use crate::{PrefixCache, Scheduler};

impl Scheduler {
    /// Asserts every invariant. Debug builds do so after every call; it costs a walk over
    /// everything.
    ///
    /// # Panics
    /// If one is broken; the message names it.
    pub fn check(&self) {
        self.check_blocks();
        self.check_index();
        self.check_seats();
        self.check_steps();
        self.check_running();
        self.check_lines();
        self.check_members();
        self.check_deadlines();
        self.check_accounts();
        for (_, sequence) in self.sequences.iter() {
            self.check_sequence(sequence);
        }
    }

    /// Every block is used, cached or free, and held as often as tables hold it.
    fn check_blocks(&self) {
        let pool = &self.kv.pool;
        let mut num_holders = vec![0; pool.num_blocks() as usize];
        for (_, sequence) in self.sequences.iter() {
            for block in &sequence.table.blocks {
                num_holders[block.0 as usize] += 1;
            }
        }
        let mut num_idle = 0;
        let mut num_cached = 0;
        let mut was_cached = false;
        for block in pool.idle() {
            let is_cached = pool.is_indexed(block);
            assert_eq!(pool.num_holders(block), 0, "law 1: {block:?} is idle and held");
            assert!(is_cached || !was_cached, "{block:?} is free, and a cached one goes first");
            was_cached = is_cached;
            num_idle += 1;
            num_cached += u32::from(is_cached);
        }
        for (index, &expected) in num_holders.iter().enumerate() {
            let block = BlockId(index as u32);
            assert_eq!(pool.num_holders(block), expected, "law 1: holders of {block:?}");
        }
        for (key, _) in self.roster.iter() {
            let owner = crate::kv::Owner(key.number());
            let owned = blocks_of(owner, pool).filter(|block| num_holders[block.0 as usize] > 0);
            assert_eq!(owned.count() as u32, pool.num_owned(owner), "law 1: charged blocks");
        }
        let num_used = num_holders.iter().filter(|&&holders| holders > 0).count() as u32;
        assert_eq!(num_used, pool.num_used(), "law 1: used blocks");
        assert_eq!(num_cached, pool.num_cached(), "law 1: cached blocks");
        assert_eq!(num_idle + num_used, pool.num_blocks(), "law 1: used + cached + free = total");
    }

    /// The index knows exactly the blocks that the pool says it knows.
    fn check_index(&self) {
        let pool = &self.kv.pool;
        let blocks = (0..pool.num_blocks()).map(BlockId);
        let mut num_indexed = 0;
        for block in blocks.filter(|&block| pool.is_indexed(block)) {
            let index = self.kv.prefix.as_ref().expect("without an index no block is in it");
            assert!(index.knows(block), "{block:?} is not found by its content");
            num_indexed += 1;
        }
        assert_eq!(num_indexed, self.kv.prefix.as_ref().map_or(0, crate::kv::PrefixIndex::len));
        let expected = self.limits.prefix_cache == PrefixCache::On;
        assert_eq!(self.kv.prefix.is_some(), expected, "the index is there if wanted");
    }

    /// Every seat is free, or one sequence has it.
    fn check_seats(&self) {
        let mut taken = vec![false; self.limits.rows_max as usize];
        let held = self.sequences.iter().filter_map(|(_, sequence)| sequence.seat);
        for seat in held.chain(self.seats.iter().copied()) {
            let taken = &mut taken[seat.0 as usize];
            assert!(!*taken, "{seat:?} is in two places");
            *taken = true;
        }
        assert!(taken.iter().all(|&taken| taken), "a seat is lost");
    }

    /// Steps in flight are consecutive, no more than may be, and name sequences that know of them.
    fn check_steps(&self) {
        let depth = self.limits.pipeline_depth as usize;
        assert!(self.in_flight.len() <= depth, "law 6: more than {depth} steps in flight");
        let first = self.in_flight.num_planned() - self.in_flight.len() as u64;
        for (step, flight) in (first..).zip(self.in_flight.iter()) {
            assert_eq!(flight.step.0, step, "steps in flight are consecutive");
            assert!(flight.rows.len() <= self.limits.rows_max as usize, "law 6: rows of a step");
        }
        for (key, sequence) in self.sequences.iter() {
            let rows = self.in_flight.iter().flat_map(|flight| &flight.rows);
            let rows = rows.filter(|row| row.key == key);
            let (mut num_rows, mut num_sampling, mut end) = (0, 0, sequence.num_computed);
            for row in rows {
                assert!(row.end > end, "rows of {:?} follow one another", sequence.id());
                (num_rows, end) = (num_rows + 1, row.end);
                num_sampling += u32::from(row.samples);
            }
            assert_eq!(sequence.num_in_flight, num_rows, "law 4: steps of {:?}", sequence.id());
            let is_open = sequence.place != Place::Closed;
            assert!(!is_open || sequence.num_planned == end, "planned is computed and in flight");
            assert!(!is_open || sequence.num_sampling == num_sampling, "law 10: tokens to come");
        }
    }

    /// Every request was refused, has ended, or is open and has its sequence.
    fn check_accounts(&self) {
        let sums = &self.ledger.sums;
        let num_open = u64::from(self.ledger.num_open());
        let num_ended = sums.finished + sums.cancelled + sums.expired + sums.failed;
        let num_known = sums.rejected + num_ended + num_open;
        assert_eq!(sums.submitted, num_known, "law 2: submitted = refused + ended + open");
        for key in self.ledger.open_sequences() {
            let is_open = self.sequences[key].place != Place::Closed;
            assert!(is_open, "law 3: an open account has a sequence to end it");
        }
        let is_open = |sequence: &Sequence| sequence.place != Place::Closed;
        let num_sequences = self.sequences.iter().filter(|(_, s)| is_open(s)).count() as u64;
        assert_eq!(num_open, num_sequences, "law 3: an open sequence has an account");
    }

    fn check_sequence(&self, sequence: &Sequence) {
        let id = sequence.id();
        let is_waiting = sequence.place == Place::Waiting;
        let is_leaving = matches!(sequence.place, Place::Closed | Place::Ending | Place::Preempted);
        assert_eq!(sequence.seat.is_none(), is_waiting, "{id:?} has a seat unless it waits");
        assert!(
            !is_leaving || sequence.num_in_flight > 0,
            "law 4: {id:?} leaves with its last step"
        );
        assert!(!is_waiting || sequence.num_in_flight == 0, "law 4: {id:?} waits, in flight");
        let num_blocks = self.kv.num_blocks_for(sequence.num_planned);
        assert_eq!(sequence.table.len(), num_blocks, "{id:?} has the blocks for what is planned");
        let num_published = sequence.table.num_published * self.limits.block_size;
        let is_published = num_published <= sequence.num_computed;
        assert!(is_published, "law 5: {id:?} published a block before it was computed");
        if sequence.place != Place::Closed {
            assert!(sequence.num_computed <= sequence.num_planned, "{id:?} plans what it computes");
            assert!(sequence.num_planned <= sequence.horizon(), "{id:?} plans what is known");
            let num_output = sequence.output.len() as u32 + sequence.num_sampling;
            assert!(num_output <= sequence.output_max, "law 6: {id:?} samples more than allowed");
            let num_charged = sequence.num_planned.min(sequence.num_prompt());
            assert!(sequence.num_charged >= num_charged, "law 13: {id:?} has what is not charged");
            let is_ending = sequence.place == Place::Ending;
            assert_eq!(is_ending, num_output == sequence.output_max, "law 7: {id:?} ends in time");
        }
    }
}

fn blocks_of(owner: crate::kv::Owner, pool: &crate::kv::Pool) -> impl Iterator<Item = BlockId> {
    let blocks = (0..pool.num_blocks()).map(BlockId);
    blocks.filter(move |&block| pool.owner(block) == owner)
}
