//! Which instructions to use, found out at run time.

use std::fmt;

#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};
use super::{lanes::Kernel, portable::Portable};

/// A set of instructions that the operations are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 with VNNI.
    Avx512Vnni,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// Whatever the compiler makes of plain Rust.
    Portable,
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

/// An [`Isa`] that this machine is known to have.
#[derive(Clone, Copy)]
pub(crate) enum Chosen {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable(Portable),
}

/// Proof that the machine has `isa`, if it has.
pub(crate) fn choose(isa: Isa) -> Option<Chosen> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => Avx512::detect().map(Chosen::Avx512Vnni),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Avx2::detect().map(Chosen::Avx2),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512Vnni | Isa::Avx2 => None,
        Isa::Portable => Some(Chosen::Portable(Portable)),
    }
}

/// Runs a kernel, compiled for the chosen instructions.
pub(crate) fn run<K: Kernel>(chosen: Chosen, kernel: K) -> K::Output {
    match chosen {
        #[cfg(target_arch = "x86_64")]
        Chosen::Avx512Vnni(isa) => isa.run(kernel),
        #[cfg(target_arch = "x86_64")]
        Chosen::Avx2(isa) => isa.run(kernel),
        Chosen::Portable(isa) => kernel.call(isa),
    }
}
