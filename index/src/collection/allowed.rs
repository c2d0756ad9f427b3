//! Which chunks a filter lets through, worked out once for each filter and state of the collection.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use anser_core::ChunkId;
use parking_lot::Mutex;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::ann::AllowedRows;
use crate::attributes::{Columns, LiveColumns, attributes_of, id_of};
use crate::database::Database;
use crate::filter::{Compared, ComparedType, MismatchedKey};
use crate::upkeep::Upkeep;
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
    /// Attributes that have, in some documents, a type that the filter does not compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mismatched: Vec<MismatchedKey>,
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
    /// Their rows in the segments that were searched.
    pub(crate) rows: AllowedRows,
}

/// The last filters with what they let through, and the columns that tell what others do.
#[derive(Debug)]
pub(crate) struct AllowedCache {
    columns: LiveColumns,
    last: Mutex<VecDeque<(Filter, i64, Arc<Allowed>)>>,
}

impl AllowedCache {
    /// For the collection in `folder`.
    pub(crate) fn new(folder: &Path, upkeep: &Arc<Upkeep>) -> Self {
        Self { columns: LiveColumns::new(folder, upkeep), last: Mutex::default() }
    }

    /// What `filter` lets through of what `connection` sees.
    ///
    /// # Errors
    /// [`Filter`](crate::IndexError::Filter) when it compares an attribute with a type that it has in no document.
    pub(crate) fn get(&self, filter: &Filter, database: &Database, connection: &Connection) -> Result<Arc<Allowed>> {
        let seq = database.last_seq(connection)?;
        if let Some((.., found)) = self.last.lock().iter().find(|(of, at, _)| *at == seq && of == filter) {
            return Ok(Arc::clone(found));
        }
        let columns = self.columns.at(connection)?;
        let found = Arc::new(work_out(filter, &columns, database, connection)?);
        let mut last = self.last.lock();
        last.retain(|(of, at, _)| *at >= seq && (*at > seq || of != filter));
        last.push_back((filter.clone(), seq, Arc::clone(&found)));
        let ids = |last: &VecDeque<(Filter, i64, Arc<Allowed>)>| {
            last.iter().map(|(.., allowed)| allowed.chunks.len()).sum::<usize>()
        };
        while last.len() > REMEMBERED || (last.len() > 1 && ids(&last) > REMEMBERED_IDS) {
            last.pop_front();
        }
        Ok(found)
    }

    /// The keys of the documents that `filter` lets through, ascending, and how many documents there are.
    pub(crate) fn passing(
        &self,
        filter: &Filter,
        database: &Database,
        connection: &Connection,
    ) -> Result<(Vec<i64>, usize)> {
        let columns = self.columns.at(connection)?;
        mismatched(filter, &columns, database, connection)?;
        let passing = columns.passing(filter, &mut matches(filter, database, connection))?;
        Ok((columns.keys_of(&passing), columns.documents()))
    }

    /// The columns.
    #[cfg(test)]
    pub(crate) fn columns(&self) -> &LiveColumns {
        &self.columns
    }

    /// Drops what is kept on disk of documents that were deleted.
    pub(crate) fn compact(&self) -> Result<()> {
        self.columns.compact()
    }

    /// Waits for what is being written in the background.
    pub(crate) fn close(&self) {
        self.columns.close();
    }
}

/// Whether the document with a key passes, by reading it.
fn matches<'a>(
    filter: &'a Filter,
    database: &'a Database,
    connection: &'a Connection,
) -> impl FnMut(i64) -> Result<bool> + 'a {
    |key| Ok(filter.matches(&attributes_of(database, connection, key)?))
}

fn work_out(filter: &Filter, columns: &Columns, database: &Database, connection: &Connection) -> Result<Allowed> {
    let mismatched = mismatched(filter, columns, database, connection)?;
    let passing = columns.passing(filter, &mut matches(filter, database, connection))?;
    let (chunks, documents) = columns.chunks_of(&passing);
    let absent: Vec<&str> = filter.keys().into_iter().filter(|key| !columns.has(key)).collect();
    let known = if absent.is_empty() { BTreeSet::new() } else { columns.keys() };
    let unknown = |key: &str| UnknownKey { key: key.to_owned(), near: near(key, &known) };
    Ok(Allowed {
        explain: FilterExplain {
            strategy: None,
            selectivity: chunks.len() as f64 / columns.chunk_count().max(1) as f64,
            documents,
            vectors: chunks.len(),
            unknown_keys: absent.into_iter().map(unknown).collect(),
            mismatched,
        },
        chunks,
        rows: AllowedRows::default(),
    })
}

/// The attributes that have another type in some documents than the filter compares them with. Where that is so in all
/// documents that have the attribute, the filter is refused: it is not what was meant.
fn mismatched(
    filter: &Filter,
    columns: &Columns,
    database: &Database,
    connection: &Connection,
) -> Result<Vec<MismatchedKey>> {
    let mut kinds = HashMap::new();
    let mut told: Vec<MismatchedKey> = Vec::new();
    for compared in filter.compared() {
        let kinds: &Vec<_> = kinds.entry(compared.key).or_insert_with(|| columns.kinds_of(compared.key));
        // By type: documents, and the key of the first of them.
        let mut others: BTreeMap<ComparedType, (usize, i64)> = BTreeMap::new();
        for (kind, count, first) in kinds {
            if !compared.accepts(ComparedType::of(*kind)) {
                others.entry(ComparedType::of(*kind)).or_insert((0, *first)).0 += count;
            }
        }
        let mut others: Vec<(ComparedType, (usize, i64))> = others.into_iter().collect();
        others.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let Some((_, (_, first))) = others.first() else { continue };
        let all = kinds.iter().all(|(kind, ..)| !compared.accepts(ComparedType::of(*kind)));
        if !all && told.iter().any(|other| is_same(other, &compared)) {
            continue;
        }
        let mismatch = MismatchedKey {
            key: compared.key.to_owned(),
            wanted: compared.wanted(),
            found: others.iter().map(|(found, _)| *found).collect(),
            documents: others.iter().map(|(_, (count, _))| count).sum(),
            example: id_of(database, connection, *first)?,
        };
        if all {
            return Err(compared.refused(&mismatch));
        }
        told.push(mismatch);
    }
    told.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(told)
}

fn is_same(told: &MismatchedKey, compared: &Compared<'_>) -> bool {
    told.key == compared.key && told.wanted == compared.wanted()
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
