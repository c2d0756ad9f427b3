//! Rows out of delimited text with a header.

use super::super::json::Json;
use super::{RawRow, RawRows};

/// Separators that are tried where none is given; the comma wins a tie.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Reads delimited text; the separator is the one that splits the first line into most fields.
pub(super) fn read(text: &str, delimiter: Option<u8>) -> Result<RawRows, String> {
    let header =
        text.lines().find(|line| !line.trim().is_empty()).ok_or("the file is empty; give it a header and rows")?;
    let delimiter = delimiter.unwrap_or_else(|| guess(header));
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let names: Vec<String> = reader
        .headers()
        .map_err(|error| format!("the header cannot be read: {error}"))?
        .iter()
        .enumerate()
        .map(|(at, name)| column_name(at, name))
        .collect();
    let mut rows = RawRows { tabular: true, ..RawRows::default() };
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(rows),
            Ok(true) => {}
            Err(error) => {
                let line = error.position().map_or(0, |position| line_of(text, position));
                return Err(format!("line {line} cannot be read: {error}"));
            }
        }
        let line = record.position().map_or(0, |position| line_of(text, position));
        if record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        if record.len() > names.len() {
            let found = record.len();
            let wanted = names.len();
            let reason = format!(
                "it has {found} fields but the header has {wanted}; put quotes around fields that hold the separator"
            );
            rows.unread.push((line, reason));
            continue;
        }
        let cells = record.iter().map(|field| Json::Text(field.to_owned()));
        rows.rows.push(RawRow { line, fields: names.iter().cloned().zip(cells).collect() });
    }
}

/// The line of a record. The reader takes a record to begin behind the `\r` of a `\r\n`, on the line before its own.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let begins_with_break = usize::try_from(position.byte()).is_ok_and(|at| text.as_bytes().get(at) == Some(&b'\n'));
    position.line() + u64::from(begins_with_break)
}

/// A column's name without surrounding white space; a nameless one is called by its place.
pub(super) fn column_name(at: usize, name: &str) -> String {
    let name = name.trim().trim_start_matches('\u{feff}');
    if name.is_empty() { format!("column_{}", at + 1) } else { name.to_owned() }
}

fn guess(header: &str) -> u8 {
    let fields = |delimiter: u8| {
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(header.as_bytes());
        reader.records().next().and_then(Result::ok).map_or(0, |record| record.len())
    };
    // `max_by_key` keeps the last of equals, and the comma should win.
    DELIMITERS.into_iter().rev().max_by_key(|delimiter| fields(*delimiter)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn separators_quotes_and_line_numbers_are_followed() {
        for separator in [",", ";", "\t", "|"] {
            let text = "question,answer\n\"When,\nexactly?\",Now\n,\nWhere?,Here\n".replace(',', separator);
            let rows = read(&text, None).unwrap();
            assert_eq!(rows.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 5], "{text}");
            assert_eq!(rows.rows[1].fields[1], ("answer".to_owned(), Json::Text("Here".to_owned())));
            let windows = read(&text.replace('\n', "\r\n"), None).unwrap();
            assert_eq!(windows.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 5], "{text}");
        }
    }

    #[test]
    fn a_row_with_too_many_fields_is_kept_apart() {
        let rows = read("question,answer\nWhen?,Now, or later\nWhere?,Here\n", None).unwrap();
        assert_eq!((rows.rows.len(), rows.unread.len(), rows.unread[0].0), (1, 1, 2));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s)[\",;|\t\na-c é]{0,80}") {
            let _ = read(&text, None);
        }
    }
}
