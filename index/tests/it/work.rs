//! Operations that follow from numbers, so that whoever knows the numbers knows what must be stored, and the comparison
//! of a collection with what must be stored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anser_core::{AttributeValue, DocumentId, Embedding, ScoredChunk};
use anser_index::{Collection, Filter, NewDocument, Result, SearchMode, SearchParams, SearchQuery};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::support::{direction, document, files, id, rng};

/// What must be stored, by id.
pub(crate) type Model = BTreeMap<String, NewDocument>;

/// Dimensions of all vectors here.
pub(crate) const DIMENSION: usize = 16;
/// Documents that one writer writes again and again.
const NAMES: u32 = 50;

/// One write: all of it is stored, or none.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Upsert(Vec<NewDocument>),
    Delete(Vec<DocumentId>),
    SetAttributes(Vec<(DocumentId, Option<AttributeValue>)>),
}

impl Operation {
    /// The operation of this number of this writer.
    pub(crate) fn numbered(writer: u64, number: u64) -> Self {
        let mut rng = rng(writer << 32 | number);
        let count = rng.random_range(1..8);
        let names = (0..count).map(|_| rng.random_range(0..NAMES)).collect::<BTreeSet<u32>>();
        let ids = |names: &BTreeSet<u32>| names.iter().map(|n| id(format!("w{writer}-{n}"))).collect::<Vec<_>>();
        match rng.random_range(0..8) {
            0..=4 => Self::Upsert(names.iter().map(|name| made(&mut rng, writer, number, *name)).collect()),
            5 | 6 => Self::Delete(ids(&names)),
            _ => {
                let mood = |rng: &mut ChaCha8Rng| {
                    rng.random_bool(0.8).then(|| AttributeValue::String(format!("mood {number}")))
                };
                Self::SetAttributes(ids(&names).into_iter().map(|id| (id, mood(&mut rng))).collect())
            }
        }
    }

    pub(crate) fn run(&self, collection: &Collection) -> Result<()> {
        match self {
            Self::Upsert(documents) => collection.upsert(documents).map(drop),
            Self::Delete(ids) => collection.delete(ids).map(drop),
            Self::SetAttributes(changes) => {
                let changes: Vec<_> = changes.iter().map(|(id, value)| (id.clone(), "mood", value.clone())).collect();
                collection.set_attributes(&changes).map(drop)
            }
        }
    }

    pub(crate) fn note(&self, model: &mut Model) {
        match self {
            Self::Upsert(documents) => {
                model.extend(documents.iter().map(|new| (new.document.id.to_string(), new.clone())));
            }
            Self::Delete(ids) => ids.iter().for_each(|id| drop(model.remove(id.as_str()))),
            Self::SetAttributes(changes) => {
                for (id, value) in changes {
                    let Some(stored) = model.get_mut(id.as_str()) else { continue };
                    match value {
                        Some(value) => drop(stored.document.attributes.insert("mood".into(), value.clone())),
                        None => drop(stored.document.attributes.remove("mood")),
                    }
                }
            }
        }
    }
}

fn made(rng: &mut ChaCha8Rng, writer: u64, number: u64, name: u32) -> NewDocument {
    let vectors: Vec<Embedding> = (0..rng.random_range(0..9)).map(|_| direction(rng, DIMENSION)).collect();
    let mut new = document(format!("w{writer}-{name}"), &format!("{} v{number}", word(writer, number)), &vectors);
    let attributes = &mut new.document.attributes;
    attributes.insert("number".into(), AttributeValue::Integer(number as i64));
    attributes.insert("writer".into(), AttributeValue::Integer(writer as i64));
    if number.is_multiple_of(3) {
        attributes.insert("share".into(), AttributeValue::Float(number as f64 / 7.0));
    }
    new.fingerprint = format!("{writer}-{number}-{name}");
    new
}

/// A word that only the documents of one operation hold, of letters alone, which no stemmer shortens.
pub(crate) fn word(writer: u64, number: u64) -> String {
    let letters = |text: String| -> String {
        text.bytes().map(|digit| char::from(b"bdfgkmnprt"[usize::from(digit - b'0')])).collect()
    };
    format!("z{}o{}x", letters(writer.to_string()), letters(number.to_string()))
}

/// So many words that no document is told by, to make an index of words large enough to be written to disk.
pub(crate) fn filler(rng: &mut ChaCha8Rng, words: usize) -> String {
    let word = |number: u32| word(100, u64::from(number));
    (0..words).map(|_| word(rng.random_range(0..3000)) + " ").collect()
}

