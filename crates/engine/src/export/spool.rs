//! One moment of a collection in temporary files that have no name, so that nothing stays behind whatever happens.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anser_core::{CancelToken, Document, Progress};
use anser_index::{Collection, Filter, ScannedDocument};

use crate::EngineError;
use crate::scan::scan;
use crate::table::AttributeKinds;

/// Documents, a line of JSON each, and the vectors of the same in the same order.
pub(super) struct Spool {
    rows: File,
    vectors: Option<(File, usize)>,
    /// How many documents there are.
    pub(super) documents: u64,
    /// The types that their attributes have.
    pub(super) kinds: AttributeKinds,
}

/// A document with its vector, where vectors were asked for.
pub(super) struct Exported {
    pub(super) document: Document,
    pub(super) vector: Option<Vec<f32>>,
}

impl Spool {
    /// Reads the documents that `filter` lets through, with vectors of so many numbers where a dimension is given.
    pub(super) fn fill(
        folder: &Path,
        collection: &Collection,
        filter: Option<&Filter>,
        dimension: Option<usize>,
        (progress, cancel): (&dyn Progress, &CancelToken),
    ) -> Result<Self, EngineError> {
        let file =
            || tempfile::tempfile_in(folder).map_err(|e| EngineError::io("create a temporary file in", folder, e));
        let failed = |e| EngineError::io("write a temporary file in", folder, e);
        let mut rows = BufWriter::new(file()?);
        let mut vectors = dimension.map(|_| file().map(BufWriter::new)).transpose()?;
        let mut kinds = AttributeKinds::with_lists();
        let mut documents = 0_u64;
        scan(collection, filter, |ScannedDocument { document, embedding }| {
            cancel.check()?;
            kinds.add(&document.attributes);
            let line = EngineError::store_json(&document)?;
            rows.write_all(line.as_bytes()).and_then(|()| rows.write_all(b"\n")).map_err(failed)?;
            if let Some(out) = &mut vectors {
                for value in embedding.as_slice() {
                    out.write_all(&value.to_le_bytes()).map_err(failed)?;
                }
            }
            documents += 1;
            progress.set(documents);
            Ok(())
        })?;
        let whole = |out: BufWriter<File>| out.into_inner().map_err(|e| failed(e.into_error()));
        let vectors = vectors.map(whole).transpose()?.zip(dimension);
        Ok(Self { rows: whole(rows)?, vectors, documents, kinds })
    }

    /// Numbers of each vector, where there are vectors.
    pub(super) fn dimension(&self) -> Option<usize> {
        self.vectors.as_ref().map(|(_, dimension)| *dimension)
    }

    /// All documents in order of id, read as they are asked for.
    pub(super) fn read(&self) -> Result<impl Iterator<Item = Result<Exported, EngineError>>, EngineError> {
        let failed = |e| EngineError::io("read a temporary file of", "the export", e);
        let from_start = |mut file: &File| -> Result<File, EngineError> {
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            file.try_clone().map_err(failed)
        };
        let mut lines = BufReader::new(from_start(&self.rows)?).lines();
        let mut vectors = match &self.vectors {
            Some((file, dimension)) => Some((BufReader::new(from_start(file)?), vec![0_u8; dimension * 4])),
            None => None,
        };
        Ok(std::iter::from_fn(move || {
            let line = lines.next()?;
            let read = || -> Result<Exported, EngineError> {
                let line = line.map_err(failed)?;
                let document: Document = EngineError::parse_stored(&line, "document of", "the export")?;
                let vector = match &mut vectors {
                    Some((file, bytes)) => {
                        file.read_exact(bytes).map_err(failed)?;
                        let (numbers, _) = bytes.as_chunks::<4>();
                        Some(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
                    }
                    None => None,
                };
                Ok(Exported { document, vector })
            };
            Some(read())
        }))
    }
}
