//! Small models as a whole.

use engine::{BackendExecutor, Config, KvType, ModelFile};
use engine_contract::{Outcome, Sampling, TokenId};
use engine_cuda::{CudaBackend, Format, WeightType};
use engine_model::{Blueprint, Checkpoint};

use crate::continuation::{self, Case};
use crate::driver::{Cuts, Driver, Job};
use crate::forced::Text;
use crate::gpu;
use crate::naive::Rounding;
use crate::reference;

const TRAINED: &str = "qwen3_moe_tiny/model-q4_k_m.gguf";
/// Sequences that share steps.
const TOGETHER: usize = 256;
const ALONE: Cuts = Cuts { depth: 1, chunk_max: usize::MAX, running_max: 1 };

pub(crate) fn engine(backend: CudaBackend, file: &ModelFile) -> BackendExecutor<CudaBackend> {
    let config = Config {
        kv_type: KvType::F16,
        rows_max: TOGETHER as u32,
        step_tokens_max: 1024,
        ..Config::default()
    };
    BackendExecutor::new(backend, file, &config).expect("a model that can run")
}

/// Greedy continuations of the references' texts, 64 tokens each. What bf16 costs is an expert now
/// and then, and then a text goes on differently; many must not.
#[test]
fn a_trained_mixture_goes_on_as_its_reference() {
    let Some(cuda) = gpu() else { return };
    let mut engine = engine(cuda, &reference::open(TRAINED));
    let cases = continuation::cases(include_str!("../golden/qwen3_moe_tiny/golden.json"));
    let jobs: Vec<_> = cases.iter().map(Case::job).collect();
    let cuts = Cuts { depth: 2, chunk_max: 64, running_max: jobs.len() };
    let drawn = Driver::run(&mut engine, &jobs, cuts, 1, 0);
    let token = |&id: &u32| Outcome::Token(TokenId(id));
    let pairs = cases.iter().zip(&drawn);
    let right = pairs
        .filter(|(case, drawn)| case.greedy.iter().map(token).eq(drawn.iter().copied()))
        .count();
    assert!(right >= 4, "{right} of {} go on as the reference", cases.len());
}

const FAMILIES: [&str; 9] = [
    "llama3",
    "llama_yarn",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "qwen2_moe",
    "mixtral",
    "gemma3",
];

/// Every family's logits after each token of its text, drawn one by one.
#[test]
fn families_are_near_their_references() {
    let cases = reference::cases(include_str!("../golden/families.json"));
    for (case, name) in cases.iter().zip(FAMILIES) {
        assert_eq!(case.name, name);
        for path in [format!("families/{name}"), format!("families/{name}.gguf")] {
            let Some(cuda) = gpu() else { return };
            let mut engine = engine(cuda, &reference::open(&path));
            let found = one_by_one(&mut engine, case.text());
            let error = case.error(&found);
            assert!(error.mean < 0.03 && error.largest < 0.15, "{path}: {error:?}");
        }
    }
}

/// The same with weights in eight bits, each off by a part of 32 at most: a tenth of the logits'
/// size on the way through these layers, more where positions choose other experts for it. What is
/// wrong is off by all of it; that products are those of the rounded weights is tested by itself.
#[test]
fn families_in_eight_bits_are_not_far_from_their_references() {
    let cases = reference::cases(include_str!("../golden/families.json"));
    for (case, name) in cases.iter().zip(FAMILIES) {
        let Some(cuda) = gpu() else { return };
        let cuda = cuda.with_weights(WeightType::Fp8);
        let mut engine = engine(cuda, &reference::open(&format!("families/{name}")));
        let plain = engine.backend().weights().find(|(format, _)| *format == Format::Bf16);
        assert_eq!(plain.map_or(0, |(_, bytes)| bytes), exact_bytes(name), "{name}: bytes of bf16");
        let error = case.error(&one_by_one(&mut engine, case.text()));
        println!("{name} in eight bits: {error:?}");
        assert!(error.mean < 0.4 && error.largest < 3.0, "{name}: {error:?}");
    }
}

