//! Columns against the rules themselves: random filters on random documents, as they come, change and go.

use std::collections::BTreeMap;

use anser_core::storage::DataDir;
use anser_core::{
    AttributeValue, Attributes, ByteSpan, ChunkId, Document, DocumentId, EmbedderInfo, Embedding, ErrorKind,
};
use proptest::prelude::*;
use time::OffsetDateTime;

use super::block::Block;
use super::draft::Draft;
use super::file::ColumnFile;
use super::plan::Plan;
use super::rows::RowBits;
use crate::{Collection, Filter, IndexOptions, NewChunk, NewDocument, Store};

const KEYS: [&str; 3] = ["a", "b", "odd key\n"];
const WHOLE: [i64; 12] = [
    i64::MIN,
    i64::MIN + 1,
    -9_007_199_254_740_993,
    -2,
    -1,
    0,
    1,
    2,
    9_007_199_254_740_992,
    9_007_199_254_740_993,
    i64::MAX - 1,
    i64::MAX,
];
const OTHER: [f64; 16] = [
    f64::MIN,
    -9_223_372_036_854_775_808.0,
    -9_007_199_254_740_992.0,
    -1.5,
    -1.0,
    -0.0,
    0.0,
    f64::MIN_POSITIVE,
    5e-324,
    0.5,
    1.0,
    2.0,
    9_007_199_254_740_992.0,
    9_223_372_036_854_774_784.0,
    9_223_372_036_854_775_808.0,
    f64::MAX,
];

fn text() -> impl Strategy<Value = String> {
    let long = |end: String| format!("{}{end}", "x".repeat(64));
    prop_oneof![
        4 => prop::sample::select(&["", "a", "x", "y", "ä", "2024-05-01", "1", "true", "\u{10ffff}"][..]).prop_map(str::to_owned),
        // Several texts of one beginning, one of them only the beginning.
        2 => prop::sample::select(&["", "a", "b", "b\0", "ä"][..]).prop_map(move |end| long(end.to_owned())),
        1 => (60usize..68).prop_map(|count| format!("x{}", "ä".repeat(count / 2))),
        1 => ".{0,6}",
    ]
}

fn moment() -> impl Strategy<Value = OffsetDateTime> {
    prop_oneof![
        4 => (0i128..4).prop_map(|n| n * 86_400_000_000_000),
        2 => (0i128..4).prop_map(|n| n * 1_000_000_000),
        1 => (0i128..4).prop_map(|n| n - 2),
        1 => prop::sample::select(&[-62_167_219_200_000_000_000i128, 253_402_300_799_999_999_999, 9_223_372_036_854_775_807][..]),
    ]
    .prop_map(|nanoseconds| OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap())
}

fn scalar() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<bool>().prop_map(AttributeValue::Bool),
        prop::sample::select(&WHOLE[..]).prop_map(AttributeValue::Integer),
        prop::sample::select(&OTHER[..]).prop_map(AttributeValue::Float),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(AttributeValue::Float),
        moment().prop_map(AttributeValue::Time),
        text().prop_map(AttributeValue::String),
    ]
}

fn value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![4 => scalar(), 1 => prop::collection::vec(text(), 0..4).prop_map(AttributeValue::StringList)]
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(&KEYS[..]).prop_map(str::to_owned)
}

fn comparison() -> impl Strategy<Value = Filter> {
    prop_oneof![
        (key(), value()).prop_map(|(key, value)| Filter::Eq { key, value }),
        (key(), value()).prop_map(|(key, value)| Filter::Ne { key, value }),
        (key(), value()).prop_map(|(key, value)| Filter::Gt { key, value }),
        (key(), value()).prop_map(|(key, value)| Filter::Gte { key, value }),
        (key(), value()).prop_map(|(key, value)| Filter::Lt { key, value }),
        (key(), value()).prop_map(|(key, value)| Filter::Lte { key, value }),
        (key(), prop::collection::vec(value(), 0..8)).prop_map(|(key, value)| Filter::In { key, value }),
        (key(), prop::collection::vec(value(), 0..8)).prop_map(|(key, value)| Filter::Nin { key, value }),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    comparison().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|filters| Filter::And { filters }),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|filters| Filter::Or { filters }),
            inner.prop_map(|filter| Filter::Not { filter: Box::new(filter) }),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    prop::collection::btree_map(key(), value(), 0..4)
}