/// Searches for words until their index lies on disk, which the background does in its own time.
pub(crate) fn write_words(collection: &Collection, folder: &Path) {
    let params = SearchParams { mode: Some(SearchMode::Keyword), ..SearchParams::new(1) };
    for _ in 0..1000 {
        collection.search(SearchQuery { vector: None, text: Some("piece") }, &params).unwrap();
        if folder.join("keywords/manifest.json").is_file() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the index of words was not written: {:?}", files(folder));
}

/// A chunk by the id of its document and its place in it.
pub(crate) type Found = BTreeSet<(String, u32)>;

/// Compares documents, counts, exact, filtered and keyword searches with `model`.
pub(crate) fn check(collection: &Collection, model: &Model, seed: u64) {
    check_documents(collection, model);
    let query = direction(&mut rng(seed), DIMENSION);
    check_search(collection, model, &query, None);
    let numbers = model.values().filter_map(|new| match new.document.attributes.get("number") {
        Some(AttributeValue::Integer(number)) => Some(*number),
        _ => None,
    });
    let middle = numbers.max().unwrap_or(0) / 2;
    for text in [format!("number >= {middle}"), "writer = 1 and share > 3".into(), "not (mood = \"mood 7\")".into()] {
        check_search(collection, model, &query, Some(&text.parse().unwrap()));
    }
    // Words of operations long past, and those that documents have now.
    let mut words: BTreeSet<String> = (0..20).map(|number| word(1, number)).collect();
    words.extend(model.values().flat_map(|new| words_of(&new.document.text)).filter(|word| word.starts_with('z')));
    for word in &words {
        check_word(collection, model, word);
    }
}

/// Counts, documents and chunks are those of `model`.
pub(crate) fn check_documents(collection: &Collection, model: &Model) {
    let chunks: usize = model.values().map(|new| new.chunks.len()).sum();
    let info = collection.info().unwrap();
    assert_eq!((info.documents as usize, info.chunks as usize), (model.len(), chunks));
    let stored = collection.documents(None, 100_000).unwrap();
    assert_eq!(stored, model.values().map(|new| new.document.clone()).collect::<Vec<_>>());
    for new in model.values() {
        let stored = collection.chunks(&new.document.id).unwrap();
        assert_eq!(stored.len(), new.chunks.len());
        for (stored, chunk) in stored.iter().zip(&new.chunks) {
            assert_eq!((&stored.text, stored.span, stored.tokens), (&chunk.text, chunk.span, chunk.tokens));
        }
    }
}

/// An exact search for everything that `filter` lets through finds that, with its cosines; a search that may use graphs
/// finds nothing else.
pub(crate) fn check_search(collection: &Collection, model: &Model, query: &Embedding, filter: Option<&Filter>) {
    let passing = model.values().filter(|new| filter.is_none_or(|filter| filter.matches(&new.document.attributes)));
    let expected: BTreeMap<(String, u32), f32> = passing
        .flat_map(|new| {
            new.chunks.iter().enumerate().map(|(ordinal, chunk)| {
                ((new.document.id.to_string(), ordinal as u32), query.cosine(&chunk.embedding).unwrap())
            })
        })
        .collect();
    let k = expected.len() + 10;
    for exact in [Some(true), Some(false)] {
        let mode = Some(SearchMode::Vector);
        let params = SearchParams { mode, exact, filter: filter.cloned(), ..SearchParams::new(k) };
        let hits = collection.search(query, &params).unwrap().hits;
        let found = places(&hits);
        assert_eq!(found.len(), hits.len(), "nothing is found twice");
        if exact == Some(true) {
            assert_eq!(found, expected.keys().cloned().collect::<Found>(), "{filter:?}");
        }
        for hit in &hits {
            let place = (hit.chunk.document_id.to_string(), hit.chunk.ordinal);
            assert!((hit.score - expected[&place]).abs() < 1e-5, "{place:?} {}", hit.score);
            let chunk = &model[&place.0].chunks[place.1 as usize];
            assert_eq!(hit.chunk.text, chunk.text);
        }
        assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score), "best first");
    }
}

/// A keyword search for `word` finds the chunks that hold it.
pub(crate) fn check_word(collection: &Collection, model: &Model, word: &str) {
    let holding = model.values().flat_map(|new| {
        let chunks = new.chunks.iter().enumerate();
        let holding = chunks.filter(|(_, chunk)| words_of(&chunk.text).any(|held| held == word));
        holding.map(|(ordinal, _)| (new.document.id.to_string(), ordinal as u32))
    });
    let expected: Found = holding.collect();
    let params = SearchParams { mode: Some(SearchMode::Keyword), ..SearchParams::new(10_000) };
    let found = collection.search(SearchQuery { vector: None, text: Some(word) }, &params).unwrap();
    assert_eq!(places(&found.hits), expected, "{word}");
}

fn places(hits: &[ScoredChunk]) -> Found {
    hits.iter().map(|hit| (hit.chunk.document_id.to_string(), hit.chunk.ordinal)).collect()
}

/// The words of a text, in lower case.
fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Files of a collection's folder that nothing refers to: segments and pieces that no manifest names, and unfinished files.
pub(crate) fn orphans(folder: &Path) -> Vec<PathBuf> {
    let mut named = BTreeSet::new();
    for manifest in files(folder).iter().filter(|path| path.ends_with("manifest.json")) {
        names(&serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap(), &mut named);
    }
    let is_lock = |name: &str| Path::new(name).extension().is_some_and(|end| end == "lock");
    let known = |path: &PathBuf| {
        let inside: Vec<&str> = path.strip_prefix(folder).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
        match inside[..] {
            [name] => {
                matches!(
                    name,
                    "collection.sqlite" | "collection.sqlite-wal" | "collection.sqlite-shm" | "attributes.arrow"
                ) || is_lock(name)
            }
            ["cache" | "keywords", "manifest.json"] => true,
            ["cache", segment, _] => named.contains(segment),
            ["keywords", piece, name] => named.contains(piece) && (named.contains(name) || is_lock(name)),
            _ => false,
        }
    };
    files(folder).into_iter().filter(|path| !known(path)).collect()
}

/// All texts in a JSON document, those within texts that are JSON themselves included.
fn names(value: &serde_json::Value, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::String(text) => {
            if let Ok(inner @ serde_json::Value::Object(_)) = serde_json::from_str(text) {
                names(&inner, into);
            }
            into.insert(text.clone());
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| names(item, into)),
        serde_json::Value::Object(fields) => fields.values().for_each(|field| names(field, into)),
        _ => {}
    }
}
