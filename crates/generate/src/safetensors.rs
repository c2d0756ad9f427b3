//! Reads safetensors files tensor by tensor, so that a model never lies in memory twice.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

/// Longest header that is read, in bytes: the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;
/// Bytes in front of the header.
const LENGTH_FIELD: u64 = 8;

/// Why a file could not be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The operating system refused.
    Io(PathBuf, std::io::Error),
    /// The bytes are not what they should be.
    Damaged(PathBuf, String),
}

/// One open safetensors file whose header has been checked against the file's length.
struct Part {
    path: PathBuf,
    reader: BufReader<File>,
    header: Metadata,
    data_start: u64,
}

/// The tensors of one file, or of the several that a model is split into.
pub(crate) struct TensorFiles {
    parts: Vec<Part>,
    /// Which part holds each tensor.
    places: BTreeMap<String, usize>,
}

impl TensorFiles {
    /// Opens the given files; no two may hold a tensor of the same name.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self, Fault> {
        let mut files = Self { parts: Vec::with_capacity(paths.len()), places: BTreeMap::new() };
        for path in paths {
            let part = Part::open(path)?;
            for name in part.header.offset_keys() {
                let before = files.places.insert(name.clone(), files.parts.len());
                if before.is_some() {
                    return Err(Fault::Damaged(path.clone(), format!("tensor {name} is in another file as well")));
                }
            }
            files.parts.push(part);
        }
        Ok(files)
    }

    /// Paths of the files, in the order given.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(|part| part.path.as_path())
    }

    /// Names of all tensors, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Shape of a tensor, and whether its numbers are floats that can be read.
    pub(crate) fn shape(&self, name: &str) -> Option<(&[usize], bool)> {
        let info = self.info(name)?;
        Some((&info.shape, matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.parts.get(*self.places.get(name)?)?.header.info(name)
    }

    /// The values of a tensor as f32, row-major.
    pub(crate) fn read(&mut self, name: &str) -> Result<Vec<f32>, Fault> {
        let Some(part) = self.places.get(name).and_then(|at| self.parts.get_mut(*at)) else {
            let path = self.parts.first().map(|part| part.path.clone()).unwrap_or_default();
            return Err(Fault::Damaged(path, format!("tensor {name} is missing")));
        };
        part.read(name)
    }
}

impl Part {
    fn open(path: &Path) -> Result<Self, Fault> {
        let io = |source| Fault::Io(path.to_owned(), source);
        let damaged = |reason: String| Fault::Damaged(path.to_owned(), reason);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        if length < LENGTH_FIELD {
            return Err(damaged(format!("it has {length} bytes and no header")));
        }
        let mut field = [0; LENGTH_FIELD as usize];
        reader.read_exact(&mut field).map_err(io)?;
        let header_length = u64::from_le_bytes(field);
        if header_length > LONGEST_HEADER || header_length > length - LENGTH_FIELD {
            return Err(damaged(format!("its header claims {header_length} bytes of a file of {length}")));
        }
        let mut text = vec![0; header_length as usize];
        reader.read_exact(&mut text).map_err(io)?;
        let header: Metadata =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("its header is wrong: {error}")))?;
        let data_start = LENGTH_FIELD + header_length;
        if header.data_len() as u64 != length - data_start {
            return Err(damaged(format!(
                "its tensors need {} bytes, the file has {}",
                header.data_len(),
                length - data_start
            )));
        }
        Ok(Self { path: path.to_owned(), reader, header, data_start })
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>, Fault> {
        let damaged = |reason: String| Fault::Damaged(self.path.clone(), reason);
        let info = self.header.info(name).ok_or_else(|| damaged(format!("tensor {name} is missing")))?;
        let (start, end) = info.data_offsets;
        let dtype = info.dtype;
        let mut bytes = vec![0; end - start];
        self.reader
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .and_then(|_| self.reader.read_exact(&mut bytes))
            .map_err(|source| Fault::Io(self.path.clone(), source))?;
        match dtype {
            Dtype::F32 => Ok(bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()),
            Dtype::F16 => Ok(bytes.as_chunks().0.iter().map(|two| f16::from_le_bytes(*two).to_f32()).collect()),
            Dtype::BF16 => Ok(bytes.as_chunks().0.iter().map(|two| bf16::from_le_bytes(*two).to_f32()).collect()),
            other => Err(damaged(format!("tensor {name} is {other}, and only F32, F16 and BF16 can be read"))),
        }
    }
}

/// The files that an index (`model.safetensors.index.json`) spreads a model over, in the order of their names. Only plain
/// file names are taken: a path could lead out of the folder.
pub(crate) fn files_of_index(index: &str) -> Result<Vec<String>, String> {
    let value: serde_json::Value = serde_json::from_str(index).map_err(|error| format!("it is not JSON: {error}"))?;
    let map = value.get("weight_map").and_then(serde_json::Value::as_object).ok_or("it has no weight_map")?;
    let mut files = HashSet::new();
    for (tensor, file) in map {
        let file = file.as_str().ok_or_else(|| format!("the file of tensor {tensor} is not a text"))?;
        let plain = Path::new(file).file_name().is_some_and(|name| name == file) && !file.contains(['/', '\\']);
        if !plain || !file.ends_with(".safetensors") {
            return Err(format!("the file of tensor {tensor} is \"{file}\", which is not a plain safetensors name"));
        }
        files.insert(file.to_owned());
    }
    let mut files: Vec<String> = files.into_iter().collect();
    files.sort();
    if files.is_empty() {
        return Err("its weight_map is empty".to_owned());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_plain_files_only() {
        let index = |file: &str| serde_json::json!({"weight_map": {"a": "b.safetensors", "c": file}}).to_string();
        assert_eq!(files_of_index(&index("a.safetensors")).unwrap(), ["a.safetensors", "b.safetensors"]);
        for wrong in
            ["../a.safetensors", "/etc/a.safetensors", "x\\a.safetensors", "a.bin", "", "..", "./a.safetensors"]
        {
            assert!(files_of_index(&index(wrong)).is_err(), "{wrong}");
        }
        assert!(files_of_index("{}").is_err() && files_of_index("{\"weight_map\": {}}").is_err());
    }

    #[test]
    fn each_float_format_is_widened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let view =
            |dtype, bytes: &'static [u8]| safetensors::tensor::TensorView::new(dtype, vec![1, 1], bytes).unwrap();
        let tensors = [
            ("half", view(Dtype::F16, &[0x00, 0x3E])),
            ("brain", view(Dtype::BF16, &[0xC0, 0x3F])),
            ("single", view(Dtype::F32, &[0, 0, 0xC0, 0x3F])),
            ("byte", view(Dtype::U8, &[7])),
        ];
        std::fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
        let mut files = TensorFiles::open(std::slice::from_ref(&path)).unwrap();
        for name in ["half", "brain", "single"] {
            assert_eq!(files.read(name).unwrap(), [1.5], "{name}");
            assert_eq!(files.shape(name), Some((&[1, 1][..], true)));
        }
        assert_eq!(files.shape("byte"), Some((&[1, 1][..], false)));
        assert!(files.read("byte").is_err() && files.read("none").is_err());
        assert!(TensorFiles::open(&[path.clone(), path]).is_err());
    }
}
