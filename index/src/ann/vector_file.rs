//! The Arrow IPC file of a segment's vectors: written once, then memory-mapped and never changed.

use std::fs::File;
use std::io::{BufWriter, IntoInnerError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::ChunkId;
use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, UInt64Array};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::reader::read_footer_length;
use arrow::ipc::writer::FileWriter;
use arrow::ipc::{root_as_footer, root_as_message};

use super::checksum::{FileSum, Summing};
use super::vectors::{Vectors, wrong_dimension};
use crate::{IndexError, Result};

/// Rows of a batch are `1 << BATCH_SHIFT`, so that a row's batch is a shift away.
const BATCH_SHIFT: u32 = 13;
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

fn item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Float32, false))
}

fn schema(dimension: usize) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("chunk_id", DataType::UInt64, false),
        Field::new("vector", DataType::FixedSizeList(item(), dimension as i32), false),
    ]))
}

/// A vector file that is being written, row after row.
pub(crate) struct VectorWriter {
    path: PathBuf,
    dimension: usize,
    schema: SchemaRef,
    writer: FileWriter<Summing<BufWriter<File>>>,
    ids: Vec<u64>,
    values: Vec<f32>,
}

impl VectorWriter {
    /// Begins the file `path` of vectors of `dimension` numbers.
    pub(crate) fn create(path: PathBuf, dimension: usize) -> Result<Self> {
        let file = File::create(&path).map_err(IndexError::io("create", &path))?;
        let schema = schema(dimension);
        let file = Summing::new(BufWriter::with_capacity(BUFFER, file));
        let writer = FileWriter::try_new(file, &schema).map_err(failed(&path))?;
        Ok(Self { path, dimension, schema, writer, ids: Vec::new(), values: Vec::new() })
    }

    /// Appends a row; ids must ascend.
    pub(crate) fn push(&mut self, id: ChunkId, row: &[f32]) -> Result<()> {
        if row.len() != self.dimension {
            return Err(wrong_dimension(row.len(), self.dimension));
        }
        self.ids.push(id.0);
        self.values.extend_from_slice(row);
        if self.ids.len() < 1 << BATCH_SHIFT { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let (ids, values) = (std::mem::take(&mut self.ids), std::mem::take(&mut self.values));
        let values = Arc::new(Float32Array::from(values));
        let vectors = FixedSizeListArray::try_new(item(), self.dimension as i32, values, None)
            .map_err(|e| IndexError::internal(format!("vectors do not fit their column: {e}")))?;
        let columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(ids)), Arc::new(vectors)];
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(failed(&self.path))?;
        self.writer.write(&batch).map_err(failed(&self.path))
    }

    /// Makes the file durable and maps it.
    pub(crate) fn finish(mut self) -> Result<(Vectors, FileSum)> {
        self.flush()?;
        let (sum, file) = self.writer.into_inner().map_err(failed(&self.path))?.finish();
        let file = file.into_inner().map_err(IntoInnerError::into_error);
        let file = file.map_err(IndexError::io("write", &self.path))?;
        file.sync_all().map_err(IndexError::io("sync", &self.path))?;
        Ok((read_vectors(&self.path, self.dimension)?, sum))
    }
}

/// Arrow hides what the system said inside errors of its own.
fn failed(path: &Path) -> impl FnOnce(ArrowError) -> IndexError {
    let path = path.to_path_buf();
    move |error| match error {
        ArrowError::IoError(_, source) => IndexError::io("write", &path)(source),
        other => IndexError::corrupt(format!("vector file {}", path.display()), other),
    }
}

/// Maps an Arrow file of vectors without copying them.
pub(crate) fn read_vectors(path: &Path, dimension: usize) -> Result<Vectors> {
    let wrong = |reason: String| IndexError::corrupt(format!("vector file {}", path.display()), reason);
    let file = map(path)?;
    // The last ten bytes are the footer's length and "ARROW1".
    let (body, trailer) = file.split_last_chunk::<10>().ok_or_else(|| wrong("it is too short".into()))?;
    let footer_len = read_footer_length(*trailer).map_err(|e| wrong(e.to_string()))?;
    let footer_at = body.len().checked_sub(footer_len).ok_or_else(|| wrong("its footer is too long".into()))?;
    let footer = root_as_footer(&body[footer_at..]).map_err(|e| wrong(e.to_string()))?;
    let found = footer.schema().ok_or_else(|| wrong("it has no schema".into()))?;
    let expected = schema(dimension);
    if try_fb_to_schema(found).map_err(|e| wrong(e.to_string()))? != *expected {
        return Err(wrong(format!("its columns are not those of vectors of {dimension} dimensions")));
    }
    let mut blocks = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let number = |n: i64| usize::try_from(n).ok();
        let found = number(block.offset())
            .zip(number(block.metaDataLength().into()).zip(number(block.bodyLength())))
            .and_then(|(offset, (head, body))| {
                let start = offset.checked_add(head)?;
                let end = start.checked_add(body).filter(|end| *end <= footer_at)?;
                Some((file.get(offset..start)?, file.slice_with_length(start, end - start)))
            });
        let (head, body) = found.ok_or_else(|| wrong("a batch lies outside the file".into()))?;
        blocks.push(read_batch(head, &body, dimension).map_err(wrong)?);
    }
    Vectors::from_blocks(dimension, BATCH_SHIFT, blocks)
}

