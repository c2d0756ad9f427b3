//! Where a page ends: a text that a caller passes back to get the page after it.
//!
//! A cursor holds the keys of all hits shown so far, not a place in the ranking, so that no hit comes twice however the
//! collection changes between pages. It also holds the fingerprint of its search, which it is only good for, and a
//! checksum. In bytes: version, fingerprint (8), the keys ascending as LEB128 differences, checksum (8); written in
//! hexadecimal digits.

use std::collections::HashSet;
use std::fmt::Write;

use anser_core::storage::sha256_hex;

use crate::EngineError;

const VERSION: u8 = 1;

/// Most hits that can be paged through: cursors stay below some ten thousand characters.
pub(super) const MAX_PAGED: usize = 1000;

/// The hits that were shown on the pages before.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shown(HashSet<u64>);

impl Shown {
    pub(super) fn contains(&self, key: u64) -> bool {
        self.0.contains(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn extend(&mut self, keys: impl IntoIterator<Item = u64>) {
        self.0.extend(keys);
    }

    /// Reads a cursor of the search with that fingerprint.
    pub(super) fn read(cursor: &str, search: u64) -> Result<Self, EngineError> {
        let refused = |what: &str| EngineError::invalid("after", format!("{what}; search again without after"));
        let damaged = || refused("after is not a cursor as a search has returned it");
        let bytes = from_hex(cursor).ok_or_else(damaged)?;
        let (held, sum) = bytes.split_last_chunk::<8>().ok_or_else(damaged)?;
        if checksum(held) != *sum {
            return Err(damaged());
        }
        let Some((&VERSION, held)) = held.split_first() else { return Err(damaged()) };
        let (fingerprint, mut keys) = held.split_first_chunk::<8>().ok_or_else(damaged)?;
        if u64::from_le_bytes(*fingerprint) != search {
            return Err(refused(
                "after belongs to another query, another collection or other settings, or the search settings of the collection have changed since",
            ));
        }
        let mut shown = HashSet::new();
        let mut last = 0u64;
        while !keys.is_empty() {
            let (difference, rest) = read_varint(keys).ok_or_else(damaged)?;
            last = last.checked_add(difference).ok_or_else(damaged)?;
            keys = rest;
            if !shown.insert(last) || shown.len() > MAX_PAGED {
                return Err(damaged());
            }
        }
        Ok(Self(shown))
    }

    /// As a cursor of the search with that fingerprint.
    pub(super) fn write(&self, search: u64) -> String {
        let mut keys: Vec<u64> = self.0.iter().copied().collect();
        keys.sort_unstable();
        let mut bytes = vec![VERSION];
        bytes.extend(search.to_le_bytes());
        let mut last = 0;
        for key in keys {
            write_varint(key - last, &mut bytes);
            last = key;
        }
        let sum = checksum(&bytes);
        bytes.extend(sum);
        to_hex(&bytes)
    }
}

/// The first 64 bits of the SHA-256 of `text`.
pub(super) fn hash(text: &[u8]) -> u64 {
    let digits = sha256_hex(text);
    digits.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    hash(bytes).to_le_bytes()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    // `from_str_radix` would also take a sign.
    let digits = text.len().is_multiple_of(2) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    if digits { (0..text.len()).step_by(2).map(byte).collect() } else { None }
}

fn write_varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * at as u32;
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(keys: &[u64]) -> Shown {
        Shown(keys.iter().copied().collect())
    }

    #[test]
    fn another_search_and_every_other_text_is_refused() {
        let cursor = of(&[3, 900, u64::MAX]).write(7);
        assert_eq!(Shown::read(&cursor, 7).unwrap(), of(&[3, 900, u64::MAX]));
        let other = Shown::read(&cursor, 8).unwrap_err();
        assert_eq!(other.param(), Some("after"));
        assert!(other.to_string().contains("another query"), "{other}");
        for text in ["", "00", "+1+1", "zz", "é", &cursor[2..], &cursor[..cursor.len() - 2], &format!("{cursor}0")] {
            let error = Shown::read(text, 7).unwrap_err();
            assert!(error.to_string().contains("not a cursor"), "{text}: {error}");
        }
    }

    #[test]
    fn every_changed_digit_is_noticed() {
        let cursor = of(&[1, 2, 70_000]).write(7);
        for at in 0..cursor.len() {
            let mut tampered = cursor.clone().into_bytes();
            tampered[at] = if tampered[at] == b'0' { b'1' } else { b'0' };
            assert!(Shown::read(std::str::from_utf8(&tampered).unwrap(), 7).is_err(), "digit {at}");
        }
    }

    #[test]
    fn ten_hits_make_a_short_cursor() {
        let keys: Vec<u64> = (0..10).map(|at| 1_000_000 + 40_000 * at).collect();
        assert!(of(&keys).write(7).len() <= 100);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(keys in prop::collection::hash_set(any::<u64>(), 0..50), search: u64) {
            let shown = Shown(keys);
            prop_assert_eq!(Shown::read(&shown.write(search), search).unwrap(), shown);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Shown::read(&text, 7);
            let signed = [&bytes[..], &checksum(&bytes)].concat();
            let _ = Shown::read(&to_hex(&signed), 7);
        }
    }
}
