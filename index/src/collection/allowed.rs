//! Which chunks a filter lets through, read from the database once for each filter and state of the collection.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use anser_core::ChunkId;
use parking_lot::Mutex;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::database::Database;
use crate::{Filter, Result};

/// Filters whose chunks are remembered.
const REMEMBERED: usize = 8;
/// Most remembered chunk ids of all filters together, 8 bytes each.
const REMEMBERED_IDS: usize = 4_000_000;
/// Near names that are told for an attribute that no document has.
const NEAR_KEYS: usize = 3;

/// How the vectors that a filter lets through are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterStrategy {
    /// The query is compared with every one of them.
    ExactScan,
    /// Graphs are walked, and only what passes is kept.
    FilteredGraph,
}

/// What a filter let through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilterExplain {
    /// How the vectors that pass were searched; `None` where no vectors were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<FilterStrategy>,
    /// Share of all vectors that pass, in [0, 1].
    #[serde(default)]
    pub selectivity: f64,
    /// Documents that pass and have chunks.
    pub documents: usize,
    /// Their chunks; each has a vector.
    pub vectors: usize,
    /// Attributes that the filter looks at and that no document has: most likely misspelt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_keys: Vec<UnknownKey>,
}

/// An attribute that no document has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownKey {
    /// Its name in the filter.
    pub key: String,
    /// Attributes that documents have and that are called nearly so, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
}

/// A remark for people.
impl std::fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no document has an attribute \"{}\"", anser_core::excerpt(&self.key, 40))?;
        for (at, near) in self.near.iter().enumerate() {
            let before = if at == 0 { "; did you mean" } else { " or" };
            write!(f, "{before} \"{}\"", anser_core::excerpt(near, 40))?;
        }
        f.write_str(if self.near.is_empty() { "" } else { "?" })
    }
}

/// The chunks that a filter lets through at one moment.
#[derive(Debug)]
pub(crate) struct Allowed {
    /// Ascending.
    pub(crate) chunks: Vec<ChunkId>,
    pub(crate) explain: FilterExplain,
}

/// The last filters with what they let through.
#[derive(Debug, Default)]
pub(crate) struct AllowedCache(Mutex<VecDeque<(Filter, i64, Arc<Allowed>)>>);

impl AllowedCache {
    /// What `filter` lets through of what `connection` sees.
    pub(crate) fn get(&self, filter: &Filter, database: &Database, connection: &Connection) -> Result<Arc<Allowed>> {
        let seq = database.last_seq(connection)?;
        if let Some((.., found)) = self.0.lock().iter().find(|(of, at, _)| *at == seq && of == filter) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(read(filter, database, connection)?);
        let mut cache = self.0.lock();
        cache.retain(|(of, at, _)| *at >= seq && (*at > seq || of != filter));
        cache.push_back((filter.clone(), seq, Arc::clone(&found)));
        let ids = |cache: &VecDeque<(Filter, i64, Arc<Allowed>)>| {
            cache.iter().map(|(.., allowed)| allowed.chunks.len()).sum::<usize>()
        };
        while cache.len() > REMEMBERED || (cache.len() > 1 && ids(&cache) > REMEMBERED_IDS) {
            cache.pop_front();
        }
        Ok(found)
    }
}

fn read(filter: &Filter, database: &Database, connection: &Connection) -> Result<Allowed> {
    let (mut chunks, mut documents) = (Vec::new(), 0);
    let mut known: BTreeSet<String> = BTreeSet::new();
    database.each_attributes(connection, &mut |attributes, of| {
        for key in attributes.keys() {
            if !known.contains(key) {
                known.insert(key.clone());
            }
        }
        if filter.matches(attributes) {
            documents += 1;
            chunks.extend_from_slice(of);
        }
    })?;
    chunks.sort_unstable();
    let absent = filter.keys().into_iter().filter(|key| !known.contains(*key));
    let unknown_keys = absent.map(|key| UnknownKey { key: key.to_owned(), near: near(key, &known) }).collect();
    Ok(Allowed {
        explain: FilterExplain { strategy: None, selectivity: 0.0, documents, vectors: chunks.len(), unknown_keys },
        chunks,
    })
}

/// The known names that differ from `key` in case, in a few letters, or in what follows a common beginning.
fn near(key: &str, known: &BTreeSet<String>) -> Vec<String> {
    let wanted: Vec<char> = key.to_lowercase().chars().take(64).collect();
    let tolerated = wanted.len().div_ceil(3).min(3);
    let mut found: Vec<(usize, &String)> = known
        .iter()
        .filter_map(|name| {
            let name_folded: Vec<char> = name.to_lowercase().chars().take(64).collect();
            let distance = edits(&wanted, &name_folded);
            let begins = wanted.len() > 2 && name_folded.starts_with(&wanted)
                || name_folded.len() > 2 && wanted.starts_with(&name_folded);
            (distance <= tolerated || begins).then_some((distance, name))
        })
        .collect();
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().take(NEAR_KEYS).map(|(_, name)| name.clone()).collect()
}

/// How many letters must be put in, left out or replaced to make `b` of `a` (Levenshtein 1966).
fn edits(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, from) in a.iter().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(b) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_and_near_names_found() {
        let count = |a: &str, b: &str| edits(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!((count("kitten", "sitting"), count("", "abc"), count("abc", ""), count("ab", "ab")), (3, 3, 3, 0));
        let known: BTreeSet<String> = ["score", "Lang", "scores_total", "time"].map(str::to_owned).into();
        assert_eq!(near("scroe", &known), ["score"]);
        assert_eq!(near("lang", &known), ["Lang"]);
        assert_eq!(near("scores", &known), ["score", "scores_total"]);
        assert!(near("product", &known).is_empty());
        let unknown = UnknownKey { key: "scores".into(), near: near("scores", &known) };
        assert_eq!(
            unknown.to_string(),
            "no document has an attribute \"scores\"; did you mean \"score\" or \"scores_total\"?"
        );
    }
}
