//! Where rows come from: one file for each family of formats, all of them read as a stream.

mod columnar;
mod delimited;
mod encoding;
mod json;
mod json_lines;
mod lines;
mod prose;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use anser_core::{Document, excerpt};
use time::OffsetDateTime;

pub(super) use columnar::{ColumnarSource, spool};
pub(super) use delimited::DelimitedSource;
pub(super) use json::open_json;
pub(super) use lines::size;
pub(super) use prose::{ProseSource, prose_files};

use super::RowError;

/// One cell before its column's type is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RawValue {
    /// Nothing.
    Missing,
    /// Text of a format without types: may stand for a number, a time, ...
    Text(String),
    /// Text that the format says is text.
    String(String),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Float(f64),
    /// An instant.
    Time(OffsetDateTime),
    /// Several texts.
    List(Vec<String>),
    /// Several numbers, of a format that has lists of them; one that is missing is not a number.
    Numbers(Vec<f32>),
}

/// One row as the format gave it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RawRow {
    /// Where it begins, in formats with lines.
    pub(super) line: Option<u64>,
    /// Its number, from 1.
    pub(super) row: u64,
    /// Its columns, in the order of the source.
    pub(super) cells: Vec<(Arc<str>, RawValue)>,
}

/// What a source gives, piece by piece.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// A row whose columns have to be mapped.
    Row(RawRow),
    /// A finished document; `row` is its number, from 1.
    Document {
        /// The document.
        document: Document,
        /// Its number, from 1.
        row: u64,
        /// Whether its text is Markdown.
        markdown: bool,
    },
    /// A row that cannot be read.
    Rejected(RowError),
    /// A remark about the source as a whole.
    Note(String),
}

/// A piece with its place in the source.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    /// What was read.
    pub(super) piece: Piece,
    /// How far the source has been read, in the unit of its [`Extent`].
    pub(super) position: u64,
    /// About how many bytes of memory the piece takes.
    pub(super) bytes: usize,
}

/// How much there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Positions are bytes; the total is known for files.
    Bytes(Option<u64>),
    /// Positions are rows; the total is known for Parquet and for documents in memory.
    Rows(Option<u64>),
}

/// Why a source cannot be read any further.
#[derive(Debug)]
pub(super) enum ReadFailure {
    /// The content is unusable: one sentence.
    Bad(String),
    /// Reading failed.
    Io(io::Error),
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Columns' names for a message: the first twenty of them, each short and without control characters.
pub(super) fn column_list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let more = names.len().saturating_sub(MOST);
    let shown: Vec<String> = names.take(MOST).map(|name| excerpt(name, 40)).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", shown.join(", "))
}

/// A stream of rows.
pub(super) trait RowSource: Send {
    /// How much there is.
    fn extent(&self) -> Extent;

    /// The columns, where a header or schema names them before the first row.
    fn columns(&self) -> Option<Vec<Arc<str>>> {
        None
    }

    /// The next piece; `None` at the end.
    fn next_piece(&mut self) -> Result<Option<Placed>, ReadFailure>;
}

/// Documents that lie in memory already.
pub(super) struct DocumentsSource {
    documents: VecDeque<Document>,
    total: u64,
    given: u64,
}

impl DocumentsSource {
    pub(super) fn new(documents: Vec<Document>) -> Self {
        Self { total: documents.len() as u64, documents: documents.into(), given: 0 }
    }
}

impl RowSource for DocumentsSource {
    fn extent(&self) -> Extent {
        Extent::Rows(Some(self.total))
    }

    fn next_piece(&mut self) -> Result<Option<Placed>, ReadFailure> {
        let Some(document) = self.documents.pop_front() else { return Ok(None) };
        self.given += 1;
        let bytes = document.text.len();
        let piece = Piece::Document { document, row: self.given, markdown: false };
        Ok(Some(Placed { piece, position: self.given, bytes }))
    }
}

/// Bytes of unknown origin.
pub(super) type ByteSource = Box<dyn Read + Send>;
