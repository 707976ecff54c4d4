//! GGUF headers, and models in them: any bytes give a header or an error.

#![no_main]

use engine_model::{Architecture, Facts, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Ok(header) = Header::parse(file) else { return };
    for tensor in &header.tensors {
        assert!(tensor.bytes.end <= file.len(), "{tensor:?} of {}", file.len());
    }
    let facts = Facts::Gguf(header.metadata);
    if let Ok(architecture) = Architecture::find(&facts) {
        let _ = architecture.read_spec(&facts);
    }
});
