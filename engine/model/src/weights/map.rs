//! A weights file, mapped range by range.
//!
//! Each range is a mapping of its own and is unmapped when dropped: after a tensor was consumed,
//! its pages no longer count as this process's memory, so a file is never resident twice.
//!
//! This is the one place in the crate with `unsafe`.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

/// An open file whose ranges can be mapped.
#[derive(Debug)]
pub(super) struct Map {
    file: File,
    length: usize,
}

/// One mapped range of a file.
#[derive(Debug)]
pub(crate) struct Mapped(Option<Mmap>);

impl Map {
    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// The system's; also for what is not a regular file, since a pipe or a device has no length.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len())
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(Self { file, length })
    }

    /// Bytes in the file when it was opened.
    pub(super) const fn length(&self) -> usize {
        self.length
    }

    /// Maps `range` of the file. Pages are read when they are touched.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// If the range is not within the file: whoever asks has checked it.
    pub(super) fn range(&self, range: Range<usize>) -> io::Result<Mapped> {
        assert!(range.start <= range.end && range.end <= self.length, "range outside of the file");
        if range.is_empty() {
            return Ok(Mapped(None));
        }
        let mut options = MmapOptions::new();
        options.offset(range.start as u64).len(range.len());
        map(&options, &self.file).map(|map| Mapped(Some(map)))
    }
}

#[expect(unsafe_code, reason = "a mapping cannot be made without it")]
fn map(options: &MmapOptions, file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is private and read-only, and lies within the file's length at opening.
    // As with every mapped file, whoever runs the process must not let the file be truncated or
    // rewritten meanwhile; nothing here gives the bytes a meaning that depends on them staying
    // valid UTF-8 or within bounds: the header is copied out before it is used, and weights may
    // have any bit pattern.
    unsafe { options.map(file) }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