/// What is read back: a text that looks like a time is one.
fn stored(attributes: &Attributes) -> (String, Attributes) {
    let json = serde_json::to_string(attributes).unwrap();
    let read = serde_json::from_str(&json).unwrap();
    (json, read)
}

/// The rows that pass, with those settled that the columns leave open.
fn passing(block: &Block, filter: &Filter, documents: &[Option<Attributes>]) -> Vec<bool> {
    let mut open = RowBits::none();
    let found = block.passing(&Plan::new(filter), &mut open);
    let one = |row: usize| {
        let Some(attributes) = &documents[row] else { return found.has(row) };
        if open.has(row) { filter.matches(attributes) } else { found.has(row) }
    };
    (0..documents.len()).map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 768, ..ProptestConfig::default() })]

    #[test]
    fn a_block_lets_through_what_the_filter_does(
        before in prop::collection::vec(attributes(), 1..40),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(attributes())), 0..20),
        new in prop::collection::vec(attributes(), 0..10),
        filters in prop::collection::vec(filter(), 1..6),
    ) {
        let mut draft = Draft::default();
        let mut documents: Vec<Option<Attributes>> = Vec::new();
        let key_of = |row: usize| 5 + row as i64 * 3;
        for (row, attributes) in before.iter().enumerate() {
            let (json, read) = stored(attributes);
            draft.push(row as u16, &json).unwrap();
            documents.push(Some(read));
        }
        let keys: Vec<i64> = (0..before.len()).map(key_of).collect();
        let first = Block::new(&keys, draft);
        for filter in &filters {
            let expected: Vec<bool> = documents.iter().map(|d| d.as_ref().is_some_and(|d| filter.matches(d))).collect();
            prop_assert_eq!(passing(&first, filter, &documents), expected, "{}", filter);
        }
        let edits: BTreeMap<usize, Option<(String, Attributes)>> = edits.iter()
            .map(|(at, edit)| (at.index(before.len()), edit.as_ref().map(stored)))
            .collect();
        let added: Vec<(String, Attributes)> = new.iter().map(stored).collect();
        let changed = first.changed(
            &edits.iter().map(|(row, edit)| (key_of(*row), edit.as_ref().map(|(json, _)| json.as_str()))).collect::<Vec<_>>(),
            &added.iter().enumerate().map(|(at, (json, _))| (key_of(before.len() + at), json.as_str())).collect::<Vec<_>>(),
        ).unwrap();
        for (row, edit) in &edits {
            documents[*row] = edit.as_ref().map(|(_, read)| read.clone());
        }
        documents.extend(added.into_iter().map(|(_, read)| Some(read)));
        for filter in &filters {
            let expected: Vec<bool> = documents.iter().map(|d| d.as_ref().is_some_and(|d| filter.matches(d))).collect();
            prop_assert_eq!(passing(&changed, filter, &documents), expected, "{}", filter);
        }
    }
}

const DIMENSION: usize = 2;

fn new_document(id: usize, version: usize, attributes: Attributes, chunks: usize) -> NewDocument {
    let text = "word ".repeat(chunks);
    let chunk = |at: usize| NewChunk {
        span: ByteSpan::new(at * 5, at * 5 + 5).unwrap(),
        text: "word ".into(),
        tokens: 1,
        embedding: Embedding::normalize(vec![1.0, at as f32 + id as f32]).unwrap(),
    };
    NewDocument {
        document: Document { id: name(id), title: None, text, attributes },
        fingerprint: version.to_string(),
        chunks: (0..chunks).map(chunk).collect(),
    }
}

fn name(id: usize) -> DocumentId {
    DocumentId::new(format!("d{id}")).unwrap()
}

fn store(folder: &std::path::Path) -> Store {
    Store::open(&DataDir::open(folder).unwrap(), IndexOptions { threads: 1, ..IndexOptions::default() }).unwrap()
}

fn embedder() -> EmbedderInfo {
    EmbedderInfo { model: "made-up".into(), dimension: DIMENSION, max_tokens: 8, fingerprint: "f".into() }
}

