//! The kernels in the binary, by name.
#![expect(unsafe_code, reason = "looks functions up through the driver")]

use std::ffi::CString;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys::{CUfunction, CUfunction_attribute_enum as Attribute, CUmodule};
use cudarc::driver::{CudaContext, DriverError, result};

use crate::{DeviceInfo, OpenError};

include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// Whether the build had a compiler for kernels.
pub(crate) fn any() -> bool {
    !IMAGES.is_empty()
}

/// The architectures that kernels were compiled for, as nvcc names them.
pub(crate) fn archs() -> &'static str {
    ARCHS
}

/// The release of CUDA that kernels were compiled with.
pub(crate) fn toolkit() -> (i32, i32) {
    TOOLKIT
}

/// A kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function(pub(crate) CUfunction);

// SAFETY: it is a handle of the context, which every thread that launches makes current.
unsafe impl Send for Function {}

/// All images, loaded; they stay for the life of the process.
pub(crate) struct Modules<'a> {
    modules: Vec<(&'static str, CUmodule)>,
    info: &'a DeviceInfo,
}

impl<'a> Modules<'a> {
    pub(crate) fn load(
        context: &Arc<CudaContext>,
        info: &'a DeviceInfo,
    ) -> Result<Self, OpenError> {
        context.bind_to_thread()?;
        let load = |(name, image): &(&'static str, &[u8])| {
            // The driver wants the image aligned.
            let mut aligned = vec![0_u64; image.len().div_ceil(8)];
            bytemuck::cast_slice_mut(&mut aligned)[..image.len()].copy_from_slice(image);
            // SAFETY: the image is one that nvcc made, whole.
            let module = unsafe { result::module::load_data(aligned.as_ptr().cast()) };
            module.map(|module| (*name, module)).map_err(|error| OpenError::Kernels {
                name: info.name.clone(),
                reason: error.to_string(),
            })
        };
        Ok(Self { modules: IMAGES.iter().map(load).collect::<Result<_, _>>()?, info })
    }

    /// A kernel of an image, with leave to use all shared memory that a block may have.
    pub(crate) fn function(&self, image: &str, name: &str) -> Result<Function, OpenError> {
        let module = self.modules.iter().find(|(known, _)| *known == image);
        let module = module.map_or(ptr::null_mut(), |(_, module)| *module);
        let missing = |error: DriverError| OpenError::Kernels {
            name: self.info.name.clone(),
            reason: format!("{image}.{name}: {error}"),
        };
        let symbol = CString::new(name).expect("names of kernels have no zero bytes");
        // SAFETY: the module was loaded and is never unloaded.
        let function = unsafe { result::module::get_function(module, symbol) }.map_err(missing)?;
        let own = Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        let most = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function was just found.
        unsafe {
            let own = result::function::get_function_attribute(function, own).map_err(missing)?;
            let left = self.info.shared_bytes as i32 - own;
            result::function::set_function_attribute(function, most, left).map_err(missing)?;
        }
        Ok(Function(function))
    }
}