/// Bytes of the weights that must not be rounded, in bf16: routers, and an embedding of its own.
fn exact_bytes(family: &str) -> usize {
    let checkpoint = Checkpoint::open(&reference::path(&format!("families/{family}")));
    let checkpoint = checkpoint.expect("a whole model");
    let blueprint = Blueprint::read(&checkpoint).expect("a whole model");
    let spec = blueprint.spec();
    let bytes = |outputs| Format::Bf16.bytes(outputs, spec.width);
    let router = spec.mixture.map_or(0, |mixture| {
        bytes(mixture.router.experts) + mixture.shared.map_or(0, |_| bytes(1))
    });
    let embedding = if blueprint.ties_output() { 0 } else { bytes(spec.vocab) };
    spec.layers.len() * router + embedding
}

/// Logits along the reference's own continuations, against plain loops that round in the same
/// places, but for scales of codes, which the device keeps in bf16.
#[test]
fn a_trained_mixture_s_logits_are_those_of_plain_loops() {
    let Some(cuda) = gpu() else { return };
    let file = reference::open(TRAINED);
    let mut engine = engine(cuda, &file);
    let cases = continuation::cases(include_str!("../golden/qwen3_moe_tiny/golden.json"));
    let mut errors = Vec::new();
    for case in &cases {
        let text = || case.text(case.greedy.len());
        let found = one_by_one(&mut engine, text());
        let plain = reference::plain(&file, text(), Rounding::Bf16);
        assert_eq!(found.len(), plain.len());
        let off = |(found, plain): (&Vec<f32>, &Vec<f32>)| {
            let pairs = found.iter().zip(plain);
            pairs.map(|(found, plain)| (found - plain).abs()).fold(0.0, f32::max)
        };
        errors.extend(found.iter().zip(&plain).map(off));
    }
    // Plain loops whose weights are off by a ten-thousandth are as far from these: now and then two
    // experts are equally good, and then a logit is off by several.
    errors.sort_by(f32::total_cmp);
    let part = |share: f64| errors[((errors.len() - 1) as f64 * share) as usize];
    let [half, most, all] = [0.5, 0.95, 1.0].map(part);
    println!("largest errors of positions: {half}, {most}, {all}");
    assert!(half < 0.3 && most < 0.8, "largest errors of positions: {half}, {most}, {all}");
}

pub(crate) fn one_by_one(engine: &mut BackendExecutor<CudaBackend>, text: Text) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    crate::forced::each(engine, &[text], |_, logits| {
        all.push(logits.values().expect("a working engine"));
    });
    all
}

/// A sequence's tokens are its own, whoever shares its steps, however its prompt is cut.
#[test]
fn tokens_do_not_depend_on_the_batch() {
    let Some(cuda) = gpu() else { return };
    let mut engine = engine(cuda, &reference::open(TRAINED));
    let cases = continuation::cases(include_str!("../golden/qwen3_moe_tiny/golden.json"));
    let mut jobs: Vec<_> = cases.iter().map(Case::job).collect();
    for nth in jobs.len()..TOGETHER {
        let case = &cases[nth % cases.len()];
        let text = [&case.prompt[..], &case.greedy].concat();
        let first = nth / 6 % 10;
        let prompt = text[first..][..1 + nth / 2 % (text.len() - first)].to_vec();
        let sampling = match nth % 3 {
            0 => Sampling {
                top_k: 50,
                top_p: 0.95,
                min_p: 0.01,
                seed: nth as u64,
                frequency_penalty: nth as f32 / 100.0,
                logprobs: nth.is_multiple_of(2).then_some(4),
                ..Sampling::PLAIN
            },
            1 => Sampling { repetition_penalty: 1.1, presence_penalty: 0.5, ..Sampling::GREEDY },
            _ => Sampling::GREEDY,
        };
        jobs.push(Job { prompt, outputs: 20 + nth % 64, sampling });
    }
    let alone = Driver::run(&mut engine, &jobs, ALONE, 0, 0);
    assert!(alone.iter().flatten().all(|outcome| *outcome != Outcome::NotFinite));
    let cuts = [
        Cuts { depth: 2, chunk_max: 512, running_max: TOGETHER },
        Cuts { depth: 2, chunk_max: 5, running_max: 32 },
        Cuts { depth: 3, chunk_max: 33, running_max: 7 },
    ];
    for (nth, cuts) in (1..).zip(cuts) {
        let together = Driver::run(&mut engine, &jobs, cuts, nth, nth * 1_000_000);
        assert!(together == alone, "batching {nth} changes tokens");
    }
}
