//! Rows out of JSON text: objects line by line, an array, an object around an array, or objects over several lines.

use serde_json::value::RawValue;

use super::super::dialogue::excerpt;
use super::super::json::Json;
use super::quotes::straighten;
use super::{RawRow, RawRows};

/// Reads rows from JSON text, in whichever of the layouts gives any; `Err` says why none does.
pub(super) fn read(text: &str) -> Result<RawRows, String> {
    if text.trim().is_empty() {
        return Err("the file is empty; give it examples".to_owned());
    }
    if text.trim_start().starts_with('[') {
        return match array(text, text) {
            Ok(rows) => Ok(rows),
            // Arrays on every line are not rows either, but objects with a stray bracket around them are.
            Err(reason) => Some(by_lines(text)).filter(|rows| !rows.rows.is_empty()).ok_or(reason),
        };
    }
    let lines = by_lines(text);
    if lines.rows.len() + lines.straightened.len() > lines.unread.len() && !is_wrapper(&lines) {
        return Ok(lines);
    }
    match by_values(text) {
        Some(rows) if !rows.rows.is_empty() => Ok(rows),
        _ => Ok(lines),
    }
}

/// Whether the one object read is a wrapper around a list of rows.
fn is_wrapper(rows: &RawRows) -> bool {
    let [row] = rows.rows.as_slice() else { return false };
    let known = ["messages", "conversations", "preferred_output", "non_preferred_output"];
    let has_list = |(name, value): &(String, Json)| {
        !known.contains(&name.as_str())
            && matches!(value, Json::Array(items) if items.iter().all(|item| matches!(item, Json::Object(_))) && !items.is_empty())
    };
    row.fields.iter().any(has_list)
}

fn by_lines(text: &str) -> RawRows {
    let mut rows = RawRows::default();
    for (number, line) in text.split('\n').enumerate() {
        let (number, line) = (number as u64 + 1, line.trim());
        // Brackets and commas of an array that was written one object a line.
        let object = line.trim_end_matches(',');
        if object.is_empty() || matches!(object, "[" | "]") {
            continue;
        }
        match Json::parse(object.as_bytes()) {
            Ok(json) => push(&mut rows, number, json),
            Err(reason) => {
                let straight = straighten(object);
                match Json::parse(straight.as_bytes()) {
                    Ok(Json::Object(fields)) if straight != object => {
                        rows.straightened_sample.get_or_insert_with(|| (excerpt(object), excerpt(&straight)));
                        rows.straightened.push(RawRow { line: number, fields });
                    }
                    _ => rows.unread.push((number, reason)),
                }
            }
        }
    }
    rows
}

fn push(rows: &mut RawRows, line: u64, json: Json) {
    match json {
        Json::Object(fields) => rows.rows.push(RawRow { line, fields }),
        other => rows.unread.push((line, format!("it holds {}, not an object", other.kind()))),
    }
}

/// Reads the array `part`, which lies within `text`.
fn array(text: &str, part: &str) -> Result<RawRows, String> {
    let items: Vec<&RawValue> = serde_json::from_str(part).map_err(|error| {
        let line = line_of(text, part) + error.line() as u64 - 1;
        let message = error.to_string();
        let what = message.rfind(" at line ").map_or(message.as_str(), |at| &message[..at]);
        format!("the JSON is broken on line {line}: {what}; correct it")
    })?;
    let mut rows = RawRows::default();
    let mut place = LineCounter::new(text);
    for item in items {
        let line = place.line_of(item.get());
        match Json::parse(item.get().as_bytes()) {
            Ok(json) => push(&mut rows, line, json),
            Err(reason) => rows.unread.push((line, reason)),
        }
    }
    Ok(rows)
}

/// Objects one behind another, each over as many lines as it likes; a single one may hold the list of rows.
fn by_values(text: &str) -> Option<RawRows> {
    let mut rows = RawRows::default();
    let mut place = LineCounter::new(text);
    let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let values: Vec<&RawValue> = values.collect::<Result<_, _>>().ok()?;
    if let [single] = values.as_slice() {
        let entries: Vec<(String, &RawValue)> = serde_json::from_str::<Entries<'_>>(single.get()).ok()?.0;
        let lists = entries.iter().filter(|(_, value)| value.get().starts_with('['));
        let best = lists.filter_map(|(_, value)| array(text, value.get()).ok()).max_by_key(|rows| rows.rows.len());
        if let Some(found) = best.filter(|rows| !rows.rows.is_empty() && rows.unread.is_empty()) {
            return Some(found);
        }
    }
    for value in values {
        let line = place.line_of(value.get());
        push(&mut rows, line, Json::parse(value.get().as_bytes()).ok()?);
    }
    Some(rows)
}

/// The fields of an object as the text has them.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Entries<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn line_of(text: &str, part: &str) -> u64 {
    LineCounter::new(text).line_of(part)
}

/// Finds the lines on which parts of a text begin, asked for from front to back.
struct LineCounter<'a> {
    text: &'a str,
    at: usize,
    line: u64,
}

impl<'a> LineCounter<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    fn line_of(&mut self, part: &str) -> u64 {
        let offset = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let passed = self.text.get(self.at..offset).unwrap_or_default();
        self.line += passed.matches('\n').count() as u64;
        self.at = self.at.max(offset);
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_of(rows: &RawRows) -> Vec<u64> {
        rows.rows.iter().map(|row| row.line).collect()
    }

    #[test]
    fn objects_are_found_in_every_layout_with_their_lines() {
        let cases: [(&str, &[u64]); 7] = [
            ("{\"q\":1}\n\n{\"q\":2}\n", &[1, 3]),
            ("[{\"q\":1},\n {\"q\":2}]", &[1, 2]),
            ("[\n{\"q\":1},\n{\"q\":2},\n]", &[2, 3]),
            ("{\n \"q\": 1\n}\n{\n \"q\": 2\n}", &[1, 4]),
            ("{\"version\": 1,\n\"data\": [\n{\"q\":1},\n{\"q\":2}]}", &[3, 4]),
            ("{\"data\": [{\"q\":1},{\"q\":2}]}", &[1, 1]),
            ("{\"messages\": [{\"role\":\"user\"}]}", &[1]),
        ];
        for (text, lines) in cases {
            let rows = read(text).unwrap();
            assert_eq!((lines_of(&rows).as_slice(), rows.unread.len()), (lines, 0), "{text}");
        }
    }

    #[test]
    fn broken_lines_are_kept_apart_and_curly_ones_straightened() {
        let rows = read("{\"q\":1}\nnonsense\n{“q”:“2”}\n[3]\n{\"q\":4}\n{\"q\":5}").unwrap();
        assert_eq!(lines_of(&rows), [1, 5, 6]);
        assert_eq!(rows.unread.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(rows.straightened[0].line, 3);
    }

    #[test]
    fn a_broken_array_names_its_line() {
        assert!(read("[{\"q\":\n1},\n{\"q\":}]").unwrap_err().contains("line 3"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:a0“ \n]{0,80}") {
            let _ = read(&text);
        }
    }
}
