//! The scheduler in a simulated world, under thousands of seeds.
//!
//! `ANTIPHON_SIM_SEED=17` replays one seed and prints its trace; `ANTIPHON_SIM_SEEDS=100000` runs
//! more. Start reading at [`world::World`]. The laws are asserted where they can be seen: by
//! [`engine`] on every row, by [`books`] on what goes in and out, by [`audit`] on plans, counts and
//! outputs.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "how to replay a failing seed")]

mod audit;
mod books;
mod client;
mod engine;
mod fairness;
mod flood;
mod latency;
mod rng;
mod round;
mod script;
mod tenants;
mod view;
mod world;

use world::World;

/// More events than any seed takes that ends at all.
const EVENTS_MAX: u32 = 100_000;

#[test]
fn whatever_happens_every_request_ends_once_and_every_block_comes_home() {
    let only = from_environment("ANTIPHON_SIM_SEED");
    let count = from_environment("ANTIPHON_SIM_SEEDS").unwrap_or(2_000);
    let mut seen = Seen::default();
    for seed in only.map_or(0..count, |seed| seed..seed + 1) {
        seen.count(&run(seed, only.is_some()));
    }
    println!("{seen:?}");
    assert!(only.is_some() || count < 1_000 || seen.is_everything(), "too calm: {seen:?}");
}

#[test]
fn the_trace_of_a_seed_is_the_same_every_time() {
    for seed in 0..50 {
        assert_eq!(run(seed, false).trace, run(seed, false).trace, "law 9: seed {seed}");
    }
}

/// How often the worlds came to what they are there for. A world in which nothing happens proves
/// nothing.
#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    refused: u64,
    finished: u64,
    cancelled: u64,
    expired: u64,
    failed: u64,
    steps: u64,
    preemptions: u64,
    prefix_hits: u64,
    reloads: u64,
    /// Plans that running streams cut short.
    protected: u64,
    /// Plans after which a tenant was held back.
    held_back: u64,
    /// Plans after which tenants with a difference in service waited for their turns.
    contended: u64,
}

impl Seen {
    fn count(&mut self, world: &World) {
        let snapshot = world.snapshot();
        self.requests += snapshot.submitted_total;
        self.refused += snapshot.rejected_total;
        self.finished += snapshot.finished_total;
        self.cancelled += snapshot.cancelled_total;
        self.expired += snapshot.expired_total;
        self.failed += snapshot.failed_total;
        self.steps += snapshot.steps_total;
        self.preemptions += snapshot.preemptions_total;
        self.prefix_hits += snapshot.prefix_hit_total;
        self.reloads += world.num_reloads();
        self.protected += world.num_protected;
        self.held_back += world.num_held_back;
        self.contended += world.num_contended;
    }

    fn is_everything(&self) -> bool {
        let often = [self.refused, self.cancelled, self.failed, self.preemptions, self.prefix_hits];
        let of_tenants = [self.expired, self.reloads, self.held_back, self.contended];
        let mut rare = often.into_iter().chain(of_tenants).chain([self.protected]);
        self.finished > 5_000 && rare.all(|count| count > 300)
    }
}

/// Runs one world to its end, and says how to see it again should it fail.
fn run(seed: u64, echo: bool) -> World {
    let _replay = Replay(seed);
    let mut world = World::new(seed, echo);
    world.run(EVENTS_MAX);
    world
}

/// Says how to replay a seed if it is dropped in a panic.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let command = "cargo test --release -p tests --test sim";
            eprintln!("replay with: ANTIPHON_SIM_SEED={} {command}", self.0);
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}
