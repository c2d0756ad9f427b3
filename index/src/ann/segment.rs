//! Segments on disk: an Arrow IPC file of vectors and a graph file, written once, then memory-mapped and never changed.

use std::fs::File;
use std::io::{BufWriter, IntoInnerError, Write};
use std::path::Path;
use std::sync::Arc;

use anser_core::{ChunkId, storage};
use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, UInt64Array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::root_as_footer;
use arrow::ipc::writer::FileWriter;
use serde::{Deserialize, Serialize};

use super::codes::Codes;
use super::graph::Graph;
use super::vectors::Vectors;
use crate::{IndexError, Result};

/// Rows of a batch are `1 << BATCH_SHIFT`, so that a row's batch is a shift away.
const BATCH_SHIFT: u32 = 13;
/// Name of the vectors in a segment's folder.
const VECTORS_FILE: &str = "vectors.arrow";
/// Name of the graph in a segment's folder.
const GRAPH_FILE: &str = "graph.hnsw";

/// What the manifest says about a segment's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentFiles {
    /// The segment's folder inside the cache folder.
    pub(crate) folder: String,
    /// Rows in it.
    pub(crate) rows: usize,
    /// SHA-256 of the vectors' file.
    pub(crate) vectors_sha256: String,
    /// SHA-256 of the graph's file; a small segment has no graph.
    pub(crate) graph_sha256: Option<String>,
}

/// Immutable vectors and, unless there are few, a graph over them.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its entry in the manifest.
    pub(crate) files: SegmentFiles,
    /// The rows.
    pub(crate) vectors: Arc<Vectors>,
    /// The graph over the rows.
    pub(crate) graph: Option<Graph>,
    /// The rows' codes, where there is a graph.
    pub(crate) codes: Option<Codes>,
}

fn schema(dimension: usize) -> SchemaRef {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    Arc::new(Schema::new(vec![
        Field::new("chunk_id", DataType::UInt64, false),
        Field::new("vector", DataType::FixedSizeList(item, dimension as i32), false),
    ]))
}

/// Writes `rows` (ascending by id) as the vectors of the segment in `folder`, durably, and maps them.
pub(crate) fn write_vectors<'a>(
    folder: &Path,
    dimension: usize,
    rows: impl Iterator<Item = (ChunkId, &'a [f32])>,
) -> Result<Vectors> {
    let path = folder.join(VECTORS_FILE);
    let arrow = |e: ArrowError| IndexError::corrupt(format!("vector file {}", path.display()), e);
    let file = File::create(&path).map_err(IndexError::io("create", &path))?;
    let schema = schema(dimension);
    let mut writer = FileWriter::try_new(BufWriter::new(file), &schema).map_err(arrow)?;
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let (mut ids, mut values) = (Vec::new(), Vec::new());
        for (id, row) in rows.by_ref().take(1 << BATCH_SHIFT) {
            ids.push(id.0);
            values.extend_from_slice(row);
        }
        let DataType::FixedSizeList(item, size) = schema.field(1).data_type().clone() else {
            return Err(IndexError::internal("the vector column is not a list"));
        };
        let vectors = FixedSizeListArray::try_new(item, size, Arc::new(Float32Array::from(values)), None)
            .map_err(|e| IndexError::internal(format!("vectors do not fit their column: {e}")))?;
        let columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(ids)), Arc::new(vectors)];
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns).map_err(arrow)?).map_err(arrow)?;
    }
    let file = writer.into_inner().map_err(arrow)?;
    let file = file.into_inner().map_err(IntoInnerError::into_error).map_err(IndexError::io("write", &path))?;
    file.sync_all().map_err(IndexError::io("sync", &path))?;
    read_vectors(&path, dimension)
}

/// Writes the graph of the segment in `folder`, durably, and maps it.
pub(crate) fn write_graph(folder: &Path, bytes: &[u8], rows: usize) -> Result<Graph> {
    let path = folder.join(GRAPH_FILE);
    let mut file = File::create(&path).map_err(IndexError::io("create", &path))?;
    file.write_all(bytes).map_err(IndexError::io("write", &path))?;
    file.sync_all().map_err(IndexError::io("sync", &path))?;
    Graph::decode(map(&path)?, rows)
}

impl Segment {
    /// The segment just written to `folder`, with its checksums.
    pub(crate) fn seal(cache: &Path, folder: String, vectors: Arc<Vectors>, graph: Option<Graph>) -> Result<Self> {
        let path = cache.join(&folder);
        let vectors_sha256 = storage::sha256_file(&path.join(VECTORS_FILE))?;
        let graph_sha256 = graph.as_ref().map(|_| storage::sha256_file(&path.join(GRAPH_FILE))).transpose()?;
        storage::sync_folder(&path)?;
        let files = SegmentFiles { folder, rows: vectors.len(), vectors_sha256, graph_sha256 };
        let codes = graph.as_ref().map(|_| encoded(&vectors)).transpose()?;
        Ok(Self { files, vectors, graph, codes })
    }

