//! Copying bytes from a source to a file while proving that they are the catalogue's.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{FileSpec, ModelsError};

/// Copies `reader` into the new file `target` and checks size and SHA-256 on the way; on any failure `target` is gone.
///
/// At most `spec.bytes` are written. A longer source is read on, up to twice that, only to be able to name its hash.
/// `broken` turns a failure of the source into an error; `received` hears the bytes taken so far.
pub(crate) fn copy_verified(
    reader: &mut dyn Read,
    target: &Path,
    spec: &FileSpec,
    broken: &dyn Fn(std::io::Error) -> ModelsError,
    received: &dyn Fn(u64),
) -> Result<Received, ModelsError> {
    let outcome = copy(reader, target, spec, broken, received);
    if !matches!(outcome, Ok(Received::Expected)) {
        // A file that was never created needs no removal; one that stays lies in a folder that is removed anyway.
        let _ = fs::remove_file(target);
    }
    outcome
}

/// What a source served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The catalogue's bytes.
    Expected,
    /// Other bytes: their SHA-256, or what is known instead.
    Other(String),
}

impl Received {
    /// `Err(WrongBytes)` unless the bytes were the expected ones.
    pub(crate) fn accept(self, spec: &FileSpec, origin: &str) -> Result<(), ModelsError> {
        match self {
            Self::Expected => Ok(()),
            Self::Other(got) => Err(ModelsError::WrongBytes {
                file: spec.name.clone(),
                origin: origin.to_owned(),
                expected: spec.sha256.clone(),
                got,
            }),
        }
    }
}

fn copy(
    reader: &mut dyn Read,
    target: &Path,
    spec: &FileSpec,
    broken: &dyn Fn(std::io::Error) -> ModelsError,
    received: &dyn Fn(u64),
) -> Result<Received, ModelsError> {
    let mut file = File::create_new(target).map_err(ModelsError::io("create", target))?;
    let limit = spec.bytes.saturating_mul(2).saturating_add(1 << 20);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 18];
    let mut done = 0u64;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken(e)),
        };
        let bytes = buffer.get(..read).unwrap_or(&buffer);
        hasher.update(bytes);
        done += bytes.len() as u64;
        if done > limit {
            return Ok(Received::Other(format!("more than {limit} bytes received where {} belong", spec.bytes)));
        }
        if done <= spec.bytes {
            file.write_all(bytes).map_err(ModelsError::io("write", target))?;
            received(done);
        }
    }
    let got = hex(&hasher.finalize());
    if done != spec.bytes || got != spec.sha256 {
        return Ok(Received::Other(format!("{got} received, in {done} bytes where {} belong", spec.bytes)));
    }
    file.sync_all().map_err(ModelsError::io("sync", target))?;
    Ok(Received::Expected)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn spec(bytes: &[u8]) -> FileSpec {
        FileSpec {
            name: "f".to_owned(),
            bytes: bytes.len() as u64,
            sha256: anser_core::storage::sha256_hex(bytes),
            hub_file: None,
            wheel_entry: None,
            derived: None,
        }
    }

    fn try_copy(served: &mut dyn Read, expected: &[u8]) -> (Result<Received, ModelsError>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("f");
        let broken = |e: io::Error| ModelsError::Hub { file: "f".to_owned(), reason: e.to_string() };
        let outcome = copy_verified(served, &target, &spec(expected), &broken, &|_| ());
        (outcome, target.exists())
    }

    #[test]
    fn keeps_only_the_expected_bytes() {
        assert!(matches!(try_copy(&mut &b"abc"[..], b"abc"), (Ok(Received::Expected), true)));
        for other in [&b"abd"[..], b"ab", b"abcd", b""] {
            let (outcome, kept) = try_copy(&mut &*other, b"abc");
            let Ok(Received::Other(got)) = outcome else { panic!("{outcome:?}") };
            assert!(got.contains(&anser_core::storage::sha256_hex(other)), "{got}");
            assert!(!kept);
        }
    }

    #[test]
    fn an_endless_source_is_cut_off() {
        let (outcome, kept) = try_copy(&mut io::repeat(7), b"abc");
        assert!(matches!(outcome, Ok(Received::Other(got)) if got.contains("more than")));
        assert!(!kept);
    }

    #[test]
    fn a_source_that_breaks_leaves_nothing() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("reset"))
            }
        }
        let (outcome, kept) = try_copy(&mut Broken, b"abc");
        assert!(matches!(outcome, Err(ModelsError::Hub { reason, .. }) if reason == "reset"));
        assert!(!kept);
    }
}
