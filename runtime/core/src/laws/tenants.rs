//! What is true of the order, the tenants and the deadlines.

use crate::Scheduler;
use crate::deadlines;
use crate::sequence::Place;

impl Scheduler {
    /// Everybody running stands once in the order of admission.
    pub(super) fn check_running(&self) {
        let admissions = self.running.iter().map(|turn| turn.admission);
        assert!(admissions.is_sorted_by(|a, b| a < b), "law 8: out of the order of admission");
        for turn in self.running.iter() {
            let sequence = &self.sequences[turn.key];
            assert_eq!(sequence.place, Place::Running, "law 8: in its place");
            assert_eq!(sequence.admission, turn.admission, "law 8: a turn of its own");
            assert_eq!(sequence.order(), turn.order(), "law 8: a turn of its own");
        }
        let is_running = |place| place == Place::Running;
        let num_running = self.sequences.iter().filter(|(_, s)| is_running(s.place)).count();
        assert_eq!(num_running, self.running.len() as usize, "law 8: everybody in the order");
    }

    /// Everybody waiting stands once in its tenant's line, the most urgent in front.
    pub(super) fn check_lines(&self) {
        let (mut num_waiting, mut num_tokens) = (0, 0);
        for (key, member) in self.roster.iter() {
            let orders = member.line.iter().map(crate::queue::Turn::order);
            assert!(orders.is_sorted_by(|a, b| a < b), "law 8: out of the order of a tenant");
            let mut num_own = 0;
            for turn in member.line.iter() {
                let sequence = &self.sequences[turn.key];
                let is_waiting = matches!(sequence.place, Place::Preempted | Place::Waiting);
                assert!(is_waiting && sequence.tenant == key, "law 8: in its place");
                assert_eq!(sequence.order(), turn.order(), "law 8: a turn of its own");
                num_own += u64::from(sequence.num_prompt());
            }
            assert_eq!(num_own, member.line.num_tokens(), "law 8: waiting tokens of a tenant");
            num_waiting += member.line.len();
            num_tokens += num_own;
        }
        let is_waiting = |place| matches!(place, Place::Preempted | Place::Waiting);
        let num_expected = self.sequences.iter().filter(|(_, s)| is_waiting(s.place)).count();
        assert_eq!(num_expected as u32, num_waiting, "law 8: everybody stands in a line");
        assert_eq!(num_waiting, self.roster.num_waiting(), "law 8: waiting");
        assert_eq!(num_tokens, self.roster.num_waiting_tokens(), "law 8: waiting tokens");
    }

    /// Each tenant's counts are what its sequences are; who has none left and is not listed is
    /// forgotten.
    pub(super) fn check_members(&self) {
        let mut num_backlogged = 0;
        for (key, member) in self.roster.iter() {
            let id = member.tenant.id;
            let own = || self.sequences.iter().filter(|(_, sequence)| sequence.tenant == key);
            let num_seats = own().filter(|(_, sequence)| sequence.seat.is_some()).count();
            let num_running = own().filter(|(_, s)| s.place == Place::Running).count();
            assert_eq!(member.num_sequences as usize, own().count(), "sequences of {id}");
            assert_eq!(member.num_seats as usize, num_seats, "seats of {id}");
            assert_eq!(member.num_running as usize, num_running, "running of {id}");
            let has_something = member.num_sequences > 0 || self.num_blocks_of(key) > 0;
            let is_known = has_something || self.roster.is_listed(id);
            assert!(is_known, "{id} is forgotten");
            let is_backlogged = self.roster.backlogged().contains(&key);
            assert_eq!(is_backlogged, member.line.len() > 0, "{id} is backlogged");
            assert!(is_backlogged || !member.is_held_back, "{id} is held back and wants nothing");
            assert!(!member.has_lane, "{id} has a say in no step");
            num_backlogged += usize::from(is_backlogged);
        }
        assert_eq!(num_backlogged, self.roster.backlogged().len(), "each is backlogged once");
    }

    /// Every deadline of every open request is watched, but for the queue's of those admitted.
    pub(super) fn check_deadlines(&self) {
        let mut num_expected = 0;
        for (_, sequence) in self.sequences.iter() {
            for (time, deadline) in deadlines::of(&sequence.request.terms) {
                let is_met = deadline == crate::Deadline::Queue && sequence.num_cached.is_some();
                let is_watched = sequence.place != Place::Closed && !is_met;
                let is_known = self.deadlines.knows(time, sequence.arrival, deadline);
                assert_eq!(is_known, is_watched, "law 14: deadlines of {:?}", sequence.id());
                num_expected += usize::from(is_watched);
            }
        }
        assert_eq!(self.deadlines.len(), num_expected, "law 14: deadlines of those gone");
    }
}
