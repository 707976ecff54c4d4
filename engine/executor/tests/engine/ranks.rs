//! Several ranks are one engine: the same tokens, refusals that name what cannot be shared, and a
//! rank's failure is everybody's.

use std::sync::Arc;

use engine::{BackendExecutor, Config, LoadError, ModelFile, RankedExecutor, Ranks};
use engine_backend::Rank;
use engine_contract::{
    BlockId, EngineError, Executor, Outcome, Row, RowTokens, Sampling, SeatId, SequenceId, StepId,
    StepPlan, Stop, TableChange, TokenId,
};
use engine_cpu::{ActivationType, CpuBackend};

use crate::blocks::{F32, Q4_K, Q8_0};
use crate::dice::Dice;
use crate::driver::{Cuts, Driver, Job};
use crate::peers::{self, Cpus};
use crate::tiny::{self, Elements, Family, VOCAB};

fn jobs(sampling: &Sampling) -> Vec<Job> {
    let mut dice = Dice::new(3);
    let mut job = |length: usize| Job {
        prompt: (0..length).map(|_| dice.below(VOCAB as usize) as u32).collect(),
        outputs: 12,
        sampling: sampling.clone(),
    };
    [1, 9, 30, 70].map(&mut job).to_vec()
}

const CUTS: Cuts = Cuts { depth: 2, chunk_max: 20, running_max: 4 };

fn drawn(executor: &mut dyn Executor, sampling: &Sampling) -> Vec<Vec<Outcome>> {
    Driver::run(executor, &jobs(sampling), CUTS, 7, 0)
}

/// Whether so many ranks can share a model: of four heads of queries and two of keys and values,
/// six experts, and a width of 512.
fn can_be_shared(family: Family, of: usize) -> bool {
    of != 4 || !family.has_experts()
}

/// Sums are in another order, which moves last digits, and here no token.
#[test]
fn ranks_draw_what_one_does() {
    for family in Family::ALL {
        let (_folder, path) = tiny::saved(&tiny::of(family, Elements::all(F32), 11));
        let file = ModelFile::open(&path).expect("a whole model");
        let config = Config::default();
        let mut alone = BackendExecutor::new(CpuBackend::new(2), &file, &config).unwrap();
        let alone = drawn(&mut alone, &Sampling::GREEDY);
        for of in [1, 2, 4].into_iter().filter(|of| can_be_shared(family, *of)) {
            let mut executor = peers::executor(of, &file, &config).unwrap();
            assert_eq!(drawn(&mut executor, &Sampling::GREEDY), alone, "{family:?} by {of}");
        }
    }
}

/// The order of sums over ranks is no matter of the batch. All ranks draw alike, or they would go
/// on with different tokens.
#[test]
fn draws_of_ranks_do_not_depend_on_the_batch() {
    let sampling = Sampling { seed: 5, ..Sampling::PLAIN };
    for family in [Family::Qwen2Moe, Family::Gemma3] {
        let (_folder, path) = tiny::saved(&tiny::of(family, Elements::all(F32), 11));
        let file = ModelFile::open(&path).expect("a whole model");
        let mut executor = peers::executor(2, &file, &Config::default()).unwrap();
        let together = drawn(&mut executor, &sampling);
        let alone = Cuts { depth: 1, chunk_max: 200, running_max: 1 };
        let alone = Driver::run(&mut executor, &jobs(&sampling), alone, 1, 1 << 20);
        assert_eq!(together, alone, "{family:?}");
    }
}

/// One rank is no other engine than none: bit for bit.
#[test]
fn a_rank_that_is_alone_changes_nothing() {
    let (_folder, path) = tiny::saved(&tiny::of(Family::Qwen3Moe, Elements::all(Q8_0), 11));
    let file = ModelFile::open(&path).expect("a whole model");
    let mut alone =
        BackendExecutor::new(CpuBackend::new(1), &file, &Config::default()).expect("a model");
    let mut ranked = peers::executor(1, &file, &Config::default()).expect("a model");
    assert_eq!(ranked.info(), alone.info());
    let (one, other) = (step(&mut alone, 0), step(&mut ranked, 0));
    one.expect("a working engine");
    other.expect("a working engine");
    assert_eq!(ranked.logits().values(), alone.logits().values());
}

/// Blocks of 32 inputs are shared whole.
#[test]
fn quantised_rows_are_cut_between_blocks() {
    let (_folder, path) = tiny::saved(&tiny::tiny(Elements::all(Q8_0), 11));
    let file = ModelFile::open(&path).expect("a whole model");
    let config = Config { activation_type: ActivationType::Int16, ..Config::default() };
    let backend = CpuBackend::new(2).with_activations(config.activation_type);
    let mut alone = BackendExecutor::new(backend, &file, &config).unwrap();
    let alone = drawn(&mut alone, &Sampling::GREEDY);
    for of in [2, 4] {
        let mut executor = peers::executor(of, &file, &config).unwrap();
        assert_eq!(drawn(&mut executor, &Sampling::GREEDY), alone, "by {of}");
    }
}

#[test]
fn each_rank_has_its_share_of_the_cache() {
    let (_folder, path) = tiny::saved(&tiny::tiny(Elements::all(F32), 11));
    let file = ModelFile::open(&path).expect("a whole model");
    let config = Config { kv_bytes_max: 1 << 18, ..Config::default() };
    let info = |of| *peers::executor(of, &file, &config).unwrap().info();
    let (one, two, four) = (info(1), info(2), info(4));
    assert_eq!(two.num_blocks, 2 * one.num_blocks, "half the heads, twice the blocks");
    assert_eq!(two.kv_bytes, 2 * one.kv_bytes);
    // Two heads for four ranks: each is kept twice.
    assert_eq!((four.num_blocks, four.kv_bytes), (two.num_blocks, 2 * two.kv_bytes));
}