/// The ids and the numbers of a batch in place; otherwise what is wrong with it. Arrow's own decoder panics where a buffer
/// lies outside its batch.
fn read_batch(
    head: &[u8],
    body: &Buffer,
    dimension: usize,
) -> std::result::Result<(ScalarBuffer<u64>, ScalarBuffer<f32>), String> {
    // A message begins with a marker and its length, of four bytes each.
    let message = root_as_message(head.get(8..).unwrap_or(&[])).map_err(|e| e.to_string())?;
    let batch = message.header_as_record_batch().ok_or("a message is no batch")?;
    let (nodes, buffers) = batch.nodes().zip(batch.buffers()).ok_or("a batch has no columns")?;
    // The ids, the lists and their items; before the data of ids and items comes a bitmap of nulls, the lists have only that.
    if nodes.len() != 3 || buffers.len() != 5 || batch.compression().is_some() {
        return Err("a batch has other columns".into());
    }
    let rows = usize::try_from(batch.length()).map_err(|e| e.to_string())?;
    let numbers = rows.checked_mul(dimension).ok_or("a batch is too long")?;
    if nodes.iter().zip([rows, rows, numbers]).any(|(n, len)| n.null_count() != 0 || n.length() != len as i64) {
        return Err("the columns of a batch have different lengths".into());
    }
    let data = |nth: usize, bytes: usize| {
        let start = usize::try_from(buffers.get(nth).offset()).ok()?;
        let end = start.checked_add(bytes).filter(|end| *end <= body.len())?;
        let inside = buffers.get(nth).length() == bytes as i64;
        let aligned = body.as_ptr().align_offset(align_of::<u64>()) == 0 && start.is_multiple_of(align_of::<u64>());
        (inside && aligned).then(|| body.slice_with_length(start, end - start))
    };
    let of = |nth, size: usize, len: usize| len.checked_mul(size).and_then(|bytes| data(nth, bytes));
    let (ids, values) =
        of(1, size_of::<u64>(), rows).zip(of(4, size_of::<f32>(), numbers)).ok_or("a column lies outside its batch")?;
    Ok((ScalarBuffer::new(ids, 0, rows), ScalarBuffer::new(values, 0, numbers)))
}

/// Memory-maps a finished cache file.
#[expect(unsafe_code, reason = "mapping a file is unsafe because others could change it")]
pub(crate) fn map(path: &Path) -> Result<Buffer> {
    let file = File::open(path).map_err(IndexError::io("open", path))?;
    // SAFETY: cache files are written to a fresh folder, synced before anyone is told of them, never written again and
    // removed only by unlinking, which leaves existing maps intact.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(IndexError::io("map", path))?;
    Ok(Buffer::from(bytes::Bytes::from_owner(map)))
}

#[cfg(test)]
mod tests {
    use anser_core::CancelToken;

    use super::*;

    #[test]
    fn vectors_return_from_disk_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        for count in [0usize, 1, 8192, 20_000] {
            let rows: Vec<(ChunkId, Vec<f32>)> =
                (0..count).map(|i| (ChunkId(i as u64 * 3), vec![i as f32, -1.0, 0.5])).collect();
            let mut writer = VectorWriter::create(path.clone(), 3).unwrap();
            for (id, row) in &rows {
                writer.push(*id, row).unwrap();
            }
            let (vectors, sum) = writer.finish().unwrap();
            sum.check_size(&path).unwrap();
            sum.verify(&path, &CancelToken::new()).unwrap();
            assert_eq!(vectors.len(), count);
            assert!(vectors.iter().map(|(_, id, v)| (id, v)).eq(rows.iter().map(|(id, v)| (*id, v.as_slice()))));
            if let Some(last) = count.checked_sub(1) {
                assert_eq!(vectors.row(last), rows[last].1);
                assert_eq!(vectors.find(rows[last].0), Some(last as u32));
                assert_eq!(vectors.find(ChunkId(1)), None);
            }
        }
        assert!(read_vectors(&path, 4).is_err(), "another dimension");
        let good = std::fs::read(&path).unwrap();
        for len in [0, 5, 10, 200, good.len() - 1] {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(read_vectors(&path, 3).is_err(), "length {len}");
        }
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        let mut writer = VectorWriter::create(path.clone(), 3).unwrap();
        for i in 0..40u16 {
            writer.push(ChunkId(u64::from(i)), &[f32::from(i), 0.0, 1.0]).unwrap();
        }
        writer.finish().unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[at] ^= 1 << bit;
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, &flipped).unwrap();
                if let Ok(vectors) = read_vectors(&path, 3) {
                    assert!(vectors.iter().all(|(row, _, vector)| vectors.row(row as usize).len() == vector.len()));
                }
            }
        }
    }
}
