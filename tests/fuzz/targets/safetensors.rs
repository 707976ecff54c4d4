//! Headers of safetensors files: any bytes give tensors or an error.

#![no_main]

use engine_model::parse_safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Ok(tensors) = parse_safetensors(file) else { return };
    for tensor in &tensors {
        assert!(tensor.bytes.end <= file.len(), "{tensor:?} of {}", file.len());
        let size = tensor.num_elements() * tensor.element.block_bytes;
        assert_eq!(size, tensor.bytes.len() as u64, "{tensor:?}");
    }
});