/// What happens to a collection.
#[derive(Debug, Clone)]
enum Step {
    Store(Vec<(usize, Attributes, usize)>),
    Set(Vec<(usize, String, Option<AttributeValue>)>),
    Delete(Vec<usize>),
    /// Chunks are sealed and the changes so far dropped.
    Seal,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0usize..25;
    prop_oneof![
        3 => prop::collection::vec((id(), attributes(), 0usize..4), 1..12).prop_map(Step::Store),
        2 => prop::collection::vec((id(), key(), prop::option::of(value())), 1..6).prop_map(Step::Set),
        2 => prop::collection::vec(id(), 1..8).prop_map(Step::Delete),
        1 => Just(Step::Seal),
    ]
}

/// What the collection says about a filter against the rules, on the documents that it holds.
fn check(collection: &Collection, documents: &BTreeMap<usize, (Attributes, usize)>, filter: &Filter) {
    let passing: Vec<usize> =
        documents.iter().filter(|(_, (attributes, _))| filter.matches(attributes)).map(|(id, _)| *id).collect();
    let mut expected: Vec<ChunkId> =
        passing.iter().flat_map(|id| collection.chunks(&name(*id)).unwrap()).map(|chunk| chunk.id).collect();
    expected.sort_unstable();
    let database = collection.database().unwrap();
    let found = database.reader().unwrap().transact(|connection| collection.allowed.get(filter, database, connection));
    let refused = filter.compared().iter().any(|compared| {
        let kinds =
            documents.values().filter_map(|(attributes, _)| attributes.get(compared.key)).map(AttributeValue::kind);
        let kinds: Vec<_> = kinds.map(crate::filter::ComparedType::of).collect();
        !kinds.is_empty() && !kinds.iter().any(|kind| compared.accepts(*kind))
    });
    match found {
        Ok(found) => {
            assert!(!refused, "{filter}");
            assert_eq!(found.chunks, expected, "{filter}");
            let with_chunks = passing.iter().filter(|id| documents[id].1 > 0).count();
            assert_eq!((found.explain.documents, found.explain.vectors), (with_chunks, expected.len()));
            let seen: usize = found.explain.mismatched.iter().map(|mismatched| mismatched.documents).sum();
            assert!(
                found.explain.mismatched.iter().all(|m| m.documents > 0) && seen <= 8 * documents.len() * KEYS.len()
            );
        }
        Err(e) => assert!(refused && e.kind() == ErrorKind::InvalidInput, "{filter}: {e}"),
    }
    let scan = |filter: Option<&Filter>| {
        let mut seen = Vec::new();
        collection.scan(filter, &mut |scanned| {
            seen.push(scanned);
            Ok(())
        })?;
        crate::Result::Ok(seen)
    };
    let mut expected = scan(None).unwrap();
    expected.retain(|scanned| filter.matches(&scanned.document.attributes));
    match scan(Some(filter)) {
        Ok(seen) => assert!(!refused && seen == expected, "{filter}"),
        Err(e) => assert!(refused && e.kind() == ErrorKind::InvalidInput, "{filter}: {e}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn columns_follow_whatever_happens_and_whoever_does_it(
        steps in prop::collection::vec((any::<bool>(), step()), 1..10),
        filters in prop::collection::vec(filter(), 2..5),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (store(dir.path()), store(dir.path()));
        let collection = here.create("c", &embedder()).unwrap();
        let other = there.get("c").unwrap();
        let mut documents: BTreeMap<usize, (Attributes, usize)> = BTreeMap::new();
        for (at, (by_other, step)) in steps.into_iter().enumerate() {
            let writer = if by_other { &other } else { &collection };
            match step {
                Step::Store(new) => {
                    let new: BTreeMap<usize, (Attributes, usize)> =
                        new.into_iter().map(|(id, attributes, chunks)| (id, (stored(&attributes).1, chunks))).collect();
                    let made: Vec<NewDocument> =
                        new.iter().map(|(id, (a, chunks))| new_document(*id, at, a.clone(), *chunks)).collect();
                    writer.upsert(&made).unwrap();
                    documents.extend(new);
                }
                Step::Set(changes) => {
                    let mut set = Vec::new();
                    for (id, key, value) in &changes {
                        if let Some((attributes, _)) = documents.get_mut(id) {
                            let read = value.as_ref().map(|v| stored(&[("a".into(), v.clone())].into()).1["a"].clone());
                            match read {
                                Some(read) => drop(attributes.insert(key.clone(), read)),
                                None => drop(attributes.remove(key)),
                            }
                        }
                        set.push((name(*id), key.as_str(), value.clone()));
                    }
                    writer.set_attributes(&set).unwrap();
                }
                Step::Delete(ids) => {
                    documents.retain(|id, _| !ids.contains(id));
                    writer.delete(&ids.into_iter().map(name).collect::<Vec<_>>()).unwrap();
                }
                Step::Seal => writer.seal().unwrap(),
            }
            for filter in &filters {
                check(&collection, &documents, filter);
            }
        }
        for filter in &filters {
            check(&other, &documents, filter);
            let columns = |collection: &Collection| {
                let mut reader = collection.database().unwrap().reader().unwrap();
                reader.transact(|connection| collection.allowed.columns().at(connection)).unwrap()
            };
            let (one, two) = (columns(&collection), columns(&other));
            let file = ColumnFile::new(dir.path(), "random id");
            file.write(&one).unwrap();
            prop_assert_eq!(&file.open().unwrap(), &*one);
            prop_assert_eq!((one.documents(), one.seq()), (two.documents(), two.seq()));
        }
    }
}

/// Readers of one handle each see one state, whatever a writer does meanwhile.
#[test]
fn readers_see_whole_states_while_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (store(dir.path()), store(dir.path()));
    let collection = here.create("c", &embedder()).unwrap();
    let other = there.get("c").unwrap();
    let round = |n: i64| -> Vec<NewDocument> {
        let attributes: Attributes = [("round".to_owned(), AttributeValue::Integer(n))].into();
        (0..20).map(|id| new_document(id, n as usize + 1, attributes.clone(), 2)).collect()
    };
    collection.upsert(&round(0)).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let (low, high): (Filter, Filter) = ("round < 20".parse().unwrap(), "round >= 20".parse().unwrap());
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let database = collection.database().unwrap();
                    let (a, b) = database
                        .reader()
                        .unwrap()
                        .transact(|connection| {
                            let get = |filter| collection.allowed.get(filter, database, connection);
                            Ok((get(&low)?, get(&high)?))
                        })
                        .unwrap();
                    // All documents of a round are stored at once.
                    assert_eq!((a.chunks.len() + b.chunks.len(), a.chunks.len() % 40), (40, 0));
                }
            });
        }
        for n in 1..40 {
            other.upsert(&round(n)).unwrap();
            if n % 10 == 0 {
                other.seal().unwrap();
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_comparison_with_a_type_that_is_not_there_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let collection = store(dir.path()).create("c", &embedder()).unwrap();
    let number = |n: i64| AttributeValue::Integer(n);
    let text = |text: &str| AttributeValue::String(text.into());
    let made = |id: usize, values: Vec<(&str, AttributeValue)>| {
        new_document(id, 0, values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(), 1)
    };
    let time = || AttributeValue::Time(OffsetDateTime::UNIX_EPOCH);
    collection
        .upsert(&[
            made(1, vec![("score", number(4)), ("lang", text("en")), ("mixed", number(1)), ("at", time())]),
            made(
                2,
                vec![("score", AttributeValue::Float(4.5)), ("mixed", text("1")), ("ok", AttributeValue::Bool(true))],
            ),
            made(
                3,
                vec![("mixed", AttributeValue::Bool(true)), ("tags", AttributeValue::StringList(vec!["a".into()]))],
            ),
            made(4, vec![("lang", text("2024-05-01"))]),
        ])
        .unwrap();
    for (filter, expected) in [
        (
            "score = \"4\"",
            "`score = \"4\"` compares with a text, but \"score\" is a number in all 2 documents that have it, such as \"d1\"; write the number 4 without quotes",
        ),
        ("not score in [many, few]", "compare with a number"),
        ("lang = 4", "put the value in quotes to compare it as a text: \"4\""),
        ("lang > 2024-05-01", "such as \"2024-05-01\""),
        ("lang != true", "compares with true or false, but \"lang\" is a text"),
        ("lang = [en, de]", "use `lang in [...]`"),
        ("ok = \"TRUE\"", "in the only document that has it, \"d2\"; write true without quotes"),
        ("ok >= 1", "compare with true or false"),
        ("at > 5", "compare with a date or time"),
        ("tags = 5", "put the value in quotes to compare it as a text: \"5\""),
        ("tags > a", "a list has no order: use = or in"),
        ("score > 1 or tags < 5", "a list has no order"),
        ("mixed > 2024-05-01", "is a number or true or false or a text in all 3"),
    ] {
        let error = collection.explain_filter(&filter.parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(expected), "{filter}: {error}");
    }
    for (filter, passing, remark) in [
        (
            "mixed = 1",
            1,
            "\"mixed\" is compared with a number, but is true or false or a text in 2 documents, such as \"d3\"",
        ),
        ("mixed != 1", 3, "\"mixed\" is compared with a number"),
        (
            "mixed in [1, \"1\"]",
            2,
            "\"mixed\" is compared with a number or a text, but is true or false in 1 document, such as \"d3\"",
        ),
        ("mixed in []", 0, ""),
        ("score >= 4.5 or tags = a", 2, ""),
        ("tags = [a] and unknown != 3", 1, ""),
    ] {
        let explain = collection.explain_filter(&filter.parse().unwrap()).unwrap();
        let remarks: Vec<String> = explain.mismatched.iter().map(ToString::to_string).collect();
        assert_eq!(explain.documents, passing, "{filter}");
        assert!(remarks.concat().contains(remark) && remarks.is_empty() == remark.is_empty(), "{filter}: {remarks:?}");
        let json = serde_json::to_string(&explain).unwrap();
        assert_eq!(serde_json::from_str::<crate::FilterExplain>(&json).unwrap(), explain);
    }
}

#[test]
fn no_changed_byte_of_the_file_goes_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let collection = store(dir.path()).create("c", &embedder()).unwrap();
    let attributes = |n: usize| -> Attributes {
        let values = [
            ("score", AttributeValue::Integer(n as i64)),
            ("price", AttributeValue::Float(n as f64 / 4.0)),
            ("lang", AttributeValue::String(["en", "de"][n % 2].into())),
            ("tags", AttributeValue::StringList(vec![format!("t{}", n % 3), "x".into()])),
            ("at", AttributeValue::Time(OffsetDateTime::from_unix_timestamp(n as i64 * 3600).unwrap())),
        ];
        values
            .into_iter()
            .filter(|(key, _)| !n.is_multiple_of(5) || *key != "lang")
            .map(|(key, v)| (key.to_owned(), v))
            .collect()
    };
    let documents: Vec<NewDocument> = (0..100).map(|n| new_document(n, 0, attributes(n), 1)).collect();
    collection.upsert(&documents).unwrap();
    let columns = {
        let mut reader = collection.database().unwrap().reader().unwrap();
        reader.transact(|connection| collection.allowed.columns().at(connection)).unwrap()
    };
    let file = ColumnFile::new(dir.path(), "one");
    std::fs::write(dir.path().join("attributes.arrow.0.new"), "interrupted").unwrap();
    file.write(&columns).unwrap();
    let path = dir.path().join("attributes.arrow");
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.iter().filter(|name| name.to_string_lossy().contains("attributes")).count(), 1, "{names:?}");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!((file.open().as_ref(), file.seq()), (Some(&*columns), Some(columns.seq())));
    assert!(ColumnFile::new(dir.path(), "two").open().is_none(), "it is of another collection");
    for at in (0..bytes.len()).step_by(7).chain(bytes.len() - 300..bytes.len()) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, damaged).unwrap();
        assert!(file.open().is_none(), "byte {at} of {}", bytes.len());
    }
    for end in [0, 1, 8, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..end]).unwrap();
        assert!(file.open().is_none(), "{end} bytes");
    }
    file.remove().unwrap();
    assert!(file.open().is_none() && file.seq().is_none());
    file.remove().unwrap();
}

