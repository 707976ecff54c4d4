//! A `config.json`, and the model that it describes: any text gives a spec or an error.

#![no_main]

use engine_model::{Architecture, Config, Facts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(config) = Config::parse("config.json", text) else { return };
    let facts = Facts::HuggingFace(config);
    let Ok(architecture) = Architecture::find(&facts) else { return };
    let Ok(spec) = architecture.read_spec(&facts) else { return };
    assert_eq!(spec.attention.heads.queries % spec.attention.heads.keys_values, 0);
    assert!(spec.layers.iter().all(|layer| layer.rope < spec.attention.ropes.len()));
    // Lists of wanted tensors are long; short ones are enough to find what is wrong with them.
    let experts = spec.mixture.map_or(1, |mixture| mixture.router.experts);
    if spec.layers.len() * experts < 1 << 10 {
        let _ = architecture.wanted(&facts);
    }
});
