//! Lines of a stream with their numbers, none of them longer than a limit.

use std::io::{self, BufRead, BufReader};

use super::encoding::TextStream;
use super::{ByteSource, RowError};

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Bytes of the stream up to its end.
    pub(super) end: u64,
    /// Its bytes with the line break, or, when longer than the limit, how many there were.
    pub(super) content: Result<Vec<u8>, u64>,
}

/// Splits a stream at `\n`, `\r\n` and `\r`.
pub(super) struct Lines {
    reader: BufReader<ByteSource>,
    limit: usize,
    number: u64,
    position: u64,
}

impl Lines {
    pub(super) fn new(text: TextStream, limit: usize) -> Self {
        let reader = BufReader::with_capacity(64 << 10, text.reader);
        Self { reader, limit, number: 0, position: text.skipped }
    }

    /// The next line; `None` at the end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line>> {
        let limit = self.limit as u64;
        let mut bytes = Vec::new();
        let mut length = 0u64;
        loop {
            let buffer = self.fill()?;
            if buffer.is_empty() {
                break;
            }
            let found = buffer.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let take = found.map_or(buffer.len(), |at| at + 1);
            let (piece, last) = (&buffer[..take], buffer.get(take.saturating_sub(1)).copied());
            length += take as u64;
            // A line that is too long is counted to its end but no longer kept.
            if length <= limit {
                bytes.extend_from_slice(piece);
            } else {
                bytes = Vec::new();
            }
            self.reader.consume(take);
            if found.is_none() {
                continue;
            }
            if last == Some(b'\r') && self.fill()?.first() == Some(&b'\n') {
                self.reader.consume(1);
                length += 1;
                bytes.push(b'\n');
            }
            break;
        }
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.position += length;
        let content = if length > limit { Err(length) } else { Ok(bytes) };
        Ok(Some(Line { number: self.number, end: self.position, content }))
    }

    fn fill(&mut self) -> io::Result<&[u8]> {
        loop {
            match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        Ok(self.reader.buffer())
    }
}

/// The row error for a row of `bytes` that is longer than `limit`.
pub(super) fn too_long(line: Option<u64>, row: Option<u64>, bytes: u64, limit: usize) -> RowError {
    let message = format!("the row is longer than the limit of {} ({bytes} bytes) and was skipped", size(limit as u64));
    RowError { line, row, field: None, message }
}

/// A number of bytes for people.
pub(in crate::ingest) fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b >= 1 << 20 => format!("{:.1} MiB", b as f64 / f64::from(1 << 20)),
        b if b >= 1 << 10 => format!("{:.0} KiB", b as f64 / 1024.0),
        b => format!("{b} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::encoding::open_text;
    use super::*;

    fn lines(text: &[u8], limit: usize) -> Vec<Line> {
        let stream = open_text(Box::new(Cursor::new(text.to_vec()))).unwrap();
        let mut lines = Lines::new(stream, limit);
        std::iter::from_fn(|| lines.next_line().unwrap()).collect()
    }

    #[test]
    fn all_three_line_breaks_count_once() {
        let found = lines(b"a\r\nb\rc\n\nd", 100);
        let numbers: Vec<_> = found.iter().map(|l| (l.number, l.content.clone().unwrap())).collect();
        let expected: Vec<(u64, Vec<u8>)> = vec![
            (1, b"a\r\n".to_vec()),
            (2, b"b\r".to_vec()),
            (3, b"c\n".to_vec()),
            (4, b"\n".to_vec()),
            (5, b"d".to_vec()),
        ];
        assert_eq!(numbers, expected);
        assert_eq!(found.last().unwrap().end, 9);
    }

    #[test]
    fn a_long_line_is_counted_but_not_kept() {
        let text = [b"short\n".to_vec(), vec![b'x'; 300_000], b"\nlast\n".to_vec()].concat();
        let found = lines(&text, 1000);
        assert_eq!(found[1].content, Err(300_001));
        assert_eq!(found[2].content, Ok(b"last\n".to_vec()));
        assert_eq!(found[2].number, 3);
    }
}
