//! CSV and TSV. Records are found here, so that a quote that is never closed costs one row and not the rest of the
//! file; their fields are unescaped by `csv_core`.

use std::collections::VecDeque;
use std::sync::Arc;

use anser_core::excerpt;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::encoding::{NOT_UTF8, open_text, utf8};
use super::lines::{Line, Lines, size, too_long};
use super::{ByteSource, Extent, Piece, Placed, RawRow, RawValue, ReadFailure, RowSource, column_list};
use crate::ingest::RowError;

/// Separators that are tried, in this order, when a header holds no comma.
const OTHER_DELIMITERS: [u8; 3] = *b";\t|";

/// Rows of a delimited file with a header.
pub(in crate::ingest) struct DelimitedSource {
    records: Records,
    fields: Fields,
    columns: Vec<Arc<str>>,
    total: Option<u64>,
    row: u64,
}

impl DelimitedSource {
    /// Reads the header. Without a `delimiter` it is found in the header.
    pub(in crate::ingest) fn open(
        reader: ByteSource,
        total: Option<u64>,
        delimiter: Option<u8>,
        limit: usize,
    ) -> Result<Self, ReadFailure> {
        let text = open_text(reader)?;
        let delimiter = delimiter.unwrap_or_else(|| guess_delimiter(&text.prefix));
        let mut records = Records { lines: Lines::new(text, limit), pending: VecDeque::new(), limit, delimiter };
        let mut fields = Fields { reader: ReaderBuilder::new().delimiter(delimiter).build(), ..Fields::default() };
        let Some(header) = records.next_record()? else {
            return Err(ReadFailure::Bad("it holds no header line".to_owned()));
        };
        let bytes = match header.content {
            Err(error) => return Err(ReadFailure::Bad(format!("the header cannot be read: {error}"))),
            Ok(bytes) => bytes,
        };
        let line = header.line;
        let columns = fields
            .split(&bytes)
            .map_err(|_| ReadFailure::Bad(format!("the header on line {line} is {NOT_UTF8}")))?
            .into_iter()
            .enumerate()
            .map(|(at, name)| column_name(at, &name))
            .collect::<Vec<_>>();
        check_unique(&columns)?;
        Ok(Self { records, fields, columns, total, row: 0 })
    }

    fn row_of(&mut self, line: u64, bytes: &[u8]) -> Piece {
        let error =
            |line, message| Piece::Rejected(RowError { line: Some(line), row: Some(self.row), field: None, message });
        let values = match self.fields.split(bytes) {
            Ok(values) => values,
            Err(within) => return error(line + within, NOT_UTF8.to_owned()),
        };
        if values.len() != self.columns.len() {
            let (found, wanted) = (values.len(), self.columns.len());
            let hint = if found > wanted { "; put quotes around fields that hold the separator" } else { "" };
            return error(line, format!("the row has {} but the header has {wanted}{hint}", count(found, "field")));
        }
        let cell = |value: String| if value.is_empty() { RawValue::Missing } else { RawValue::Text(value) };
        let cells = self.columns.iter().cloned().zip(values.into_iter().map(cell)).collect();
        Piece::Row(RawRow { line: Some(line), row: self.row, cells })
    }
}

impl RowSource for DelimitedSource {
    fn extent(&self) -> Extent {
        Extent::Bytes(self.total)
    }

    fn columns(&self) -> Option<Vec<Arc<str>>> {
        Some(self.columns.clone())
    }

