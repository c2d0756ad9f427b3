//! Text files of one record a line: numbered lines, and faults that name them.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use anser_core::excerpt;
use serde_json::{Map, Value};

use crate::EngineError;

/// Longest part of a file's words in a message, in characters.
const SHOWN: usize = 60;

/// Shows `each` the lines of a file that are not blank, with their numbers from 1, without the byte order mark. What
/// `each` finds wrong becomes a [`EngineError::BadFile`] that names the line.
pub(super) fn each_line(
    path: &Path,
    each: &mut dyn FnMut(usize, &str) -> Result<(), String>,
) -> Result<(), EngineError> {
    let file = File::open(path).map_err(|e| EngineError::io("open", path, e))?;
    lines_of(BufReader::new(file), path, each)
}

/// [`each_line`] of anything that was opened already.
pub(super) fn lines_of(
    source: impl BufRead,
    path: &Path,
    each: &mut dyn FnMut(usize, &str) -> Result<(), String>,
) -> Result<(), EngineError> {
    let bad = |line: usize, message: String| EngineError::BadFile {
        path: path.to_path_buf(),
        message: format!("line {line}: {message}"),
    };
    for (number, line) in (1..).zip(source.lines()) {
        let line = line.map_err(|e| match e.kind() {
            ErrorKind::InvalidData => bad(number, "the text is not UTF-8; save the file as UTF-8".to_owned()),
            _ => EngineError::io("read", path, e),
        })?;
        let line = if number == 1 { line.trim_start_matches('\u{FEFF}') } else { line.as_str() };
        if !line.trim().is_empty() {
            each(number, line).map_err(|message| bad(number, message))?;
        }
    }
    Ok(())
}

/// The object on a line of JSON.
pub(super) fn object(line: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("expected a JSON object".to_owned()),
        Err(error) => Err(format!("invalid JSON: {error}")),
    }
}

/// The first of several members that is there, a text or a number, as text without white space around it.
pub(super) fn member(object: &Map<String, Value>, names: &[&str]) -> Result<String, String> {
    let found = names.iter().find_map(|name| object.get(*name));
    let text = match found {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(format!("\"{}\" is neither a text nor a number", names.join("\" or \""))),
        None => return Err(format!("\"{}\" is missing", names.join("\" or \""))),
    };
    if text.is_empty() {
        return Err(format!("\"{}\" is empty", names.join("\" or \"")));
    }
    Ok(text)
}

/// A few of a file's own words, for a message.
pub(super) fn shown(text: &str) -> String {
    excerpt(text, SHOWN)
}
