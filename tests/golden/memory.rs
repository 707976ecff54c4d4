//! What a model is said to need, and what loading it takes: every architecture in every format.

use std::path::PathBuf;

use engine_backend::Rank;
use engine_model::{Blueprint, Checkpoint, Decoder};

use crate::naive::{Naive, Rounding};

const ROWS: usize = 3;
const TOKENS: usize = 7;

#[test]
fn loading_takes_what_was_said_before() {
    for family in crate::families::NAMES {
        for format in ["", ".gguf"] {
            let name = format!("families/{family}{format}");
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(&name);
            let checkpoint = Checkpoint::open(&path).unwrap();
            for rank in [Rank::ALONE, Rank::new(0, 2), Rank::new(1, 2)] {
                let blueprint = Blueprint::read(&checkpoint).unwrap().for_rank(rank).unwrap();
                let mut naive = Naive::new(Rounding::None);
                naive.rank = rank;
                let weights = blueprint.weight_bytes(&naive, None);
                let workspace = Decoder::<Naive>::workspace_bytes(&blueprint, ROWS, TOKENS);
                Decoder::load(&mut naive, &blueprint, ROWS, TOKENS).unwrap();
                assert_eq!(naive.asked, (workspace / 4, weights), "{name}, {rank:?}");
            }
        }
    }
}