    fn next_piece(&mut self) -> Result<Option<Placed>, ReadFailure> {
        let Some(record) = self.records.next_record()? else { return Ok(None) };
        self.row += 1;
        let (piece, bytes) = match record.content {
            Ok(bytes) => (self.row_of(record.line, &bytes), bytes.len()),
            Err(error) => (Piece::Rejected(RowError { row: Some(self.row), ..error }), 0),
        };
        Ok(Some(Placed { piece, position: record.end, bytes }))
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The column's name without surrounding white space; a nameless one is called by its place.
fn column_name(at: usize, name: &str) -> Arc<str> {
    match name.trim() {
        "" => format!("column_{}", at + 1).into(),
        name => name.into(),
    }
}

fn check_unique(columns: &[Arc<str>]) -> Result<(), ReadFailure> {
    let mut sorted: Vec<&str> = columns.iter().map(AsRef::as_ref).collect();
    sorted.sort_unstable();
    match sorted.windows(2).find_map(|pair| (pair[0] == pair[1]).then_some(pair[0])) {
        None => Ok(()),
        Some(twice) => {
            let (twice, all) = (excerpt(twice, 40), column_list(columns.iter().map(AsRef::as_ref)));
            Err(ReadFailure::Bad(format!("its header names the column \"{twice}\" more than once ({all}); rename one")))
        }
    }
}

/// The comma, unless the first line holds none outside quotes but another common separator.
fn guess_delimiter(prefix: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [0usize; OTHER_DELIMITERS.len()];
    for byte in prefix {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            b',' if !quoted => return b',',
            _ if quoted => {}
            other => {
                for (count, delimiter) in counts.iter_mut().zip(OTHER_DELIMITERS) {
                    *count += usize::from(*other == delimiter);
                }
            }
        }
    }
    let most = counts.iter().zip(OTHER_DELIMITERS).rev().max_by_key(|(count, _)| **count);
    most.filter(|(count, _)| **count > 0).map_or(b',', |(_, delimiter)| delimiter)
}

/// A record's bytes, or why they are not one.
struct Record {
    line: u64,
    end: u64,
    content: Result<Vec<u8>, RowError>,
}

/// Groups lines into records, following quotes over line breaks.
struct Records {
    lines: Lines,
    /// Lines to read again, because the record that swallowed them was none.
    pending: VecDeque<Line>,
    limit: usize,
    delimiter: u8,
}

impl Records {
    fn next_line(&mut self) -> Result<Option<Line>, ReadFailure> {
        match self.pending.pop_front() {
            Some(line) => Ok(Some(line)),
            None => Ok(self.lines.next_line()?),
        }
    }

    fn next_record(&mut self) -> Result<Option<Record>, ReadFailure> {
        let first = loop {
            match self.next_line()? {
                None => return Ok(None),
                Some(Line { content: Ok(bytes), .. }) if bytes.iter().all(|b| matches!(b, b'\n' | b'\r')) => {}
                Some(line) => break line,
            }
        };
        let (line, end) = (first.number, first.end);
        let bytes = match first.content {
            Ok(bytes) => bytes,
            Err(length) => {
                let content = Err(too_long(Some(line), None, length, self.limit));
                return Ok(Some(Record { line, end, content }));
            }
        };
        let mut scan = QuoteScan { delimiter: self.delimiter, state: State::FieldStart, opened: line, lines: 0 };
        match scan.line(&bytes, line) {
            Scanned::Complete => Ok(Some(Record { line, end, content: Ok(bytes) })),
            Scanned::Open | Scanned::Broken => self.continue_record(Record { line, end, content: Ok(bytes) }, scan),
        }
    }

