//! What `load` builds, and what it refuses.

use std::error::Error as _;

use engine::{Config, Device, ModelFile, WeightType};
use engine_cuda::CudaBackend;

use crate::blocks::F16;
use crate::tiny::{self, CONTEXT, Elements, VOCAB};

fn refusal(config: &Config) -> String {
    let (_folder, path) = tiny::saved(&tiny::tiny(Elements::all(F16), 1));
    let file = ModelFile::open(&path).expect("a whole model");
    let refused = engine::load(&file, config).err().expect("a refusal");
    // Whoever adds the causes of an error must not say the same twice.
    let causes = std::iter::successors(refused.source(), |cause| (*cause).source());
    let told = refused.to_string();
    causes.for_each(|cause| assert!(!told.contains(&cause.to_string()), "{told}: {cause}"));
    told
}

#[test]
fn an_engine_tells_its_sizes() {
    let (_folder, path) = tiny::saved(&tiny::tiny(Elements::all(F16), 1));
    let file = ModelFile::open(&path).unwrap();
    let config = Config { rows_max: 4, threads: 1, ..Config::default() };
    let config = Config { device: Device::Cpu, ..config };
    let engine::Loaded { executor, device, weights, no_gpu, opening: _ } =
        engine::load(&file, &config).unwrap();
    assert!(device.starts_with("CPU, ") && device.ends_with(", threads: 1"), "{device}");
    assert_eq!((no_gpu, &*weights), (None, "as in the file"));
    let info = executor.info();
    assert_eq!((info.vocab, info.context), (VOCAB, CONTEXT));
    assert_eq!((info.rows_max, info.step_tokens_max, info.block_size), (4, 512, 16));
    assert_eq!(info.num_blocks, 4 * CONTEXT / 16);
    assert!(info.kv_bytes > 0 && info.kv_bytes <= 1 << 30);
    let held: u64 = file.summary().weight_bytes();
    assert_eq!(info.weight_bytes, held);
}

#[test]
fn devices_that_are_not_there_are_refused_in_words() {
    if let Err(absent) = CudaBackend::new() {
        assert_eq!(
            refusal(&Config { device: Device::Cuda, ..Config::default() }),
            format!("device `cuda` cannot be used: {absent}; use `cpu` or `auto`")
        );
    }
    if let Err(absent) = CudaBackend::new() {
        assert_eq!(
            refusal(&Config { weight_type: WeightType::Fp8, ..Config::default() }),
            format!("weight_type is fp8, which needs a GPU: {absent}; use `auto`")
        );
    }
    let costs = Some("nowhere.toml".into());
    let refused = refusal(&Config { device: Device::Sim, costs, ..Config::default() });
    assert!(refused.starts_with("costs nowhere.toml: "), "{refused}");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    assert_eq!(
        refusal(&Config { block_size: 0, ..Config::default() }),
        "block_size is 0, expected 1 to 1024"
    );
    let refused = refusal(&Config { kv_bytes_max: 1000, ..Config::default() });
    assert!(refused.starts_with("kv_bytes_max is 1000, expected at least "), "{refused}");
}

#[test]
fn a_model_that_cannot_run_opens_says_why_and_does_not_load() {
    let mut model = tiny::tiny(Elements::all(F16), 1);
    model.tensors[0].code = 9;
    let rows = u64::from(VOCAB);
    model.tensors[0].data = vec![0; (rows * 256 / 32 * 36) as usize];
    let (_folder, path) = tiny::saved(&model);
    let file = ModelFile::open(&path).unwrap();
    let reason = file.check().unwrap_err().to_string();
    assert!(reason.starts_with("tensor `token_embd.weight` has elements of type Q8_1"), "{reason}");
    assert_eq!(engine::load(&file, &Config::default()).err().unwrap().to_string(), reason);
    assert!(file.summary().to_string().contains(&reason));
}