    /// Maps the segment that the manifest describes after verifying both checksums.
    pub(crate) fn open(cache: &Path, files: &SegmentFiles, dimension: usize) -> Result<Self> {
        let folder = cache.join(&files.folder);
        let vectors_path = verified(folder.join(VECTORS_FILE), &files.vectors_sha256)?;
        let vectors = read_vectors(&vectors_path, dimension)?;
        if vectors.len() != files.rows {
            return Err(IndexError::corrupt(
                format!("vector file {}", vectors_path.display()),
                format!("it has {} rows instead of {}", vectors.len(), files.rows),
            ));
        }
        let graph = match &files.graph_sha256 {
            Some(sha256) => Some(Graph::decode(map(&verified(folder.join(GRAPH_FILE), sha256)?)?, files.rows)?),
            None => None,
        };
        let codes = graph.as_ref().map(|_| encoded(&vectors)).transpose()?;
        Ok(Self { files: files.clone(), vectors: Arc::new(vectors), graph, codes })
    }
}

/// The codes of `vectors` in memory.
pub(crate) fn encoded(vectors: &Vectors) -> Result<Codes> {
    Codes::decode(Buffer::from_vec(Codes::encode(vectors)?), vectors.len(), vectors.dimension())
}

/// `path`, once its bytes are known to be those that were written.
fn verified(path: std::path::PathBuf, sha256: &str) -> Result<std::path::PathBuf> {
    if storage::sha256_file(&path)? == sha256 {
        return Ok(path);
    }
    Err(IndexError::corrupt(format!("cache file {}", path.display()), "its checksum differs from the manifest's"))
}

/// Maps an Arrow file of vectors without copying them.
fn read_vectors(path: &Path, dimension: usize) -> Result<Vectors> {
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
    let decoder = FileDecoder::new(expected, footer.version()).with_require_alignment(true);
    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let span = usize::try_from(block.offset())
            .ok()
            .zip(usize::try_from(block.metaDataLength()).ok().zip(usize::try_from(block.bodyLength()).ok()));
        let (offset, len) = span
            .and_then(|(offset, (head, body))| Some((offset, head.checked_add(body)?)))
            .filter(|(offset, len)| offset.checked_add(*len).is_some_and(|end| end <= footer_at))
            .ok_or_else(|| wrong("a batch lies outside the file".into()))?;
        let data = file.slice_with_length(offset, len);
        let batch = decoder.read_record_batch(block, &data).map_err(|e| wrong(e.to_string()))?;
        batches.push(batch.ok_or_else(|| wrong("a batch is empty".into()))?);
    }
    Vectors::from_batches(dimension, BATCH_SHIFT, &batches)
}

/// Memory-maps a finished cache file.
#[expect(unsafe_code, reason = "mapping a file is unsafe because others could change it")]
fn map(path: &Path) -> Result<Buffer> {
    let file = File::open(path).map_err(IndexError::io("open", path))?;
    // SAFETY: cache files are written to a fresh folder, synced before anyone is told of them, never written again and
    // removed only by unlinking, which leaves existing maps intact.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(IndexError::io("map", path))?;
    Ok(Buffer::from(bytes::Bytes::from_owner(map)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> Vec<(ChunkId, Vec<f32>)> {
        (0..n).map(|i| (ChunkId(i as u64 * 3), vec![i as f32, -1.0, 0.5])).collect()
    }

    #[test]
    fn vectors_return_from_disk_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        for count in [0, 1, 8192, 20_000] {
            let rows = rows(count);
            let vectors = write_vectors(dir.path(), 3, rows.iter().map(|(id, v)| (*id, v.as_slice()))).unwrap();
            assert_eq!(vectors.len(), count);
            assert!(vectors.iter().map(|(_, id, v)| (id, v)).eq(rows.iter().map(|(id, v)| (*id, v.as_slice()))));
            if let Some(last) = count.checked_sub(1) {
                assert_eq!(vectors.row(last), rows[last].1);
                assert_eq!(vectors.find(rows[last].0), Some(last as u32));
                assert_eq!(vectors.find(ChunkId(1)), None);
            }
        }
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("s")).unwrap();
        let rows = rows(40);
        let folder = dir.path().join("s");
        let vectors = write_vectors(&folder, 3, rows.iter().map(|(id, v)| (*id, v.as_slice()))).unwrap();
        let files = Segment::seal(dir.path(), "s".into(), Arc::new(vectors), None).unwrap().files;
        assert_eq!(Segment::open(dir.path(), &files, 3).unwrap().vectors.len(), 40);
        assert!(Segment::open(dir.path(), &files, 4).is_err());
        let path = folder.join(VECTORS_FILE);
        let good = std::fs::read(&path).unwrap();
        for len in [0, 5, 10, 200, good.len() - 1] {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(Segment::open(dir.path(), &files, 3).is_err(), "length {len}");
            assert!(read_vectors(&path, 3).is_err(), "length {len}");
        }
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        assert!(Segment::open(dir.path(), &files, 3).is_err());
    }
}
