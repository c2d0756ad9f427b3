//! A JSON array of objects, alone or as a member of one object. Elements are cut out one by one, so that a large file
//! is never held in memory and a bad element costs one row.

use std::io::{self, BufRead, BufReader};

use super::encoding::{TextStream, open_text};
use super::json_lines::{JsonLinesSource, row_of};
use super::lines::too_long;
use super::{ByteSource, Extent, Piece, Placed, ReadFailure, RowSource};

/// Longest name of a member beside the array, in bytes.
const MAX_KEY_BYTES: usize = 4096;

/// Opens JSON; a file whose lines are objects of their own is read as JSON Lines, whatever it is called.
pub(in crate::ingest) fn open_json(
    reader: ByteSource,
    lines: bool,
    total: Option<u64>,
    limit: usize,
) -> Result<Box<dyn RowSource>, ReadFailure> {
    let text = open_text(reader)?;
    if lines || has_objects_on_lines(&text.prefix) {
        return Ok(Box::new(JsonLinesSource::new(text, total, limit)));
    }
    Ok(Box::new(JsonSource::open(text, total, limit)?))
}

/// Whether the first line is an object by itself and another one follows.
fn has_objects_on_lines(prefix: &[u8]) -> bool {
    let mut lines = prefix.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    first.starts_with(b"{")
        && lines.next().is_some_and(|line| line.starts_with(b"{"))
        && serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(first).is_ok()
}

/// Elements of an array.
struct JsonSource {
    bytes: Bytes,
    limit: usize,
    total: Option<u64>,
    row: u64,
    /// The array is a member of this name.
    member: Option<String>,
    state: Place,
    note: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    FirstElement,
    NextElement,
    AfterArray,
    End,
}

impl JsonSource {
    fn open(text: TextStream, total: Option<u64>, limit: usize) -> Result<Self, ReadFailure> {
        let mut bytes = Bytes::new(text);
        let member = match bytes.skip_space()? {
            Some(b'[') => None,
            Some(b'{') => {
                bytes.bump()?;
                Some(find_array(&mut bytes)?)
            }
            _ => {
                return Err(ReadFailure::Bad("it is not JSON that holds rows: it must begin with [ or {".to_owned()));
            }
        };
        bytes.bump()?;
        Ok(Self { bytes, limit, total, row: 0, member, state: Place::FirstElement, note: None })
    }

    fn broken(&self, wanted: &str, found: Option<u8>) -> ReadFailure {
        ReadFailure::Bad(broken(self.bytes.line, wanted, found))
    }

    /// Moves to the next element; `false` after the last one.
    fn find_element(&mut self) -> Result<bool, ReadFailure> {
        match (self.state, self.bytes.skip_space()?) {
            (Place::FirstElement | Place::NextElement, Some(b']')) => {
                self.bytes.bump()?;
                self.state = Place::AfterArray;
                Ok(false)
            }
            (Place::FirstElement, Some(_)) => Ok(true),
            (Place::NextElement, Some(b',')) => {
                self.bytes.bump()?;
                match self.bytes.skip_space()? {
                    found @ (None | Some(b']' | b',')) => Err(self.broken("an object", found)),
                    Some(_) => Ok(true),
                }
            }
            (Place::NextElement, found) => Err(self.broken("\",\" or \"]\" after a row", found)),
            (_, found) => Err(self.broken("\"]\"", found)),
        }
    }

    /// Looks at what follows the array; nothing else in it is read as rows.
    fn finish(&mut self) -> Result<(), ReadFailure> {
        self.state = Place::End;
        let Some(member) = self.member.clone() else {
            return match self.bytes.skip_space()? {
                None => Ok(()),
                found => Err(self.broken("the end of the file after the array", found)),
            };
        };
        loop {
            match self.bytes.skip_space()? {
                Some(b',') => {
                    self.bytes.bump()?;
                    self.bytes.skip_space()?;
                }
                Some(b'}') => return Ok(()),
                found => return Err(self.broken("\",\" or \"}\" after a member", found)),
            }
            let key = read_key(&mut self.bytes)?;
            if self.bytes.skip_space()? == Some(b'[') {
                self.note.get_or_insert(format!(
                    "only the array \"{member}\" was read; the file holds another one called \"{key}\""
                ));
            }
            self.bytes.skip_value()?;
        }
    }

    fn element(&mut self) -> Result<Placed, ReadFailure> {
        self.row += 1;
        let line = self.bytes.line;
        let mut buffer = Vec::new();
        let length = self.bytes.value(|byte, length| {
            if length <= self.limit as u64 {
                buffer.push(byte);
            } else {
                buffer = Vec::new();
            }
        })?;
        self.state = Place::NextElement;
        let (bytes, piece) = if length > self.limit as u64 {
            (0, Piece::Rejected(too_long(Some(line), Some(self.row), length, self.limit)))
        } else {
            (buffer.len(), row_of(buffer, Some(line), self.row))
        };
        Ok(Placed { piece, position: self.bytes.position, bytes })
    }
}

