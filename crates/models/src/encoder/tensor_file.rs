//! Tensors of a safetensors file, mapped so that only what is read is ever in memory.

use std::fs::File;
use std::path::Path;

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use crate::ModelsError;
use crate::encoder::assemble::NamedTensors;

/// A mapped file whose header has been checked against its length.
pub(crate) struct MappedTensors {
    map: Mmap,
    header: safetensors::tensor::Metadata,
    data_start: usize,
}

impl MappedTensors {
    /// Maps the file at `path`; [`ModelsError::BadModelFile`] when its header is wrong or claims other bytes than there are.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelsError> {
        let file = File::open(path).map_err(ModelsError::io("open", path))?;
        #[expect(unsafe_code, reason = "weights are copied once, from the mapped file to where they are used")]
        // SAFETY: model files are replaced by renaming, never written in place, so the bytes stay while they are mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(ModelsError::io("map", path))?;
        Self::new(map).map_err(|reason| ModelsError::BadModelFile { path: path.to_owned(), reason })
    }

    fn new(map: Mmap) -> Result<Self, String> {
        // Checks that the tensors cover the rest of the file without gap or overlap, each as long as its shape says.
        let (length, header) =
            SafeTensors::read_metadata(&map).map_err(|error| format!("is no safetensors file ({error})"))?;
        let data_start = length.saturating_add(size_of::<u64>());
        Ok(Self { map, header, data_start })
    }

    fn bytes(&self, name: &str) -> Option<(Dtype, &[u8])> {
        let info = self.header.info(name)?;
        let (start, end) = info.data_offsets;
        let bytes = self.map.get(self.data_start.checked_add(start)?..self.data_start.checked_add(end)?)?;
        Some((info.dtype, bytes))
    }
}

impl NamedTensors for MappedTensors {
    fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.header.info(name)?.shape.clone())
    }

    fn read(&self, name: &str) -> Result<Vec<f32>, String> {
        let (dtype, bytes) = self.bytes(name).ok_or_else(|| format!("holds no tensor named {name}"))?;
        match dtype {
            Dtype::F32 => Ok(bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()),
            Dtype::F16 => Ok(bytes.as_chunks().0.iter().map(|two| f16::from_le_bytes(*two).to_f32()).collect()),
            Dtype::BF16 => Ok(bytes.as_chunks().0.iter().map(|two| bf16::from_le_bytes(*two).to_f32()).collect()),
            other => Err(format!("holds the tensor {name} as {other}, and only F32, F16 and BF16 are read")),
        }
    }
}
