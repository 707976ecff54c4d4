//! SHA-256 of what passes by.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

const CHUNK_BYTES: usize = 256 << 10;

/// A writer that hashes and counts what it passes on.
pub(crate) struct Hashing<W> {
    inner: W,
    sha256: Sha256,
    written: u64,
}

impl<W: Write> Hashing<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, sha256: Sha256::new(), written: 0 }
    }

    /// The writer, the digest in lower-case hexadecimal, and the number of bytes.
    pub(crate) fn finish(self) -> (W, String, u64) {
        (self.inner, hexadecimal(&self.sha256.finalize()), self.written)
    }
}

impl<W> Hashing<W> {
    /// Hashes and counts what is already at its place.
    pub(crate) fn resume(&mut self, mut written: impl Read) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = written.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            self.sha256.update(&chunk[..count]);
            self.written += count as u64;
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sha256.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The SHA-256 of everything a reader gives, in lower-case hexadecimal.
pub(crate) fn sha256_of(reader: impl Read) -> io::Result<String> {
    let mut hashing = Hashing::new(io::sink());
    hashing.resume(reader)?;
    Ok(hashing.finish().1)
}

/// Whether a text has the form of a SHA-256.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}
