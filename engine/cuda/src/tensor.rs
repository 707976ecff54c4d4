//! What the driver makes of rows in device memory, for copies of boxes of them.
#![expect(unsafe_code, reason = "asks the driver")]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;

use cudarc::driver::DriverError;
use cudarc::driver::sys::{
    self, CUtensorMap, CUtensorMapDataType as DataType, CUtensorMapFloatOOBfill as Fill,
    CUtensorMapInterleave as Interleave, CUtensorMapL2promotion as Promotion,
    CUtensorMapSwizzle as Swizzle,
};

use crate::format::UNIT_INPUTS;

/// Rows of a box; as in `kernels/device/ring.cuh`.
const BOX_ROWS: u32 = 32;

/// As in `kernels/ptx/bulk.cuh`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct TensorMap([u64; 16]);

impl TensorMap {
    /// Of no rows.
    pub(crate) const NONE: Self = Self([0; 16]);

    /// Of `rows` rows of `width` bf16 elements each, whose boxes of a unit's inputs are swizzled by
    /// 128 bytes. Nothing is read until a kernel does.
    pub(crate) fn of(pointer: u64, rows: usize, width: usize) -> Result<Self, DriverError> {
        let mut map = MaybeUninit::<CUtensorMap>::uninit();
        let (sizes, strides) = ([width as u64, rows as u64], [2 * width as u64]);
        let (size, steps) = ([UNIT_INPUTS as u32, BOX_ROWS], [1_u32; 2]);
        // SAFETY: the driver only looks at the arguments, and writes the whole map if it agrees;
        // a map is sixteen words.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                map.as_mut_ptr(),
                DataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                2,
                ptr::without_provenance_mut::<c_void>(pointer as usize),
                sizes.as_ptr(),
                strides.as_ptr(),
                size.as_ptr(),
                steps.as_ptr(),
                Interleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                Swizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                Promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                Fill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
            .result()?;
            Ok(Self(map.assume_init().opaque))
        }
    }
}
