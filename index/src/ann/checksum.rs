//! How large a cache file is and what its bytes hash to, so that damage is noticed.
//!
//! The hash is XXH3 with 128 bits: it finds accidents, and nobody gains by forging a cache.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anser_core::CancelToken;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::{IndexError, Result};

/// Bytes that are read between two looks at the cancel token.
const PIECE: usize = 1 << 20;

/// Size and hash of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSum {
    /// Its size.
    pub(crate) bytes: u64,
    /// XXH3 with 128 bits of its bytes, 32 hexadecimal digits.
    pub(crate) xxh3: String,
}

impl FileSum {
    /// The size of the file at `path` is not this one, or there is no such file: `Corrupt` or `Io`.
    pub(crate) fn check_size(&self, path: &Path) -> Result<()> {
        let found = path.metadata().map_err(IndexError::io("read", path))?.len();
        if found == self.bytes {
            return Ok(());
        }
        Err(IndexError::corrupt(
            format!("cache file {}", path.display()),
            format!("it has {found} bytes instead of {}", self.bytes),
        ))
    }

    /// Reads the file at `path` and compares: `Corrupt` when it is another.
    pub(crate) fn verify(&self, path: &Path, cancel: &CancelToken) -> Result<()> {
        let mut file = File::open(path).map_err(IndexError::io("open", path))?;
        let mut hasher = Xxh3::new();
        let mut piece = vec![0u8; PIECE];
        loop {
            cancel.check()?;
            let read = file.read(&mut piece).map_err(IndexError::io("read", path))?;
            if read == 0 {
                break;
            }
            hasher.update(piece.get(..read).unwrap_or(&[]));
        }
        if hex(hasher.digest128()) == self.xxh3 {
            return Ok(());
        }
        Err(IndexError::corrupt(format!("cache file {}", path.display()), "its checksum differs from the manifest's"))
    }
}

/// XXH3 with 128 bits of `bytes`, as 32 hexadecimal digits.
pub(crate) fn xxh3_hex(bytes: &[u8]) -> String {
    hex(xxh3_128(bytes))
}

fn hex(hash: u128) -> String {
    format!("{hash:032x}")
}

/// Writes and sums at once.
pub(super) struct Summing<W> {
    inner: W,
    hasher: Box<Xxh3>,
    bytes: u64,
}

impl<W: Write> Summing<W> {
    /// Sums what is written to `inner` from now on.
    pub(super) fn new(inner: W) -> Self {
        Self { inner, hasher: Box::default(), bytes: 0 }
    }

    /// The sum of what was written, and where it was written to.
    pub(super) fn finish(self) -> (FileSum, W) {
        (FileSum { bytes: self.bytes, xxh3: hex(self.hasher.digest128()) }, self.inner)
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(buffer.get(..written).unwrap_or(buffer));
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_recognised_and_any_flipped_bit_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7 + i / 300) as u8).collect();
        let mut file = Summing::new(File::create(&path).unwrap());
        for piece in bytes.chunks(70_001) {
            file.write_all(piece).unwrap();
        }
        let (sum, _) = file.finish();
        assert_eq!((sum.bytes, &sum.xxh3), (3_000_000, &xxh3_hex(&bytes)));
        let cancel = CancelToken::new();
        sum.check_size(&path).unwrap();
        sum.verify(&path, &cancel).unwrap();
        for at in [0, 1_500_000, 2_999_999] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, flipped).unwrap();
            sum.check_size(&path).unwrap();
            assert!(sum.verify(&path, &cancel).is_err(), "byte {at}");
        }
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert!(sum.check_size(&path).is_err());
        cancel.cancel();
        assert_eq!(sum.verify(&path, &cancel).unwrap_err().kind(), anser_core::ErrorKind::Cancelled);
    }
}
