//! Finding and opening a GPU.
#![expect(unsafe_code, reason = "asks whether the driver's library is there")]

use std::fmt;
use std::sync::Arc;

use cudarc::driver::CudaContext;
use cudarc::driver::sys::{CUdevice_attribute as Attribute, cuDriverGetVersion, is_culib_present};

use crate::absence::{CAPABILITY_MIN, OpenError};
use crate::module;

/// What is known of a GPU.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// What it calls itself.
    pub name: String,
    /// Major and minor number.
    pub capability: (i32, i32),
    /// Streaming multiprocessors.
    pub multiprocessors: usize,
    /// Bytes of shared memory that a block may have.
    pub shared_bytes: usize,
    /// Bytes of memory.
    pub memory_bytes: usize,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = self.memory_bytes as f64 / 1e9;
        write!(f, "{}, {} multiprocessors, {gigabytes:.1} GB", self.name, self.multiprocessors)
    }
}

/// How many GPUs the driver sees, at least one.
///
/// # Errors
/// The build has no kernels, or there is no driver or no GPU.
pub fn count() -> Result<usize, OpenError> {
    if !module::any() {
        return Err(OpenError::NoKernels);
    }
    // SAFETY: only looks for the library, and loads it if it is there.
    if !unsafe { is_culib_present() } {
        return Err(OpenError::NoDriver);
    }
    check_driver(driver()?, module::toolkit())?;
    match usize::try_from(CudaContext::device_count()?) {
        Ok(0) | Err(_) => Err(OpenError::NoDevice),
        Ok(count) => Ok(count),
    }
}

/// The GPU of this number, current on this thread.
pub(crate) fn open(number: usize) -> Result<(Arc<CudaContext>, DeviceInfo), OpenError> {
    if number >= count()? {
        return Err(OpenError::NoDevice);
    }
    let context = CudaContext::new(number)?;
    // SAFETY: memory is never shared between streams here: all work is on one.
    unsafe { context.disable_event_tracking() };
    let info = info(&context)?;
    check_capability(&info.name, info.capability, module::archs())?;
    Ok((context, info))
}

/// The newest release of CUDA that the driver knows.
fn driver() -> Result<(i32, i32), OpenError> {
    let mut version = 0;
    // SAFETY: writes a number.
    unsafe { cuDriverGetVersion(&raw mut version) }.result()?;
    Ok((version / 1000, version % 1000 / 10))
}

/// A driver runs what was compiled with any release of its own major number, or of one before.
fn check_driver(found: (i32, i32), toolkit: (i32, i32)) -> Result<(), OpenError> {
    if found.0 < toolkit.0 {
        return Err(OpenError::DriverTooOld { found, needed: toolkit.0 });
    }
    Ok(())
}

fn check_capability(name: &str, found: (i32, i32), archs: &'static str) -> Result<(), OpenError> {
    let name = name.to_owned();
    if found < CAPABILITY_MIN {
        return Err(OpenError::Capability { name, found });
    }
    if !archs.split(',').any(|arch| runs(arch.trim(), found)) {
        return Err(OpenError::NotInBuild { name, found, archs });
    }
    Ok(())
}

/// Whether a GPU runs kernels for an architecture: one of the same major number and a minor number
/// that is no larger; with an `a` behind, they must be equal.
fn runs(arch: &str, (major, minor): (i32, i32)) -> bool {
    let digits = arch.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let Ok(number) = digits.parse::<i32>() else { return false };
    let least = number % 10;
    number / 10 == major && if arch.ends_with('a') { least == minor } else { least <= minor }
}

fn info(context: &CudaContext) -> Result<DeviceInfo, OpenError> {
    let attribute = |which| -> Result<usize, OpenError> {
        Ok(usize::try_from(context.attribute(which)?).unwrap_or(0))
    };
    Ok(DeviceInfo {
        name: context.name()?,
        capability: context.compute_capability()?,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        memory_bytes: context.total_mem()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_is_older_than_the_kernels_is_told_what_it_lacks() {
        assert!(check_driver((13, 0), (13, 0)).is_ok());
        assert!(check_driver((13, 0), (13, 2)).is_ok(), "of the same major number");
        assert!(check_driver((14, 1), (13, 2)).is_ok());
        assert_eq!(
            check_driver((12, 8), (13, 0)).unwrap_err().to_string(),
            "the NVIDIA driver is too old: it knows CUDA up to 12.8, expected at least 13.0; \
             install a newer driver"
        );
    }

    #[test]
    fn kernels_run_on_gpus_of_their_generation() {
        for (arch, found, expected) in [
            ("80", (8, 0), true),
            ("80", (8, 6), true),
            ("89", (8, 6), false),
            ("89", (8, 9), true),
            ("80", (9, 0), false),
            ("90a", (9, 0), true),
            ("90a", (9, 1), false),
            ("100f", (10, 3), true),
            ("120", (12, 0), true),
            ("", (8, 0), false),
        ] {
            assert_eq!(runs(arch, found), expected, "{arch} on {found:?}");
        }
    }

    #[test]
    fn a_gpu_without_kernels_is_told_why() {
        let refused = |found| check_capability("A GPU", found, "80,89, 90a").err();
        let told = |found| refused(found).map(|error| error.to_string());
        assert_eq!(told((9, 0)), None);
        assert_eq!(
            told((7, 5)).as_deref(),
            Some("A GPU has compute capability 7.5, expected at least 8.0")
        );
        assert_eq!(
            told((12, 0)).as_deref(),
            Some(
                "A GPU has compute capability 12.0, and this build has kernels for 80,89, 90a \
                 alone: build it with ANTIPHON_CUDA_ARCHS=120"
            )
        );
    }
}
