//! JSON Lines, and how a JSON object becomes a row.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::encoding::{NOT_UTF8, TextStream, utf8};
use super::lines::{Lines, too_long};
use super::{Extent, Piece, Placed, RawRow, RawValue, ReadFailure, RowSource};
use crate::ingest::RowError;

/// Most columns that one object may bring, nested ones included.
const MAX_CELLS: usize = 4096;

/// One JSON object on each line.
pub(in crate::ingest) struct JsonLinesSource {
    lines: Lines,
    limit: usize,
    total: Option<u64>,
    row: u64,
}

impl JsonLinesSource {
    pub(super) fn new(text: TextStream, total: Option<u64>, limit: usize) -> Self {
        Self { lines: Lines::new(text, limit), limit, total, row: 0 }
    }
}

impl RowSource for JsonLinesSource {
    fn extent(&self) -> Extent {
        Extent::Bytes(self.total)
    }

    fn next_piece(&mut self) -> Result<Option<Placed>, ReadFailure> {
        while let Some(line) = self.lines.next_line()? {
            let (number, position) = (Some(line.number), line.end);
            let bytes = match line.content {
                Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => continue,
                Ok(bytes) => bytes,
                Err(length) => {
                    self.row += 1;
                    let piece = Piece::Rejected(too_long(number, Some(self.row), length, self.limit));
                    return Ok(Some(Placed { piece, position, bytes: 0 }));
                }
            };
            self.row += 1;
            let length = bytes.len();
            let piece = row_of(bytes, number, self.row);
            return Ok(Some(Placed { piece, position, bytes: length }));
        }
        Ok(None)
    }
}

/// The row that the JSON text `bytes` stands for; `line` is where it begins.
pub(super) fn row_of(bytes: Vec<u8>, line: Option<u64>, row: u64) -> Piece {
    let reject = |line, message| Piece::Rejected(RowError { line, row: Some(row), field: None, message });
    let text = match utf8(bytes) {
        Ok(text) => text,
        Err(within) => return reject(line.map(|l| l + within), NOT_UTF8.to_owned()),
    };
    let object = match serde_json::from_str::<Value>(text.trim_end()) {
        Ok(Value::Object(object)) => object,
        Ok(other) => return reject(line, format!("expected a JSON object, found {}", json_kind(&other))),
        Err(error) => {
            let place = line.map(|l| l + (error.line() as u64).saturating_sub(1));
            return reject(place, format!("invalid JSON at column {}: {}", error.column(), without_place(&error)));
        }
    };
    let mut cells = Vec::with_capacity(object.len());
    flatten("", object, &mut cells);
    if cells.len() > MAX_CELLS {
        return reject(line, format!("the object has {} fields; at most {MAX_CELLS} are read", cells.len()));
    }
    Piece::Row(RawRow { line, row, cells })
}

/// The library's message without its own "at line 1 column 7", which counts from the row's first byte.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.rsplit_once(" at line ").map_or(message.clone(), |(what, _)| what.to_owned())
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Members become columns; those of nested objects are called `outer.inner`.
fn flatten(prefix: &str, object: Map<String, Value>, cells: &mut Vec<(Arc<str>, RawValue)>) {
    for (name, value) in object {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(&name, inner, cells),
            value => cells.push((name.into(), raw_value(value))),
        }
    }
}

fn raw_value(value: Value) -> RawValue {
    match value {
        Value::Null => RawValue::Missing,
        Value::Bool(v) => RawValue::Bool(v),
        Value::Number(v) => match (v.as_i64(), v.as_u64(), v.as_f64()) {
            (Some(v), _, _) => RawValue::Integer(v),
            // Beyond 64 bits with a sign a float would lose digits, and such numbers are mostly ids.
            (None, Some(v), _) => RawValue::String(v.to_string()),
            (None, None, Some(v)) if v.is_finite() => RawValue::Float(v),
            _ => RawValue::String(v.to_string()),
        },
        Value::String(v) if v.is_empty() => RawValue::Missing,
        Value::String(v) => RawValue::String(v),
        Value::Array(items) if items.is_empty() => RawValue::Missing,
        Value::Array(items) if items.iter().all(Value::is_string) => RawValue::List(
            items
                .into_iter()
                .filter_map(|item| if let Value::String(text) = item { Some(text) } else { None })
                .collect(),
        ),
        Value::Object(object) if object.is_empty() => RawValue::Missing,
        other => RawValue::String(other.to_string()),
    }
}
