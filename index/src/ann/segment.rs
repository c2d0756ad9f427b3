//! Segments on disk: vectors, their codes, and a graph over them, in a folder of their own that is never changed.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anser_core::{CancelToken, storage};
use arrow::buffer::Buffer;
use serde::{Deserialize, Serialize};

use super::calibrate::{Calibration, calibrate};
use super::checksum::{FileSum, Summing};
use super::codes::Codes;
use super::graph::Graph;
use super::vector_file::{VectorWriter, map, read_vectors};
use super::vectors::Vectors;
use super::{GraphBuilder, HnswParams, build_graph};
use crate::{IndexError, Result};

/// Name of the vectors in a segment's folder.
pub(crate) const VECTORS_FILE: &str = "vectors.arrow";
/// Name of the codes in a segment's folder.
const CODES_FILE: &str = "codes.int8";
/// Name of the graph in a segment's folder.
const GRAPH_FILE: &str = "graph.hnsw";
/// Files up to this size are verified when they are opened, larger ones while they are searched already.
const VERIFY_AT_ONCE: u64 = 64 << 20;
/// A segment with fewer rows is compared row by row, which is as fast as walking a graph.
const MIN_GRAPH_ROWS: usize = 512;

/// What the manifest says about a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentFiles {
    /// The segment's folder inside the cache folder.
    pub(crate) folder: String,
    /// Rows in it.
    pub(crate) rows: usize,
    vectors: FileSum,
    /// A small segment has no graph.
    graph: Option<GraphFiles>,
}

/// What the manifest says about a graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphFiles {
    codes: FileSum,
    links: FileSum,
    /// Links per row and layer.
    m: usize,
    ef_construction: usize,
    builder: GraphBuilder,
    /// The beam widths that reach some recalls, by rising recall.
    calibration: Vec<Calibration>,
}

/// Immutable vectors and, unless there are few, a graph over them.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its entry in the manifest.
    pub(crate) files: SegmentFiles,
    /// The rows.
    pub(crate) vectors: Arc<Vectors>,
    /// What makes searching them quick. A segment that should have it but whose files were damaged has none.
    pub(crate) index: Option<SegmentIndex>,
    /// Whether all its bytes are known to be those that were written.
    verified: AtomicBool,
}

/// A graph over the rows of a segment and their codes.
#[derive(Debug, Clone)]
pub(crate) struct SegmentIndex {
    pub(crate) codes: Codes,
    pub(crate) graph: Graph,
}

/// Which files of a segment are not what was written.
#[derive(Debug)]
pub(crate) enum Damage {
    /// Its vectors, and with them everything.
    Vectors(IndexError),
    /// Only what can be made again from its vectors.
    Index(IndexError),
}

impl Segment {
    /// Completes the segment whose vectors were just written to `cache`/`folder`: codes, graph and the beam it needs,
    /// durably.
    pub(crate) fn complete(
        (cache, folder): (&Path, String),
        (vectors, sum): (Vectors, FileSum),
        params: &HnswParams,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let path = cache.join(&folder);
        let vectors = Arc::new(vectors);
        let made = if vectors.len() < MIN_GRAPH_ROWS { None } else { Some(index(&path, &vectors, params, cancel)?) };
        let (index, graph) = made.unzip();
        storage::sync_folder(&path)?;
        let files = SegmentFiles { folder, rows: vectors.len(), vectors: sum, graph };
        Ok(Self { files, vectors, index, verified: AtomicBool::new(true) })
    }

    /// The segment whose vectors were just written to `cache`/`folder`, without a graph for now.
    pub(crate) fn without_graph((cache, folder): (&Path, String), (vectors, sum): (Vectors, FileSum)) -> Result<Self> {
        storage::sync_folder(&cache.join(&folder))?;
        let files = SegmentFiles { folder, rows: vectors.len(), vectors: sum, graph: None };
        Ok(Self { files, vectors: Arc::new(vectors), index: None, verified: AtomicBool::new(true) })
    }

