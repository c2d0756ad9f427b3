//! Who a row is and whether it has changed: ids derived from content, and fingerprints of stored documents.

use std::collections::HashMap;

use anser_core::storage::sha256_hex;
use anser_core::{Document, EmbedderInfo, Embedding};
use serde::Serialize;

use super::IngestOptions;
use super::source::RawValue;
use super::values::render;

/// Raised whenever texts are cut or embedded differently, so that stored documents count as changed.
const CHUNKING_VERSION: u32 = 1;

/// Hexadecimal digits of an id derived from content: 128 bits.
const CONTENT_ID_DIGITS: usize = 32;

/// An id made of the title, the text and the other cells as they were written. It does not depend on the order of
/// the columns, on the types found for them, or on the format.
pub(super) fn content_id(title: Option<&str>, text: &str, cells: &[(&str, &RawValue)]) -> String {
    let mut parts: Vec<(&str, String)> = cells
        .iter()
        .filter(|(_, value)| !matches!(value, RawValue::Missing | RawValue::Numbers(_)))
        .map(|(name, value)| (*name, render(value)))
        .collect();
    parts.sort();
    let mut id = sha256_hex(&canonical(&(title, text, parts)));
    id.truncate(CONTENT_ID_DIGITS);
    id
}

/// Tells identical rows of one source apart: the second row of a content id gets `-2`, the third `-3`.
#[derive(Debug, Default)]
pub(super) struct Occurrences(HashMap<u64, u32>);

impl Occurrences {
    /// `id` when it is new, else `id` with the number of its occurrence. Takes about 16 bytes of memory for each row.
    pub(super) fn distinguish(&mut self, id: String) -> String {
        // A collision of the first 64 bits costs a needless suffix and nothing else.
        let key = id.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default();
        let seen = self.0.entry(key).or_default();
        *seen += 1;
        if *seen == 1 { id } else { format!("{id}-{seen}") }
    }
}

/// Everything besides the document on which its stored chunks and vectors depend.
pub(super) struct FingerprintBase {
    embedder: String,
    chunk_tokens: usize,
    chunk_overlap: usize,
}

impl FingerprintBase {
    pub(super) fn new(embedder: &EmbedderInfo, options: &IngestOptions) -> Self {
        Self {
            embedder: embedder.fingerprint.clone(),
            chunk_tokens: options.chunk_tokens,
            chunk_overlap: options.chunk_overlap,
        }
    }

    /// Changes when the document, the way it is cut, or the embedder changes, or the vector that the row brought along.
    pub(super) fn of(&self, document: &Document, markdown: bool, vector: Option<&Embedding>) -> String {
        let Document { id: _, title, text, attributes } = document;
        if let Some(vector) = vector {
            let bits: Vec<u32> = vector.as_slice().iter().map(|value| value.to_bits()).collect();
            return sha256_hex(&canonical(&(CHUNKING_VERSION, &self.embedder, bits, title, text, attributes)));
        }
        let how = (CHUNKING_VERSION, &self.embedder, self.chunk_tokens, self.chunk_overlap, markdown);
        sha256_hex(&canonical(&(how, title, text, attributes)))
    }
}

/// JSON keeps the borders between the parts, so that no two different values give the same bytes.
fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    // Strings, numbers and maps with string keys always become JSON.
    serde_json::to_vec(value).unwrap_or_default()
}
