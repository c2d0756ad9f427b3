//! What must be known of a document to choose which of a group stays, gathered in one reading of all documents.

use std::collections::HashMap;

use anser_core::storage::sha256_hex;
use anser_core::{AttributeValue, ProgressUnit};

use super::{DuplicateOptions, KeepRule};
use crate::EngineError;
use crate::analysis::Work;
use crate::table::number;

/// What is known of a document in a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Facts {
    /// Characters of its text.
    pub(super) length: usize,
    /// [`content_hash`] of its title and text.
    pub(super) content: u128,
    /// Its time in seconds or its number, where newer ones are preferred.
    pub(super) newest: Option<f64>,
}

/// A hash of a title and a text: different for different ones, for all that is known of SHA-256.
pub(super) fn content_hash(title: Option<&str>, text: &str) -> u128 {
    let title = title.map_or_else(|| "-".to_owned(), |title| format!("{}:{title}", title.len()));
    let digest = sha256_hex(format!("{title}\n{text}").as_bytes());
    u128::from_str_radix(digest.get(..32).unwrap_or_default(), 16).unwrap_or_default()
}

/// The facts of the documents in `groups`, by row. `InvalidInput` when the attribute that says what is newest holds text,
/// or no document has it.
pub(super) fn gather(
    options: &DuplicateOptions,
    work: &Work<'_>,
    groups: &[Vec<u32>],
) -> Result<HashMap<u32, Facts>, EngineError> {
    let mut facts: HashMap<u32, Facts> = HashMap::new();
    let mut grouped = vec![false; work.subject.len()];
    groups.iter().flatten().for_each(|&row| grouped[row as usize] = true);
    let attribute = options.newest_by.as_deref().filter(|_| options.keep == KeepRule::Newest);
    let mut known = attribute.is_none();
    work.progress.start("reading the groups", Some(work.subject.len() as u64), ProgressUnit::Items);
    for (row, document) in work.subject.documents()?.enumerate() {
        work.cancel.check()?;
        let document = document?;
        work.progress.set(row as u64 + 1);
        let newest = match attribute.and_then(|name| Some((name, document.attributes.get(name)?))) {
            Some((name, value)) => {
                known = true;
                Some(moment(value).ok_or_else(|| {
                    let message = format!(
                        "the attribute \"{name}\" of document \"{}\" is neither a time nor a number, so it cannot say what is newest; keep the longest or the first instead",
                        document.id
                    );
                    EngineError::invalid("newest_by", message)
                })?)
            }
            None => None,
        };
        if grouped[row] {
            let content = content_hash(document.title.as_deref(), &document.text);
            facts.insert(row as u32, Facts { length: document.text.chars().count(), content, newest });
        }
    }
    work.progress.finish();
    if let (false, Some(name)) = (known, attribute) {
        let message = format!("no document has the attribute \"{name}\"; name one that holds a time or a number");
        return Err(EngineError::invalid("newest_by", message));
    }
    Ok(facts)
}

/// A time in seconds since 1970, or a number as it is.
fn moment(value: &AttributeValue) -> Option<f64> {
    match value {
        AttributeValue::Time(time) => Some(time.unix_timestamp_nanos() as f64 / 1e9),
        other => number(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_title_from_text() {
        let hashes = [
            content_hash(None, "a"),
            content_hash(Some(""), "a"),
            content_hash(Some("a"), ""),
            content_hash(Some("a\nb"), "c"),
            content_hash(Some("a"), "b\nc"),
            content_hash(None, "-\na"),
        ];
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[at + 1..].contains(hash), "{at}");
        }
        assert_eq!(content_hash(Some("t"), "x"), content_hash(Some("t"), "x"));
    }
}