    /// Maps the segment that the manifest describes. Sizes are checked, and the bytes of small files; the others are left
    /// to [`verify`](Self::verify). Where only codes or graph are damaged, it has none.
    pub(crate) fn open(cache: &Path, files: &SegmentFiles, dimension: usize) -> Result<Self> {
        let folder = cache.join(&files.folder);
        let vectors_path = folder.join(VECTORS_FILE);
        let mut verified = looked_at(&vectors_path, &files.vectors)?;
        let vectors = read_vectors(&vectors_path, dimension)?;
        if vectors.len() != files.rows {
            return Err(IndexError::corrupt(
                format!("vector file {}", vectors_path.display()),
                format!("it has {} rows instead of {}", vectors.len(), files.rows),
            ));
        }
        let open_index = |graph: &GraphFiles| {
            let (codes, links) = (folder.join(CODES_FILE), folder.join(GRAPH_FILE));
            let verified = looked_at(&codes, &graph.codes)? & looked_at(&links, &graph.links)?;
            let codes = Codes::decode(map(&codes)?, files.rows, dimension)?;
            Ok::<_, IndexError>((verified, SegmentIndex { codes, graph: Graph::decode(map(&links)?, files.rows)? }))
        };
        let index = match files.graph.as_ref().map(open_index).transpose() {
            Ok(None) => None,
            Ok(Some((graph_verified, index))) => {
                verified &= graph_verified;
                Some(index)
            }
            Err(e) => {
                tracing::warn!(error = %e, "a graph cannot be used; its vectors are compared one by one until it is made anew");
                None
            }
        };
        Ok(Self { files: files.clone(), vectors: Arc::new(vectors), index, verified: AtomicBool::new(verified) })
    }

    /// Reads what was not read when it was opened and compares it with the manifest.
    pub(crate) fn verify(&self, cache: &Path, cancel: &CancelToken) -> std::result::Result<(), Damage> {
        if self.is_verified() {
            return Ok(());
        }
        let folder = cache.join(&self.files.folder);
        self.files.vectors.verify(&folder.join(VECTORS_FILE), cancel).map_err(Damage::Vectors)?;
        if let (Some(graph), Some(_)) = (&self.files.graph, &self.index) {
            graph.codes.verify(&folder.join(CODES_FILE), cancel).map_err(Damage::Index)?;
            graph.links.verify(&folder.join(GRAPH_FILE), cancel).map_err(Damage::Index)?;
        }
        self.verified.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether all its bytes are known to be those that were written.
    pub(crate) fn is_verified(&self) -> bool {
        self.verified.load(Ordering::Acquire)
    }

    /// As if it had been opened without being read.
    #[cfg(test)]
    pub(crate) fn forget_verification(&self) {
        self.verified.store(false, Ordering::Release);
    }

    /// The same rows without codes and graph, which turned out to be damaged.
    pub(crate) fn stripped(&self) -> Self {
        let (files, vectors) = (self.files.clone(), Arc::clone(&self.vectors));
        Self { files, vectors, index: None, verified: AtomicBool::new(true) }
    }

    /// Whether it should have a graph and has none.
    pub(crate) fn lacks_graph(&self) -> bool {
        self.index.is_none() && self.vectors.len() >= MIN_GRAPH_ROWS
    }

    /// The beam width that reaches `recall` in its graph: the one measured for the next higher recall, or the widest.
    pub(crate) fn ef_for(&self, recall: f64) -> Option<usize> {
        let measured = &self.files.graph.as_ref()?.calibration;
        measured.iter().find(|c| c.recall >= recall).or(measured.last()).map(|c| c.ef)
    }

    /// Most links of a row in its graph.
    pub(crate) fn links(&self) -> usize {
        self.files.graph.as_ref().map_or(0, |graph| 2 * graph.m)
    }

    /// Bytes of its files, which are mapped.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        let graph = self.files.graph.as_ref().filter(|_| self.index.is_some());
        self.files.vectors.bytes + graph.map_or(0, |graph| graph.codes.bytes + graph.links.bytes)
    }
}

/// Begins the vectors of a segment in `folder`.
pub(crate) fn write_vectors(folder: &Path, dimension: usize) -> Result<VectorWriter> {
    VectorWriter::create(folder.join(VECTORS_FILE), dimension)
}

/// Makes codes and graph of `vectors` in `folder`.
fn index(
    folder: &Path,
    vectors: &Arc<Vectors>,
    params: &HnswParams,
    cancel: &CancelToken,
) -> Result<(SegmentIndex, GraphFiles)> {
    let (codes_file, codes_sum) = write(&folder.join(CODES_FILE), &Codes::encode(vectors)?)?;
    let codes = Codes::decode(codes_file, vectors.len(), vectors.dimension())?;
    let (links_file, links) = write(&folder.join(GRAPH_FILE), &build_graph(vectors, &codes, params, cancel)?)?;
    let graph = Graph::decode(links_file, vectors.len())?;
    let calibration = calibrate(&graph, vectors, &codes, cancel)?;
    let HnswParams { m, ef_construction, builder, .. } = *params;
    let files = GraphFiles { codes: codes_sum, links, m, ef_construction, builder, calibration };
    Ok((SegmentIndex { codes, graph }, files))
}