    /// Adds lines to a record whose first line ends inside quotes. When the quote is never closed, or closed in the
    /// middle of a field, the first line alone is rejected and the others are read again as rows of their own.
    fn continue_record(&mut self, first: Record, mut scan: QuoteScan) -> Result<Option<Record>, ReadFailure> {
        let Record { line, end, content } = first;
        let first_bytes = content.unwrap_or_default();
        let mut taken: VecDeque<Line> = VecDeque::new();
        let mut length = first_bytes.len();
        let reason = loop {
            let Some(next) = self.next_line()? else { break "is never closed".to_owned() };
            let (number, scanned) = match &next.content {
                Err(_) => (next.number, None),
                Ok(bytes) => {
                    length += bytes.len();
                    (next.number, (length <= self.limit).then(|| scan.line(bytes, next.number)))
                }
            };
            taken.push_back(next);
            match scanned {
                None => break format!("is not closed within the limit of {} for a row", size(self.limit as u64)),
                Some(Scanned::Broken) => break format!("is closed on line {number} in the middle of a field"),
                Some(Scanned::Open) => {}
                Some(Scanned::Complete) => {
                    let mut bytes = first_bytes;
                    let mut end = end;
                    for part in taken {
                        end = part.end;
                        bytes.extend_from_slice(part.content.as_deref().unwrap_or_default());
                    }
                    return Ok(Some(Record { line, end, content: Ok(bytes) }));
                }
            }
        };
        while let Some(line) = taken.pop_back() {
            self.pending.push_front(line);
        }
        let message = format!(
            "the quote opened on line {} {reason}; only this line was skipped, the following ones were read as rows of \
             their own",
            scan.opened
        );
        let error = RowError { line: Some(line), row: None, field: None, message };
        Ok(Some(Record { line, end, content: Err(error) }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// Just after a quote inside quotes: it is doubled, or it was the closing one.
    AfterQuote,
}

/// What a line does to the record.
enum Scanned {
    /// The record ends with this line.
    Complete,
    /// The line ends inside quotes.
    Open,
    /// A quoted field over several lines is followed by something else than a separator: most probably its opening
    /// quote was a stray one, and this "closing" quote opens another row's field.
    Broken,
}

/// Follows quotes by the rules of `csv_core`, but remembers where the last one was opened.
struct QuoteScan {
    delimiter: u8,
    state: State,
    /// The line on which the current quote was opened.
    opened: u64,
    /// Line breaks inside the current quote.
    lines: u64,
}

impl QuoteScan {
    fn line(&mut self, bytes: &[u8], number: u64) -> Scanned {
        for byte in bytes {
            self.state = match (self.state, *byte) {
                (State::FieldStart, b'"') => {
                    (self.opened, self.lines) = (number, 0);
                    State::Quoted
                }
                (State::Quoted, b'"') => State::AfterQuote,
                (State::AfterQuote, b'"') | (State::Quoted, _) => State::Quoted,
                (_, b'\n' | b'\r') => return Scanned::Complete,
                (_, byte) if byte == self.delimiter => State::FieldStart,
                (State::AfterQuote, _) if self.lines > 0 => return Scanned::Broken,
                _ => State::Plain,
            };
        }
        if self.state == State::Quoted {
            self.lines += 1;
            // The end of the source inside quotes is found by the caller, which has no further line to add.
            return Scanned::Open;
        }
        Scanned::Complete
    }
}

/// Splits one record into its unescaped fields.
#[derive(Default)]
struct Fields {
    reader: Reader,
    output: Vec<u8>,
    ends: Vec<usize>,
}

impl Fields {
    /// The fields, or, from 0, the line within the record that is not UTF-8.
    fn split(&mut self, record: &[u8]) -> Result<Vec<String>, u64> {
        self.reader.reset();
        self.output.resize(record.len() + 1, 0);
        self.ends.resize(self.ends.len().max(16), 0);
        let (mut read, mut written, mut found) = (0, 0, 0);
        loop {
            // The empty input after the record's last byte tells the parser that nothing follows.
            let (result, n_in, n_out, n_ends) = self.reader.read_record(
                record.get(read..).unwrap_or_default(),
                &mut self.output[written..],
                &mut self.ends[found..],
            );
            (read, written, found) = (read + n_in, written + n_out, found + n_ends);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.output.resize(self.output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        let mut start = 0;
        let mut fields = Vec::with_capacity(found);
        for end in self.ends.iter().take(found) {
            let bytes = self.output.get(start..*end).unwrap_or_default().to_vec();
            fields.push(utf8(bytes).map_err(|_| utf8(record.to_vec()).err().unwrap_or_default())?);
            start = *end;
        }
        Ok(fields)
    }
}