impl RowSource for JsonSource {
    fn extent(&self) -> Extent {
        Extent::Bytes(self.total)
    }

    fn next_piece(&mut self) -> Result<Option<Placed>, ReadFailure> {
        if matches!(self.state, Place::FirstElement | Place::NextElement) && self.find_element()? {
            return self.element().map(Some);
        }
        if self.state == Place::AfterArray {
            self.finish()?;
        }
        let position = self.bytes.position;
        Ok(self.note.take().map(|note| Placed { piece: Piece::Note(note), position, bytes: 0 }))
    }
}

/// Moves to the first member that is an array of objects, and gives its name.
fn find_array(bytes: &mut Bytes) -> Result<String, ReadFailure> {
    loop {
        match bytes.skip_space()? {
            Some(b'}') => {
                let reason = "it is a JSON object without an array of objects in it; rows are expected as [{...}, ...]";
                return Err(ReadFailure::Bad(reason.to_owned()));
            }
            Some(b',') => {
                bytes.bump()?;
                bytes.skip_space()?;
            }
            _ => {}
        }
        let key = read_key(bytes)?;
        if bytes.skip_space()? != Some(b'[') || !bytes.array_begins_with_object()? {
            bytes.skip_value()?;
            continue;
        }
        return Ok(key);
    }
}

/// Reads `"key" :`.
fn read_key(bytes: &mut Bytes) -> Result<String, ReadFailure> {
    let found = bytes.skip_space()?;
    if found != Some(b'"') {
        return Err(ReadFailure::Bad(broken(bytes.line, "a member's name in quotes", found)));
    }
    let mut raw = Vec::new();
    bytes.value(|byte, length| {
        if length <= MAX_KEY_BYTES as u64 {
            raw.push(byte);
        }
    })?;
    let found = bytes.skip_space()?;
    if found != Some(b':') {
        return Err(ReadFailure::Bad(broken(bytes.line, "\":\" after a member's name", found)));
    }
    bytes.bump()?;
    Ok(serde_json::from_slice(&raw).unwrap_or_else(|_| String::from_utf8_lossy(&raw).into_owned()))
}

fn broken(line: u64, wanted: &str, found: Option<u8>) -> String {
    let found = found.map_or("the end of the file".to_owned(), |byte| format!("\"{}\"", byte.escape_ascii()));
    format!("the JSON is broken at line {line}: expected {wanted}, found {found}")
}

/// A stream of bytes that knows where one JSON value ends.
struct Bytes {
    reader: BufReader<ByteSource>,
    line: u64,
    position: u64,
    /// Put back by [`Bytes::array_begins_with_object`]: `[` was consumed and has to be seen again.
    bracket: bool,
}

impl Bytes {
    fn new(text: TextStream) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, text.reader),
            line: 1,
            position: text.skipped,
            bracket: false,
        }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.bracket {
            return Ok(Some(b'['));
        }
        loop {
            match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(buffer) => return Ok(buffer.first().copied()),
            }
        }
    }

    fn bump(&mut self) -> io::Result<()> {
        if self.bracket {
            self.bracket = false;
        } else if let Some(byte) = self.peek()? {
            self.reader.consume(1);
            self.position += 1;
            self.line += u64::from(byte == b'\n');
        }
        Ok(())
    }

    /// The first byte that is not white space, still unread.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.bump()?,
                other => return Ok(other),
            }
        }
    }

    /// Whether the array ahead has an object as its first element; nothing is lost by asking.
    fn array_begins_with_object(&mut self) -> io::Result<bool> {
        self.bump()?;
        let first = self.skip_space()?;
        self.bracket = true;
        Ok(first == Some(b'{'))
    }

    fn skip_value(&mut self) -> Result<(), ReadFailure> {
        self.value(|_, _| ()).map(|_| ())
    }

    /// Consumes one value, giving each of its bytes with the length so far; returns the length. Only the nesting is
    /// looked at: whether the value is JSON is for a parser to say.
    fn value(&mut self, mut keep: impl FnMut(u8, u64)) -> Result<u64, ReadFailure> {
        let begun = self.line;
        let (mut depth, mut quoted, mut escaped, mut length) = (0u64, false, false, 0u64);
        loop {
            let Some(byte) = self.peek()? else {
                if depth == 0 && !quoted && length > 0 {
                    return Ok(length);
                }
                let reason = format!("the JSON ends in the middle of the value that begins at line {begun}");
                return Err(ReadFailure::Bad(reason));
            };
            // At the outermost level a number or a word ends before the first byte that belongs to the surroundings.
            let outside = matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\r' | b'\n');
            if depth == 0 && !quoted && outside {
                if length == 0 {
                    return Err(ReadFailure::Bad(broken(self.line, "a value", Some(byte))));
                }
                return Ok(length);
            }
            self.bump()?;
            length += 1;
            keep(byte, length);
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth == 0 && !quoted && matches!(byte, b'"' | b'}' | b']') {
                return Ok(length);
            }
        }
    }
}