/// Writes a file durably and maps it.
fn write(path: &Path, bytes: &[u8]) -> Result<(Buffer, FileSum)> {
    let mut file = Summing::new(File::create(path).map_err(IndexError::io("create", path))?);
    file.write_all(bytes).map_err(IndexError::io("write", path))?;
    let (sum, file) = file.finish();
    file.sync_all().map_err(IndexError::io("sync", path))?;
    Ok((map(path)?, sum))
}

/// Checks the size of a file and, if it is small, its bytes; returns whether its bytes are known to be right.
fn looked_at(path: &Path, sum: &FileSum) -> Result<bool> {
    sum.check_size(path)?;
    if sum.bytes > VERIFY_AT_ONCE {
        return Ok(false);
    }
    sum.verify(path, &CancelToken::new())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use anser_core::ChunkId;

    use super::*;

    const PARAMS: HnswParams = HnswParams { m: 8, ef_construction: 40, threads: 1, builder: GraphBuilder::HnswRs };

    fn written(cache: &Path, name: &str, rows: u16) -> Segment {
        let folder = cache.join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut writer = write_vectors(&folder, 2).unwrap();
        for i in 0..rows {
            let (sin, cos) = (f32::from(i) * 0.01).sin_cos();
            writer.push(ChunkId(u64::from(i)), &[sin, cos]).unwrap();
        }
        Segment::complete((cache, name.into()), writer.finish().unwrap(), &PARAMS, &CancelToken::new()).unwrap()
    }

    #[test]
    fn a_segment_returns_with_its_graph_and_its_beam() {
        let dir = tempfile::tempdir().unwrap();
        let made = written(dir.path(), "s", 600);
        let json = serde_json::to_string(&made.files).unwrap();
        let files: SegmentFiles = serde_json::from_str(&json).unwrap();
        let opened = Segment::open(dir.path(), &files, 2).unwrap();
        assert_eq!(opened.files, made.files);
        assert!(opened.index.is_some() && opened.is_verified() && !opened.lacks_graph());
        assert_eq!(opened.ef_for(0.95), made.ef_for(0.95));
        assert!(opened.ef_for(0.9).unwrap() <= opened.ef_for(0.99).unwrap());
        let on_disk: u64 =
            std::fs::read_dir(dir.path().join("s")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(opened.mapped_bytes(), on_disk);
        let small = written(dir.path(), "t", 40);
        assert!(small.index.is_none() && !small.lacks_graph() && small.ef_for(0.9).is_none());
    }

    #[test]
    fn damage_to_vectors_is_refused_and_damage_to_the_graph_costs_the_graph() {
        let dir = tempfile::tempdir().unwrap();
        let files = written(dir.path(), "s", 600).files;
        for name in [VECTORS_FILE, CODES_FILE, GRAPH_FILE] {
            let path = dir.path().join("s").join(name);
            let good = std::fs::read(&path).unwrap();
            let mut flipped = good.clone();
            flipped[good.len() / 2] ^= 1;
            for bad in [Some(&good[..good.len() - 1]), Some(&flipped), None] {
                std::fs::remove_file(&path).unwrap();
                if let Some(bad) = bad {
                    std::fs::write(&path, bad).unwrap();
                }
                let opened = Segment::open(dir.path(), &files, 2);
                if name == VECTORS_FILE {
                    assert!(opened.is_err());
                } else {
                    assert!(opened.unwrap().lacks_graph(), "{name}");
                }
                std::fs::write(&path, &good).unwrap();
            }
        }
        assert!(Segment::open(dir.path(), &files, 3).is_err());
        assert!(!Segment::open(dir.path(), &files, 2).unwrap().lacks_graph());
    }

    #[test]
    fn damage_that_was_not_looked_for_at_once_is_found_later() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = CancelToken::new();
        for name in [VECTORS_FILE, CODES_FILE, GRAPH_FILE] {
            let segment = written(dir.path(), name, 600);
            segment.verified.store(false, Ordering::Release);
            segment.verify(dir.path(), &cancel).unwrap();
            assert!(segment.is_verified());
            segment.verified.store(false, Ordering::Release);
            let path = dir.path().join(name).join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
            match segment.verify(dir.path(), &cancel).unwrap_err() {
                Damage::Vectors(_) => assert_eq!(name, VECTORS_FILE),
                Damage::Index(_) => assert_ne!(name, VECTORS_FILE),
            }
            assert!(!segment.is_verified() && segment.stripped().lacks_graph());
        }
    }
}
