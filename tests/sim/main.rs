//! The scheduler in a simulated world, under thousands of seeds.
//!
//! `ANTIPHON_SIM_SEED=17` replays one seed and prints its trace; `ANTIPHON_SIM_SEEDS=100000` runs more.
//! Start reading at [`world::World`]; the laws are in [`books`] and [`engine`].

mod books;
mod engine;
mod rng;
mod script;
mod world;

use std::ops::Range;

use world::World;

/// More events than any seed takes that ends at all.
const EVENTS_MAX: u32 = 100_000;

#[test]
fn whatever_happens_every_request_ends_once_and_every_block_comes_home() {
    let only = from_environment("ANTIPHON_SIM_SEED");
    let count = from_environment("ANTIPHON_SIM_SEEDS").unwrap_or(2_000);
    let mut num_preemptions = 0;
    for seed in only.map_or(0..count, |seed| seed..seed + 1) {
        num_preemptions += run(seed, only.is_some()).books.num_preemptions();
    }
    assert!(only.is_some() || count < 100 || num_preemptions > 0, "the worlds are too roomy");
}

#[test]
fn the_trace_of_a_seed_is_the_same_every_time() {
    for seed in seeds_for_traces() {
        assert_eq!(run(seed, false).trace, run(seed, false).trace, "law 9: seed {seed}");
    }
}

/// Runs one world to its end, and says how to see it again should it fail.
fn run(seed: u64, print: bool) -> World {
    let mut world = Replay { seed, print, world: World::new(seed) };
    world.world.run(EVENTS_MAX);
    std::mem::replace(&mut world.world, World::new(0))
}

/// Prints how to replay a seed if it is dropped in a panic.
struct Replay {
    seed: u64,
    print: bool,
    world: World,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if self.print {
            println!("{}", self.world.trace);
        }
        if std::thread::panicking() {
            let command = "cargo test --release -p tests --test sim";
            eprintln!("replay with: ANTIPHON_SIM_SEED={} {command}", self.seed);
        }
    }
}

fn seeds_for_traces() -> Range<u64> {
    0..50
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}
