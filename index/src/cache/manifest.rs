//! The manifest: which segments are searched, and what they must look like.
//!
//! The file is one JSON object that begins with its format and the XXH3 checksum of what follows them. All formats to come
//! name their number so, so that any version knows whether it may touch what it finds.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ann::{Part, SegmentFiles, xxh3_hex};
use crate::{IndexError, Result};

/// Layout of the manifest and of the files it names. The first format had no checksum of its own and is rebuilt.
const FORMAT: u32 = 2;
/// What comes after the manifest itself.
const END: &[u8] = b"}";

/// How the file begins.
#[derive(Debug, Deserialize)]
struct Head {
    format: u32,
    #[serde(default)]
    checksum: String,
}

/// The newest segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The collection's random id.
    pub(super) collection: String,
    /// Fingerprint of the embedder whose vectors these are.
    pub(super) embedder: String,
    /// Rises with every manifest.
    pub(crate) number: u64,
    /// The last change of the database that the segments reflect.
    pub(crate) seq: i64,
    /// The segments, oldest first.
    pub(super) segments: Vec<ManifestSegment>,
}

/// One segment and its rows that no longer count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestSegment {
    pub(super) files: SegmentFiles,
    /// Ascending.
    pub(super) removed: Vec<u32>,
}

impl ManifestSegment {
    pub(super) fn of(part: &Part) -> Self {
        Self { files: part.segment.files.clone(), removed: part.removed.iter().collect() }
    }
}

impl Manifest {
    /// Whether it names the segment in `folder`.
    pub(crate) fn names(&self, folder: &str) -> bool {
        self.segments.iter().any(|s| s.files.folder == folder)
    }

    /// The bytes of its file.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let body = serde_json::to_vec(self)
            .map_err(|e| IndexError::internal(format!("a manifest cannot be written as JSON: {e}")))?;
        Ok([beginning(&xxh3_hex(&body)).as_bytes(), &body, END].concat())
    }

    /// Reads what [`encode`](Self::encode) made. `NewerFormat` for what a newer version wrote, which is left alone;
    /// `Corrupt` for what is older or damaged, which is made anew. `path` is told in errors.
    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Self> {
        let wrong = |reason: String| IndexError::corrupt(format!("manifest {}", path.display()), reason);
        let head: Head = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        if head.format > FORMAT {
            let (found, supported) = (i64::from(head.format), i64::from(FORMAT));
            return Err(IndexError::NewerFormat { path: path.to_path_buf(), found, supported });
        }
        if head.format < FORMAT {
            return Err(wrong(format!("its format is {} and this version writes {FORMAT}", head.format)));
        }
        let body = bytes.strip_prefix(beginning(&head.checksum).as_bytes()).and_then(|rest| rest.strip_suffix(END));
        let Some(body) = body.filter(|body| xxh3_hex(body) == head.checksum) else {
            return Err(wrong("its checksum is another".into()));
        };
        serde_json::from_slice(body).map_err(|e| wrong(e.to_string()))
    }
}

/// What comes before the manifest itself.
fn beginning(checksum: &str) -> String {
    format!("{{\"format\":{FORMAT},\"checksum\":\"{checksum}\",\"manifest\":")
}

#[cfg(test)]
mod tests {
    use anser_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;

    fn made() -> Manifest {
        let (collection, embedder) = ("c".to_owned(), "e".to_owned());
        Manifest { collection, embedder, number: 7, seq: 12, segments: Vec::new() }
    }

    #[test]
    fn a_manifest_returns_and_no_flipped_bit_goes_unnoticed() {
        let path = Path::new("manifest.json");
        let good = made().encode().unwrap();
        assert_eq!(Manifest::decode(&good, path).unwrap(), made());
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(Manifest::decode(&bad, path).is_err(), "bit {bit} of byte {at}");
            }
            assert!(Manifest::decode(&good[..at], path).is_err(), "length {at}");
        }
    }

    #[test]
    fn newer_formats_are_refused_and_older_ones_made_anew() {
        let path = Path::new("manifest.json");
        let kind = |bytes: &[u8]| Manifest::decode(bytes, path).unwrap_err().kind();
        assert_eq!(kind(b"{\"format\":3,\"checksum\":\"\",\"whatever\":[]}"), ErrorKind::Conflict);
        assert_eq!(kind(b"{\"format\":4,\"anything\":[1]}"), ErrorKind::Conflict);
        assert_eq!(kind(b"{\"format\":1,\"collection\":\"c\",\"segments\":[]}"), ErrorKind::Corrupt);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_nothing_panics(bytes: Vec<u8>) {
            let _ = Manifest::decode(&bytes, Path::new("m"));
        }
    }
}