#[test]
fn columns_of_many_documents_are_kept_in_a_file_that_forgets_what_was_deleted() {
    const CANARY: &str = "a value that must go";
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let options = IndexOptions { threads: 1, seal_threshold: usize::MAX, ..IndexOptions::default() };
        Store::open(&DataDir::open(dir.path()).unwrap(), options).unwrap()
    };
    let collection = open().create("c", &embedder()).unwrap();
    let attributes = |n: usize| -> Attributes {
        let name = if n == 7 { CANARY.to_owned() } else { format!("name {}", n % 5) };
        [("n".to_owned(), AttributeValue::Integer(n as i64)), ("name".to_owned(), AttributeValue::String(name))].into()
    };
    let documents: Vec<NewDocument> = (0..20_100).map(|n| new_document(n, 0, attributes(n), 1)).collect();
    collection.upsert(&documents).unwrap();
    let (filter, path): (Filter, _) =
        ("n >= 100 or name = \"a value that must go\"".parse().unwrap(), collection_file(dir.path()));
    let explain = |collection: &Collection| {
        let explain = collection.explain_filter(&filter).unwrap();
        collection.allowed.close();
        explain.documents
    };
    let holds_canary = || {
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
    };
    assert_eq!(explain(&collection), 20_001);
    assert!(holds_canary());
    drop(collection);
    let written = std::fs::read(&path).unwrap();

    let collection = open().get("c").unwrap();
    collection.delete(&[name(500)]).unwrap();
    assert_eq!(explain(&collection), 20_000);
    assert!(collection.allowed.columns().file_seq().is_some(), "it was opened");
    assert_eq!(std::fs::read(&path).unwrap(), written, "one change is no reason to write it anew");
    collection.delete(&[name(7)]).unwrap();
    collection.compact(&anser_core::NoProgress, &anser_core::CancelToken::new()).unwrap();
    assert!(!holds_canary());
    assert_eq!(explain(&collection), 19_999);
    drop(collection);

    let mut damaged = std::fs::read(&path).unwrap();
    damaged[1000] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let collection = open().get("c").unwrap();
    assert_eq!(explain(&collection), 19_999);
    let mended = ColumnFile::new(path.parent().unwrap(), &collection.database().unwrap().identity().id);
    assert!(mended.open().is_some(), "what is damaged is written anew");
    drop(collection);
    let collection = open().get("c").unwrap();
    collection.compact(&anser_core::NoProgress, &anser_core::CancelToken::new()).unwrap();
    assert!(!path.exists(), "nobody uses it");
}

