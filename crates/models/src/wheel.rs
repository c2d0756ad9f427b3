//! Reading files out of a wheel. A wheel is a zip archive; nothing in it is ever run.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use crate::verify::copy_verified;
use crate::{FileSpec, ModelsError};

/// An opened wheel all of whose entry names are harmless.
#[derive(Debug)]
pub(crate) struct Wheel {
    name: String,
    archive: ZipArchive<BufReader<File>>,
}

impl Wheel {
    /// Opens the archive and refuses it whole when one entry's name could lead outside a folder: such a wheel was
    /// tampered with.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelsError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::open(path).map_err(ModelsError::io("open", path))?;
        let archive = ZipArchive::new(BufReader::new(file))
            .map_err(|e| ModelsError::DamagedWheel { wheel: name.clone(), reason: e.to_string() })?;
        for entry in archive.file_names_raw() {
            let checked = std::str::from_utf8(entry).map_err(|_| "is not UTF-8").and_then(check_entry_name);
            if let Err(reason) = checked {
                let shown = String::from_utf8_lossy(entry).chars().take(100).flat_map(char::escape_default).collect();
                return Err(ModelsError::UnsafeEntry { wheel: name, entry: shown, reason });
            }
        }
        Ok(Self { name, archive })
    }

    /// Copies the entry that `file` names to the new file `target`, verified.
    pub(crate) fn extract(&mut self, file: &FileSpec, target: &Path, done: &dyn Fn(u64)) -> Result<(), ModelsError> {
        let entry = file.wheel_entry.as_deref().unwrap_or_default();
        let damaged = |reason: String| ModelsError::DamagedWheel { wheel: self.name.clone(), reason };
        let mut reader = self.archive.by_name(entry).map_err(|e| match e {
            ZipError::FileNotFound => ModelsError::MissingEntry { wheel: self.name.clone(), entry: entry.to_owned() },
            other => damaged(other.to_string()),
        })?;
        let origin = format!("the wheel {}", self.name);
        copy_verified(&mut reader, target, file, &|e| damaged(e.to_string()), done)?.accept(file, &origin)
    }
}

/// Accepts a relative path of plain components with forward slashes; a trailing slash marks a folder. The error
/// completes "the entry ...".
pub(crate) fn check_entry_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("has an empty name");
    }
    if name.starts_with('/') {
        return Err("is an absolute path");
    }
    if name.contains('\\') {
        return Err("holds a backslash");
    }
    if name.contains(':') {
        return Err("names a drive or stream");
    }
    if name.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    for component in name.strip_suffix('/').unwrap_or(name).split('/') {
        match component {
            "" | "." => return Err("holds an empty component"),
            ".." => return Err("climbs out of its folder"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};
    use std::path::Component;

    use anser_core::storage::sha256_hex;
    use proptest::prelude::*;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["a", "a/b.onnx", "a/b/", "a..b/c", "...", "..a", "p-1.0.dist-info/RECORD", "模型/a"] {
            assert_eq!(check_entry_name(name), Ok(()), "{name}");
        }
        for name in [
            "", "/", "/a", "//a", "..", "../a", "a/..", "a/../b", "a//b", "./a", "a/.", "a\\b", "\\\\x\\y", "C:/a",
            "C:a", "a\0b",
        ] {
            assert!(check_entry_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_flipped_bit_never_yields_other_bytes() {
        let weights = b"weights weights weights weights";
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = ZipWriter::new(&mut bytes);
        for name in ["p/other.txt", "p/model.bin"] {
            writer.start_file(name, SimpleFileOptions::default()).unwrap();
            writer.write_all(weights).unwrap();
        }
        writer.finish().unwrap();
        let whole = bytes.into_inner();
        let file = FileSpec {
            name: "model.bin".to_owned(),
            bytes: weights.len() as u64,
            sha256: sha256_hex(weights),
            hub_file: None,
            wheel_entry: Some("p/model.bin".to_owned()),
            derived: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("w.whl"), dir.path().join("model.bin"));
        let mut refused = 0;
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, damaged).unwrap();
            match Wheel::open(&path).and_then(|mut wheel| wheel.extract(&file, &target, &|_| ())) {
                Ok(()) => {
                    assert_eq!(std::fs::read(&target).unwrap(), weights, "bit {bit}");
                    std::fs::remove_file(&target).unwrap();
                }
                Err(error) => {
                    refused += 1;
                    assert_eq!(error.kind(), anser_core::ErrorKind::Corrupt, "bit {bit}: {error}");
                    assert!(!target.exists());
                }
            }
        }
        assert!(refused > whole.len(), "{refused} of {} damaged archives were refused", whole.len() * 8);
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_inside(name in "[./\\\\:a-c\\x00é]{0,12}") {
            if check_entry_name(&name).is_ok() {
                prop_assert!(Path::new(&name).components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert!(!name.contains(['\\', ':', '\0']));
            }
        }

        #[test]
        fn any_bytes_open_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("w.whl");
            let mut all = if magic { b"PK\x05\x06".to_vec() } else { Vec::new() };
            all.extend(bytes);
            std::fs::write(&path, all).unwrap();
            let _ = Wheel::open(&path);
        }
    }
}
