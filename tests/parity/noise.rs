//! Weights that nobody trained: the device makes what the host makes.

use engine::ModelFile;
use engine_backend::noise::Noise;
use engine_backend::{Backend, DType, Source, Tensor};
use engine_cuda::CudaBackend;
use serde_json::json;

use crate::dice::Dice;
use crate::ends::{Ends, between, near};
use crate::forced::Text;
use crate::naive::Rounding;
use crate::products::lone_rows;
use crate::{gpu, models, reference};

/// Every weight of a table, as bits.
fn bits(cuda: &mut CudaBackend, tensor: Tensor<'_>) -> Vec<u32> {
    let rows = tensor.rows;
    let mut step = cuda.step(rows, rows, rows, 1).expect("a working device");
    let layout = lone_rows((0..rows as u32).collect(), &mut Dice::new(0));
    cuda.stage(&layout, &mut step);
    let table = cuda.matrix(&[tensor]).expect("a working device");
    let mut out = cuda.poisoned(rows, tensor.cols);
    cuda.embed(&table, &step, 1.0, &mut out);
    cuda.values(&out).into_iter().map(f32::to_bits).collect()
}

fn same(cuda: &mut CudaBackend, noise: Noise, dtype: DType, (rows, cols): (usize, usize)) {
    let tensor = |source| Tensor { dtype, rows, cols, source };
    let made = tensor(Source::Noise(noise));
    let bytes = made.bytes(0..rows);
    let found = bits(cuda, made);
    assert!(found == bits(cuda, tensor(Source::Bytes(&bytes))), "{rows} x {cols} {dtype:?}");
    assert!(found.iter().any(|bits| *bits != found[0]), "{dtype:?} weights are all alike");
}

#[test]
fn weights_of_every_type_are_those_of_the_host() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(1);
    for dtype in DType::ALL {
        let step = dtype.block_elements().max(8);
        for _ in 0..3 {
            let across = between(1, 1 + 1200 / step, dice);
            let cols = step * across;
            let stride = (cols / dtype.block_elements() + dice.below(9)) as u64;
            let (key, first) = (dice.next(), dice.below(10_000) as u64);
            let noise = Noise { key, size: 0.03, first, stride };
            same(&mut cuda, noise, dtype, (between(1, 150, dice), cols));
        }
    }
}

#[test]
fn weights_that_are_made_in_several_pieces_are_those_of_the_host() {
    let Some(mut cuda) = gpu() else { return };
    // A piece is 64 MiB.
    for dtype in [DType::F32, DType::Q8_0] {
        let (rows, cols) = (4500, 1 << 12);
        let stride = (cols / dtype.block_elements()) as u64;
        let noise = Noise { key: 5, size: 0.03, first: 0, stride };
        let last = Tensor { dtype, rows: 20, cols, source: Source::Noise(noise.from_row(4480)) };
        let all = Tensor { dtype, rows, cols, source: Source::Noise(noise) };
        let all = bits(&mut cuda, all);
        assert!(all[4480 * cols..] == bits(&mut cuda, last), "{dtype:?}");
    }
}

#[test]
fn a_model_of_chance_has_the_logits_of_plain_loops() {
    let folder = tempfile::tempdir().expect("a folder for the config");
    let path = folder.path().join("config.json");
    let config = json!({
        "model_type": "qwen3",
        "vocab_size": 300,
        "max_position_embeddings": 128,
        "hidden_size": 512,
        "num_hidden_layers": 2,
        "intermediate_size": 768,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000,
        "hidden_act": "silu",
        "tie_word_embeddings": false,
    });
    std::fs::write(&path, config.to_string()).expect("room for the config");
    for element in ["BF16", "Q4_K"] {
        let Some(cuda) = gpu() else { return };
        let file = ModelFile::random(&path, element, 3).expect("a model");
        let text = || Text { tokens: (0..40).map(|token| token * 7).collect(), first: 30 };
        let found = models::one_by_one(&mut models::engine(cuda, &file), text());
        let plain = reference::plain(&file, text(), Rounding::Bf16);
        near(&found.concat(), &plain.concat(), 0.03, element);
    }
}
