//! Lines of a file with their numbers, none of them kept beyond a limit.

use std::io::{self, BufRead};

/// One line, without its line break.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its bytes or, when there are more than the limit, how many there are.
    pub(super) content: Result<Vec<u8>, u64>,
}

/// Splits a stream at `\n` and `\r\n`.
pub(super) struct Lines<R> {
    reader: R,
    limit: usize,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, number: 0 }
    }

    /// The next line; `None` at the end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line>> {
        let (mut bytes, mut length, mut ended) = (Vec::new(), 0u64, false);
        while !ended {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                break;
            }
            let found = buffer.iter().position(|b| *b == b'\n');
            ended = found.is_some();
            let piece = &buffer[..found.unwrap_or(buffer.len())];
            length += piece.len() as u64;
            // A line that is too long is counted to its end but no longer kept.
            if length <= self.limit as u64 {
                bytes.extend_from_slice(piece);
            } else {
                bytes = Vec::new();
            }
            let taken = piece.len() + usize::from(ended);
            self.reader.consume(taken);
        }
        if length == 0 && !ended {
            return Ok(None);
        }
        self.number += 1;
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let content = if length > self.limit as u64 { Err(length) } else { Ok(bytes) };
        Ok(Some(Line { number: self.number, content }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(io::BufReader::with_capacity(7, text), limit);
        std::iter::from_fn(|| lines.next_line().unwrap()).collect()
    }

    #[test]
    fn line_breaks_of_both_kinds_are_left_out_and_empty_lines_counted() {
        let found: Vec<_> = lines(b"a\r\nb\n\nlast", 100).into_iter().map(|l| (l.number, l.content.unwrap())).collect();
        assert_eq!(found, [(1, b"a".to_vec()), (2, b"b".to_vec()), (3, vec![]), (4, b"last".to_vec())]);
    }

    #[test]
    fn a_long_line_is_counted_but_not_kept() {
        let text = [b"short\n".to_vec(), vec![b'x'; 3000], b"\nlast\n".to_vec()].concat();
        let found = lines(&text, 1000);
        assert_eq!(found[1].content, Err(3000));
        assert_eq!((found[2].number, &found[2].content), (3, &Ok(b"last".to_vec())));
    }
}
