//! Reads the little-endian values of a header, none of them past the end.

use super::error::{GgufError, Section};

/// A place in a file, and what is being read there.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// Named in errors.
    pub(super) section: Section,
}

/// Several times what the largest vocabularies take. What is read is copied, so this bounds memory
/// where a file is large.
const HEADER_BYTES_MAX: usize = 64 << 20;

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0, section: Section::Header }
    }

    /// Bytes read so far.
    pub(super) const fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// Bytes of the whole file.
    pub(super) const fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], GgufError> {
        let rest = &self.bytes[self.offset..];
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let Some(taken) = taken else {
            return Err(GgufError::Truncated {
                section: self.section.clone(),
                offset: self.offset as u64,
                needed: length,
                length: self.bytes.len() as u64,
            });
        };
        self.offset += taken.len();
        if self.offset > HEADER_BYTES_MAX {
            let most = HEADER_BYTES_MAX as u64;
            return Err(GgufError::HeaderTooLong { section: self.section.clone(), most });
        }
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let taken = self.take(N as u64)?;
        Ok(taken.try_into().expect("took N bytes"))
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string with its length before it.
    pub(super) fn string(&mut self) -> Result<&'a str, GgufError> {
        let length = self.u64()?;
        self.text(length)
    }

    /// A string that names something: not empty, at most `most` bytes.
    pub(super) fn name(&mut self, most: u64) -> Result<&'a str, GgufError> {
        let found = self.u64()?;
        if found == 0 || found > most {
            return Err(GgufError::NameLength { section: self.section.clone(), found, most });
        }
        self.text(found)
    }

    fn text(&mut self, length: u64) -> Result<&'a str, GgufError> {
        let bytes = self.take(length)?;
        str::from_utf8(bytes).map_err(|_| GgufError::NotUtf8 { section: self.section.clone() })
    }
}