fn collection_file(data: &std::path::Path) -> std::path::PathBuf {
    DataDir::open(data).unwrap().collection("c").unwrap().join("attributes.arrow")
}

#[test]
fn attributes_are_read_as_documents_read_them() {
    for json in [
        "{}",
        r#"{"a": 18446744073709551615, "b": -0, "c": 1e5}"#,
        r#"{"a": "2024-05-01T00:00:00Z", "b": "2024-05-01T00:00:00z", "c": "2024-05-01 00:00:00Z"}"#,
        r#"{"a": ["2024-05-01T00:00:00Z"], "b": [], "c": "\u00e4\n"}"#,
    ] {
        let read: Attributes = serde_json::from_str(json).unwrap();
        let mut draft = Draft::default();
        draft.push(0, json).unwrap();
        let block = Block::new(&[1], draft);
        for (key, value) in read {
            let kinds: Vec<_> = block.columns[key.as_str()].iter().map(|part| part.kind).collect();
            assert_eq!(kinds, [value.kind()], "{key} of {json}");
            assert_eq!(passing(&block, &Filter::Eq { key, value }, &[None]), [true], "{json}");
        }
    }
    let mut draft = Draft::default();
    draft.push(0, r#"{"a": 1, "a": "x"}"#).unwrap();
    let block = Block::new(&[1], draft);
    assert_eq!(passing(&block, &"a = x".parse().unwrap(), &[None]), [true]);
    assert_eq!(passing(&block, &"a = 1".parse().unwrap(), &[None]), [false]);
    for wrong in ["", "[]", r#"{"a": null}"#, r#"{"a": {}}"#, r#"{"a": [1]}"#, r#"{"a": 1} x"#] {
        assert!(Draft::default().push(0, wrong).is_err(), "{wrong}");
    }
}
