//! One immutable piece of the keyword index: a tantivy segment, on disk or in memory.
//!
//! tantivy keeps the dictionary of terms, the compressed postings with positions, the lengths of the texts, and the number
//! of each row's chunk. The texts themselves are not in it. Rows ascend by chunk id.

use std::path::Path;
use std::sync::Arc;

use anser_core::ChunkId;
use roaring::RoaringBitmap;
use tantivy::directory::{Directory, MmapDirectory, OwnedBytes, RamDirectory};
use tantivy::fastfield::{AliveBitSet, Column, write_alive_bitset};
use tantivy::fieldnorm::FieldNormReader;
use tantivy::index::{InvertedIndexReader, SegmentReader};
use tantivy::indexer::merge_filtered_segments;
use tantivy::schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::store::Compressor;
use tantivy::tokenizer::{TextAnalyzer, TokenizerManager};
use tantivy::{BitSet, Index, IndexSettings, SingleSegmentIndexWriter, TantivyDocument, TantivyError};

use super::analyser::Analyser;
use crate::{IndexError, Result};

/// Name of the analyser in tantivy's schema.
const ANALYSER: &str = "anser";
const CHUNK: &str = "chunk";
/// Memory that a new piece reserves for its table of terms; it grows with what it takes in.
const TABLE_BYTES: usize = 1 << 20;

/// The texts of a chunk that are searched.
pub(super) const FIELDS: [TextField; 2] = [TextField::Title, TextField::Text];

/// A text of a chunk that is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextField {
    /// Its document's title.
    Title,
    /// Its own text.
    Text,
}

impl TextField {
    fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Text => "text",
        }
    }

    /// The field in every schema made here.
    pub(super) fn id(self) -> Field {
        Field::from_field_id(1 + self as u32)
    }
}

/// A chunk as it is taken in.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) chunk: ChunkId,
    pub(super) title: Option<String>,
    pub(super) text: String,
}

/// Lengths of one field's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lengths {
    /// Texts with a term.
    pub(super) texts: u64,
    /// Terms in all of them, as the stored lengths have it: exact below 40, with three significant bits above.
    pub(super) terms: u64,
}

impl Lengths {
    /// Adds a text of `terms` terms.
    pub(super) fn add(&mut self, terms: u32) {
        self.texts += u64::from(terms > 0);
        self.terms += u64::from(terms);
    }

    /// All but those of `other`, which are among them.
    pub(super) fn without(self, other: Self) -> Self {
        Self { texts: self.texts.saturating_sub(other.texts), terms: self.terms.saturating_sub(other.terms) }
    }
}

/// What is read of one field.
struct FieldReader {
    postings: Arc<InvertedIndexReader>,
    lengths: FieldNormReader,
}

