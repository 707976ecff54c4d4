//! Storage that the system fills with zeros when it is first touched.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use bytemuck::Zeroable;
use engine_backend::BackendError;
use memmap2::MmapMut;

/// A slice of zeros that takes memory only where it was written to; aligned to a page.
pub(crate) struct Zeroed<T> {
    map: MmapMut,
    len: usize,
    elements: PhantomData<T>,
}

impl<T: Zeroable + Copy> Zeroed<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// Out of memory.
    pub(crate) fn new(len: usize) -> Result<Self, BackendError> {
        const { assert!(align_of::<T>() <= 4096) };
        let bytes = len.checked_mul(size_of::<T>()).filter(|bytes| isize::try_from(*bytes).is_ok());
        let bytes = bytes.ok_or(BackendError::OutOfMemory { bytes: usize::MAX, free: None })?;
        let map = MmapMut::map_anon(bytes.max(1))
            .map_err(|_| BackendError::OutOfMemory { bytes, free: None })?;
        Ok(Self { map, len, elements: PhantomData })
    }
}

impl<T> Deref for Zeroed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the map is page-aligned, which `new` checked to be enough, holds `len` elements,
        // and is borrowed as long as the slice; zeros are a `T`, and only `T`s are written since.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}

impl<T> DerefMut for Zeroed<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the map is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.len) }
    }
}
