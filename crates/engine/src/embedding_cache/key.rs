//! What an entry is found by.

use anser_core::storage::sha256;
use anser_core::{EmbedPurpose, Embedder};

/// A hash of everything on which a vector depends: 128 bits of SHA-256, keyed by a random number of the data folder, so
/// that hashes of two folders have nothing in common and nobody can look up texts in a table of hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(pub(super) [u8; 16]);

/// A random number of the data folder.
pub(super) type Salt = [u8; 32];

/// Makes keys for one embedder.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    query: [u8; 32],
    passage: [u8; 32],
}

impl Keys {
    /// Keys of texts that `embedder` embeds.
    pub(super) fn new(salt: &Salt, embedder: &dyn Embedder) -> Self {
        let seed = |purpose: &str| {
            let mut bytes = salt.to_vec();
            // How much of a text is read is not in the fingerprint.
            bytes.extend_from_slice(&(embedder.info().max_tokens as u64).to_le_bytes());
            for part in [&embedder.info().fingerprint, embedder.backend(), purpose] {
                bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
                bytes.extend_from_slice(part.as_bytes());
            }
            sha256(&bytes)
        };
        Self { query: seed("query"), passage: seed("passage") }
    }

    /// The key of one text.
    pub(super) fn of(&self, text: &str, purpose: EmbedPurpose) -> Key {
        let seed = match purpose {
            EmbedPurpose::Query => &self.query,
            EmbedPurpose::Passage => &self.passage,
        };
        let mut bytes = Vec::with_capacity(seed.len() + text.len());
        bytes.extend_from_slice(seed);
        bytes.extend_from_slice(text.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&sha256(&bytes)[..16]);
        Key(key)
    }
}

/// Who uses an entry, as it is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner(pub(super) i64);

impl Owner {
    /// No collection, such as a caller who wants vectors.
    pub(super) const NOBODY: Self = Self(-1);
    /// More than one collection.
    pub(super) const SEVERAL: Self = Self(0);

    /// The collection of that name.
    pub(super) fn collection(name: &str) -> Self {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&sha256(name.as_bytes())[..8]);
        // Positive: the other numbers have a meaning of their own. Two names that met would share their entries' fate.
        Self((i64::from_le_bytes(bytes) & i64::MAX).max(1))
    }

    /// Who uses an entry after `user` used it too.
    pub(super) fn and(self, user: Self) -> Self {
        if user == Self::NOBODY || user == self {
            self
        } else if self == Self::NOBODY {
            user
        } else {
            Self::SEVERAL
        }
    }
}
