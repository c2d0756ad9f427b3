//! Presents a quantized GGUF file as one whose tensors are all f32, without writing that file anywhere.
//!
//! The decoder library multiplies some block formats (`Q4_1` among them) one value at a time and rounds the activations
//! to eight bits on the way, which costs both speed and right answers. f32 weights take eight times the memory, run
//! through the tuned matrix product and keep what the quantizer kept. The library builds its model from a header and a
//! reader, so it is given a header that says f32 and a reader that unpacks each tensor at the moment it is read.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};

const F32_BYTES: u64 = 4;

/// One tensor's place in the presented file.
struct Slot {
    start: u64,
    bytes: u64,
    name: String,
}

/// The presented file: f32 tensors one after another, from byte 0.
pub(crate) struct F32Reader<'a, R> {
    content: &'a Content,
    source: R,
    slots: Vec<Slot>,
    position: u64,
    /// The slot unpacked last, and its values.
    unpacked: Option<(usize, Vec<f32>)>,
}

/// The header of the presented file with the given metadata, and a reader of it. The tensors of `content` must have
/// been checked against `source`.
pub(crate) fn present_as_f32<R: Read + Seek>(
    content: &Content,
    source: R,
    metadata: HashMap<String, Value>,
) -> (Content, F32Reader<'_, R>) {
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort();
    let mut start = 0;
    let mut slots = Vec::with_capacity(names.len());
    let mut tensor_infos = HashMap::with_capacity(names.len());
    for name in names {
        let shape = content.tensor_infos[name].shape.clone();
        let bytes = shape.elem_count() as u64 * F32_BYTES;
        tensor_infos.insert(name.clone(), TensorInfo { ggml_dtype: GgmlDType::F32, shape, offset: start });
        slots.push(Slot { start, bytes, name: name.clone() });
        start += bytes;
    }
    let header = Content { magic: content.magic, metadata, tensor_infos, tensor_data_offset: 0 };
    (header, F32Reader { content, source, slots, position: 0, unpacked: None })
}

impl<R: Read + Seek> F32Reader<'_, R> {
    fn length(&self) -> u64 {
        self.slots.last().map_or(0, |slot| slot.start + slot.bytes)
    }

    fn unpack(&mut self, index: usize) -> Result<&[f32]> {
        if self.unpacked.as_ref().is_none_or(|(held, _)| *held != index) {
            self.unpacked = None; // Frees the last tensor before the next is made.
            let name = &self.slots[index].name;
            let values = self
                .content
                .tensor(&mut self.source, name, &Device::Cpu)
                .and_then(|tensor| tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>())
                .map_err(|error| Error::new(ErrorKind::InvalidData, format!("tensor {name}: {error}")))?;
            self.unpacked = Some((index, values));
        }
        Ok(self.unpacked.as_ref().map_or(&[], |(_, values)| values))
    }
}

impl<R: Read + Seek> Read for F32Reader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() || self.position >= self.length() {
            return Ok(0);
        }
        let index = self.slots.partition_point(|slot| slot.start <= self.position) - 1;
        let offset = self.position - self.slots[index].start;
        if !offset.is_multiple_of(F32_BYTES) || !(buffer.len() as u64).is_multiple_of(F32_BYTES) {
            return Err(Error::new(ErrorKind::InvalidInput, "f32 tensors are read in whole values"));
        }
        let values = self.unpack(index)?;
        let mut copied = 0;
        for (target, value) in buffer.chunks_exact_mut(4).zip(&values[(offset / F32_BYTES) as usize..]) {
            target.copy_from_slice(&value.to_le_bytes());
            copied += target.len();
        }
        self.position += copied as u64;
        Ok(copied)
    }
}

impl<R: Read + Seek> Seek for F32Reader<'_, R> {
    fn seek(&mut self, target: SeekFrom) -> Result<u64> {
        let position = match target {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(delta) => self.length().checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = position.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a seek before the first byte"))?;
        Ok(self.position)
    }
}