#[test]
fn what_cannot_be_shared_is_named() {
    let said = |family, code, of| {
        let (_folder, path) = tiny::saved(&tiny::of(family, Elements::all(code), 11));
        let file = ModelFile::open(&path).expect("a whole model");
        peers::executor(of, &file, &Config::default()).err().expect("cannot be").to_string()
    };
    assert_eq!(
        said(Family::Llama, F32, 3),
        "the model cannot be shared by 3 devices: metadata `llama.attention.head_count` is 4, \
         expected a multiple of 3, to be cut into as many parts"
    );
    assert_eq!(
        said(Family::Qwen3Moe, F32, 4),
        "the model cannot be shared by 4 devices: metadata `qwen3moe.expert_count` is 6, expected \
         a multiple of 4, to be cut into as many parts"
    );
    assert_eq!(
        said(Family::Llama, Q4_K, 2),
        "the model cannot be shared by 2 devices: tensor `blk.0.attn_output.weight` has rows of 256 \
         elements of type Q4_K, which cannot be cut into 2 parts of whole blocks of 256"
    );
}

/// CPUs, the second of which does not come up, or not for long.
#[derive(Clone)]
struct Flawed {
    cpus: Cpus,
    flaw: Flaw,
}

#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    /// It cannot be opened.
    Closed,
    /// It panics while it joins the others.
    Lost,
    /// It joins others than it should.
    Astray,
}

impl Ranks for Flawed {
    type Backend = CpuBackend;

    fn open(&self, rank: Rank) -> Result<CpuBackend, LoadError> {
        if self.flaw == Flaw::Closed && rank.index() == 1 {
            return Err(LoadError::Gpus { found: 2, there: 1 });
        }
        self.cpus.open(rank)
    }

    fn join(&self, backend: CpuBackend, rank: Rank) -> Result<CpuBackend, LoadError> {
        match self.flaw {
            Flaw::Lost if rank.index() == 1 => panic!("a rank that is to be lost"),
            Flaw::Astray if rank.index() == 1 => Cpus::new(2, ActivationType::Int8).open(rank),
            Flaw::Astray | Flaw::Closed | Flaw::Lost => self.cpus.join(backend, rank),
        }
    }
}

fn flawed(flaw: Flaw) -> Result<RankedExecutor<CpuBackend>, LoadError> {
    let (_folder, path) = tiny::saved(&tiny::tiny(Elements::all(F32), 11));
    let file = ModelFile::open(&path).expect("a whole model");
    let ranks = Flawed { cpus: Cpus::new(2, ActivationType::Int8), flaw };
    RankedExecutor::new(&ranks, 2, &file, &Config::default())
}

#[test]
fn a_rank_that_does_not_come_up_is_named() {
    let said = |flaw| flawed(flaw).err().expect("a rank is missing").to_string();
    assert_eq!(
        said(Flaw::Closed),
        "rank 1 of 2: gpus is 2, expected at most 1, which this machine has, or 0 for all"
    );
    let lost = "rank 1 of 2: the thread of a rank panicked while the engine was built";
    assert_eq!(said(Flaw::Lost), lost);
}

/// What is sent to a rank that is gone comes back as an error, step after step; nobody waits for
/// ever.
#[test]
fn a_rank_that_is_gone_fails_every_step() {
    let mut executor = flawed(Flaw::Astray).expect("both ranks are built");
    for id in 0..2 {
        let error = step(&mut executor, id).expect_err("nobody answers the first rank");
        assert_eq!(error.to_string(), "device error: rank 1 is gone");
    }
}

/// A plan that breaks the contract is a bug of whoever made it: the caller's panic, and nobody is
/// left behind.
#[test]
fn a_panic_of_all_ranks_is_the_caller_s() {
    let (_folder, path) = tiny::saved(&tiny::tiny(Elements::all(F32), 11));
    let file = ModelFile::open(&path).expect("a whole model");
    let mut executor = peers::executor(2, &file, &Config::default()).unwrap();
    let row = row(BlockId(executor.info().num_blocks));
    let plan = StepPlan { step: StepId(0), rows: vec![row], stop: Stop::Empty };
    let launched =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| executor.launch(plan).map(drop)));
    assert!(launched.is_err(), "a block that is not in the pool");
    let error = step(&mut executor, 1).expect_err("the other rank's thread has ended");
    assert_eq!(error, EngineError::Panicked("a rank had failed before".to_owned()));
}

/// A step of one sequence.
fn step(executor: &mut dyn Executor, id: u64) -> Result<(), EngineError> {
    let plan = StepPlan { step: StepId(id), rows: vec![row(BlockId(0))], stop: Stop::Empty };
    executor.launch(plan)?.wait().map(drop)
}

fn row(block: BlockId) -> Row {
    let text: Arc<[_]> = [1, 2, 3].map(TokenId).into();
    Row {
        sequence: SequenceId(0),
        seat: SeatId(0),
        start: 0,
        tokens: RowTokens::Host(text, 0..3),
        num_prompt: 3,
        table: TableChange::Fresh(vec![block]),
        sample: Some(Arc::new(Sampling::GREEDY)),
    }
}
