//! Threads that work on one operation together.
//!
//! A model on a CPU is a few hundred short operations a token, so what counts is the time from "go"
//! to all being at work and from the last being done to the next "go". Members wait for work by
//! spinning for a moment, which covers the gaps within a step, then they sleep. An operation ends
//! when all its tasks are done; it doesn't wait for members that took none, so one that sleeps or
//! was preempted costs its help and nothing else.

use std::{
    cell::{Cell, UnsafeCell},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

/// What a member calls with a task's number and its own.
type Job<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// How long an idle member keeps its core before it starts to offer it to others.
const SPIN: Duration = Duration::from_micros(20);
/// How long an idle member stays awake.
const AWAKE: Duration = Duration::from_micros(200);
/// Most tasks of one operation.
const TASKS_MAX: usize = 1 << 20;

/// A value on a cache line of its own.
#[repr(align(128))]
struct Apart<T>(T);

/// What all members see.
struct Shared {
    /// `serial << 42 | tasks << 21 | next`: the current operation and its next task. One word, so
    /// that taking a task also tells which operation it is of.
    word: Apart<AtomicU64>,
    /// Tasks of the current operation that are done.
    done: Apart<AtomicUsize>,
    /// Members asleep or about to be.
    sleepers: Apart<AtomicUsize>,
    /// The current operation.
    job: UnsafeCell<Option<Job<'static>>>,
    panicked: AtomicBool,
    closing: AtomicBool,
}

// SAFETY: `job` is written only between operations, when every task is done and thus no member
// reads it (see `take`); everything else is atomic.
unsafe impl Sync for Shared {}

const FIELD: u32 = 21;
const FIELD_MASK: u64 = (1 << FIELD) - 1;

fn tasks_of(word: u64) -> u64 {
    (word >> FIELD) & FIELD_MASK
}

fn next_of(word: u64) -> u64 {
    word & FIELD_MASK
}

impl Shared {
    /// Whether a task is left to take.
    fn has_work(&self) -> bool {
        let word = self.word.0.load(Ordering::Relaxed);
        next_of(word) < tasks_of(word)
    }

    /// Takes a task. Until it is counted as done the operation cannot end, so its job stays in
    /// place.
    fn take(&self) -> Option<usize> {
        // The look before keeps `next` from growing while there is nothing to take: it exceeds
        // `tasks` by no more than the number of members.
        if !self.has_work() {
            return None;
        }
        let word = self.word.0.fetch_add(1, Ordering::Acquire);
        (next_of(word) < tasks_of(word)).then_some(next_of(word) as usize)
    }

    /// Does tasks until none is left to take.
    fn work(&self, member: usize) {
        while let Some(task) = self.take() {
            // SAFETY: the task is ours and not done, so `run` has not returned: the job it stored
            // is alive, and nobody writes it. Its store happened before the `Acquire` in `take`.
            let job = unsafe { *self.job.get() };
            let job = job.expect("an operation with tasks has a job");
            if catch_unwind(AssertUnwindSafe(|| job(task, member))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.done.0.fetch_add(1, Ordering::Release);
        }
    }

    /// The life of a member.
    fn serve(&self, member: usize) {
        while !self.closing.load(Ordering::Relaxed) {
            self.work(member);
            if !self.linger() {
                self.sleep();
            }
        }
    }

    /// Waits awake for a while; says whether there is work.
    fn linger(&self) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                if self.has_work() {
                    return true;
                }
                std::hint::spin_loop();
            }
            let waited = start.elapsed();
            if waited > AWAKE {
                return false;
            }
            if waited > SPIN {
                thread::yield_now();
            }
        }
    }

    /// Sleeps until there may be work.
    fn sleep(&self) {
        self.sleepers.0.fetch_add(1, Ordering::SeqCst);
        // Pairs with the fence in `wake`: either we see the work, or `wake` sees us.
        fence(Ordering::SeqCst);
        if !self.has_work() && !self.closing.load(Ordering::SeqCst) {
            thread::park();
        }
        self.sleepers.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A fixed number of threads, the calling one among them.
pub(crate) struct Team {
    shared: Arc<Shared>,
    members: Vec<JoinHandle<()>>,
    threads: Vec<Thread>,
    /// Not `Sync`, so that one thread posts operations, and no task posts another.
    one_caller: PhantomData<Cell<()>>,
}

impl Team {
    /// A team of `threads`, at least the caller.
    pub(crate) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            word: Apart(AtomicU64::new(0)),
            done: Apart(AtomicUsize::new(0)),
            sleepers: Apart(AtomicUsize::new(0)),
            job: UnsafeCell::new(None),
            panicked: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        });
        // A system that refuses a thread gets a smaller team; results don't depend on its size.
        let members: Vec<_> = (1..threads)
            .map_while(|member| {
                let shared = Arc::clone(&shared);
                let name = format!("engine-cpu-{member}");
                thread::Builder::new().name(name).spawn(move || shared.serve(member)).ok()
            })
            .collect();
        let threads = members.iter().map(|member| member.thread().clone()).collect();
        Self { shared, members, threads, one_caller: PhantomData }
    }

    /// Number of threads, the caller among them.
    pub(crate) fn threads(&self) -> usize {
        self.members.len() + 1
    }

    /// Calls `job(task, thread)` once for each task, on all threads; returns when all are done.
    ///
    /// # Panics
    /// If a task does, after all have ended.
    pub(crate) fn run(&self, tasks: usize, job: Job<'_>) {
        assert!(tasks < TASKS_MAX, "{tasks} tasks");
        if tasks <= 1 || self.members.is_empty() {
            (0..tasks).for_each(|task| job(task, 0));
            return;
        }
        self.post(tasks, job);
        self.wake();
        self.shared.work(0);
        self.finish(tasks);
        if self.shared.panicked.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("a task of the engine's team panicked"));
        }
    }

    /// Makes `job` the current operation.
    fn post(&self, tasks: usize, job: Job<'_>) {
        // SAFETY: only the lifetime changes. The job is called for tasks of this operation alone,
        // and `run` does not return, nor unwind (tasks' panics are caught), before all of them are
        // done.
        let job: Job<'static> = unsafe { std::mem::transmute(job) };
        let shared = &*self.shared;
        // SAFETY: the operation before is done, so no member holds a task and none reads the job. A
        // team is not `Sync`, so nobody else posts.
        unsafe { *shared.job.get() = Some(job) };
        shared.done.0.store(0, Ordering::Relaxed);
        let serial = (shared.word.0.load(Ordering::Relaxed) >> (2 * FIELD)).wrapping_add(1);
        let word = serial << (2 * FIELD) | (tasks as u64) << FIELD;
        shared.word.0.store(word, Ordering::Release);
    }

    /// Wakes members that sleep.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.shared.sleepers.0.load(Ordering::Relaxed) > 0 {
            self.threads.iter().for_each(Thread::unpark);
        }
    }

    /// Waits until all tasks are done.
    fn finish(&self, tasks: usize) {
        let mut spins = 0_u32;
        while self.shared.done.0.load(Ordering::Acquire) < tasks {
            spins += 1;
            // A member that is still at it this late may have lost its core to somebody: offer
            // ours.
            if spins.is_multiple_of(4096) {
                thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.threads.iter().for_each(Thread::unpark);
        for member in self.members.drain(..) {
            // A member catches its tasks' panics and has no other.
            let _ = member.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn every_task_is_done_once_by_the_time_run_returns() {
        for threads in [1, 2, 5] {
            let team = Team::new(threads);
            for tasks in (0..300).chain([4096]) {
                let done: Vec<_> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
                team.run(tasks, &|task, thread| {
                    assert!(thread < threads);
                    done[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_team_that_fell_asleep_still_works() {
        let team = Team::new(3);
        for _ in 0..5 {
            while team.shared.sleepers.0.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
            let sum = AtomicU32::new(0);
            team.run(100, &|task, _| {
                sum.fetch_add(task as u32, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 4950);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_after_the_others_have_ended() {
        let team = Team::new(2);
        let done = AtomicU32::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            team.run(50, &|task, _| {
                assert_ne!(task, 20, "a task that fails");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert!(caught.is_err());
        assert_eq!(done.load(Ordering::Relaxed), 49);
        team.run(3, &|_, _| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.load(Ordering::Relaxed), 52);
    }
}