/// A piece of the index.
pub(super) struct Part {
    /// Its folder's name, when it is on disk.
    pub(super) folder: Option<String>,
    /// Rows, removed ones included.
    pub(super) rows: u32,
    /// Of all rows, by field.
    pub(super) lengths: [Lengths; 2],
    index: Index,
    chunks: Column<u64>,
    fields: [FieldReader; 2],
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("folder", &self.folder).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Part {
    /// A piece in memory with `rows`, which ascend by chunk id and are at least one.
    pub(super) fn build(rows: &[Row], analyser: &Analyser) -> Result<Self> {
        // tantivy asks for its default analyser even for a column of numbers.
        let tokenizers = TokenizerManager::default();
        tokenizers.register(ANALYSER, TextAnalyzer::from(analyser.clone()));
        let builder = Index::builder().schema(schema()).settings(settings()).tokenizers(tokenizers);
        let mut writer: SingleSegmentIndexWriter =
            builder.single_segment_index_writer(RamDirectory::create(), TABLE_BYTES).map_err(|e| unwritable(&e))?;
        for row in rows {
            let mut document = TantivyDocument::default();
            document.add_u64(Field::from_field_id(0), row.chunk.0);
            if let Some(title) = &row.title {
                document.add_text(TextField::Title.id(), title);
            }
            document.add_text(TextField::Text.id(), &row.text);
            writer.add_document(document).map_err(|e| unwritable(&e))?;
        }
        Self::read(writer.finalize().map_err(|e| unwritable(&e))?, None)
    }

    /// The rows of `parts` that are not removed, as one piece: on disk in the empty folder `folder` below `parent`, or in
    /// memory. `None` when no row is left. The ids of the parts ascend from one to the next.
    pub(super) fn merge(parts: &[(&Self, &RoaringBitmap)], target: Option<(&Path, String)>) -> Result<Option<Self>> {
        let live: Vec<_> =
            parts.iter().filter(|(part, removed)| removed.len() < u64::from(part.rows)).copied().collect();
        if live.is_empty() {
            return Ok(None);
        }
        let (mut segments, mut kept) = (Vec::new(), Vec::new());
        for (part, removed) in live {
            let of = part.index.searchable_segments().map_err(unreadable)?;
            kept.extend(of.iter().map(|_| (!removed.is_empty()).then(|| alive(part.rows, removed))));
            segments.extend(of);
        }
        let directory: Box<dyn Directory> = match &target {
            Some((parent, folder)) => Box::new(
                MmapDirectory::open(parent.join(folder)).map_err(TantivyError::from).map_err(|e| unwritable(&e))?,
            ),
            None => Box::new(RamDirectory::create()),
        };
        let index = merge_filtered_segments(&segments, settings(), kept, directory).map_err(|e| unwritable(&e))?;
        Self::read(index, target.map(|(_, folder)| folder)).map(Some)
    }

    /// The piece in the folder called `folder` below `parent`, which has `rows` rows.
    pub(super) fn open(parent: &Path, folder: &str, rows: u32) -> Result<Self> {
        let directory = MmapDirectory::open(parent.join(folder)).map_err(TantivyError::from).map_err(unreadable)?;
        let part = Self::read(Index::open(directory).map_err(unreadable)?, Some(folder.to_owned()))?;
        if part.rows != rows {
            return Err(IndexError::corrupt("keyword index", format!("{} rows instead of {rows}", part.rows)));
        }
        Ok(part)
    }

    fn read(index: Index, folder: Option<String>) -> Result<Self> {
        let wrong = |reason: &str| IndexError::corrupt("keyword index", reason);
        if index.schema() != schema() {
            return Err(wrong("it has other fields"));
        }
        let segments = index.searchable_segments().map_err(unreadable)?;
        let [segment] = segments.as_slice() else { return Err(wrong("it does not have one segment")) };
        let reader = SegmentReader::open(segment).map_err(unreadable)?;
        let chunks = reader.fast_fields().u64(CHUNK).map_err(unreadable)?;
        let rows = reader.max_doc();
        let field = |field: TextField| -> Result<FieldReader> {
            Ok(FieldReader {
                postings: reader.inverted_index(field.id()).map_err(unreadable)?,
                lengths: reader.get_fieldnorms_reader(field.id()).map_err(unreadable)?,
            })
        };
        let fields = [field(TextField::Title)?, field(TextField::Text)?];
        if chunks.num_docs() != rows || fields.iter().any(|field| field.lengths.num_docs() != rows) {
            return Err(wrong("its columns are not as long as it is"));
        }
        let mut lengths = [Lengths::default(); 2];
        for (lengths, field) in lengths.iter_mut().zip(&fields) {
            (0..rows).for_each(|row| lengths.add(field.lengths.fieldnorm(row)));
        }
        Ok(Self { folder, rows, lengths, index, chunks, fields })
    }

    /// The chunk of a row.
    pub(super) fn chunk(&self, row: u32) -> ChunkId {
        ChunkId(self.chunks.first(row).unwrap_or_default())
    }

    /// The row of a chunk; removed ones are found too.
    pub(super) fn find(&self, chunk: ChunkId) -> Option<u32> {
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.chunk(middle) < chunk { low = middle + 1 } else { high = middle }
        }
        (low < self.rows && self.chunk(low) == chunk).then_some(low)
    }

    /// The dictionary and the postings of a field.
    pub(super) fn postings(&self, field: TextField) -> &InvertedIndexReader {
        &self.field(field).postings
    }

    /// The lengths of a field's texts, by row.
    pub(super) fn text_lengths(&self, field: TextField) -> &FieldNormReader {
        &self.field(field).lengths
    }

    fn field(&self, field: TextField) -> &FieldReader {
        let [title, text] = &self.fields;
        match field {
            TextField::Title => title,
            TextField::Text => text,
        }
    }

    /// The lengths of some rows' texts, by field.
    pub(super) fn lengths_of(&self, rows: impl Iterator<Item = u32>) -> [Lengths; 2] {
        let mut sums = [Lengths::default(); 2];
        for row in rows.filter(|row| *row < self.rows) {
            for (sum, field) in sums.iter_mut().zip(&self.fields) {
                sum.add(field.lengths.fieldnorm(row));
            }
        }
        sums
    }
}

fn schema() -> Schema {
    let indexing =
        TextFieldIndexing::default().set_tokenizer(ANALYSER).set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let options = TextOptions::default().set_indexing_options(indexing);
    let mut schema = Schema::builder();
    schema.add_u64_field(CHUNK, FAST);
    for field in FIELDS {
        schema.add_text_field(field.name(), options.clone());
    }
    schema.build()
}

fn settings() -> IndexSettings {
    IndexSettings {
        docstore_compression: Compressor::None,
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    }
}

fn alive(rows: u32, removed: &RoaringBitmap) -> AliveBitSet {
    let mut bits = BitSet::with_max_value_and_full(rows);
    removed.iter().filter(|row| *row < rows).for_each(|row| bits.remove(row));
    let mut bytes = Vec::new();
    // Writing to memory cannot fail; if it did, nothing would count as removed from a piece without bytes.
    if write_alive_bitset(&bits, &mut bytes).is_err() {
        tracing::error!("the removed rows of the keyword index cannot be noted");
    }
    AliveBitSet::open(OwnedBytes::new(bytes))
}

/// tantivy could not read what it wrote.
pub(super) fn unreadable(error: TantivyError) -> IndexError {
    IndexError::corrupt("keyword index", error)
}

/// tantivy could not write.
fn unwritable(error: &TantivyError) -> IndexError {
    IndexError::Io { action: "write", path: "keyword index".into(), source: std::io::Error::other(error.to_string()) }
}
