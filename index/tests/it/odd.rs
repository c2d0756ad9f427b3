//! Input that nobody expects: it is refused in one sentence or kept exactly.

use anser_core::{AttributeValue, DocumentId, Embedding, ErrorKind};
use anser_index::{Filter, IndexOptions, SearchMode, SearchParams, SearchQuery};

use crate::support::{Place, direction, document, documents, filled, hits_with, id, options, rng, written};

const DIMENSION: usize = 8;

#[test]
fn vectors_without_a_direction_are_no_embeddings() {
    for bad in [
        vec![],
        vec![0.0; DIMENSION],
        vec![f32::NAN; DIMENSION],
        vec![f32::INFINITY, 0.0],
        vec![1.0, f32::NEG_INFINITY],
        vec![-0.0, 0.0],
    ] {
        let error = Embedding::normalize(bad.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}: {error}");
        assert!(Embedding::from_unit(bad).is_err());
    }
    for fine in [vec![f32::MAX; DIMENSION], vec![1e-6; DIMENSION], vec![f32::MAX, f32::MIN_POSITIVE]] {
        let made = Embedding::normalize(fine.clone()).unwrap();
        assert!((made.cosine(&made).unwrap() - 1.0).abs() < 1e-5, "{fine:?}");
    }
}

#[test]
fn vectors_of_another_dimension_are_refused_wherever_they_come() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &documents(1, 5, DIMENSION));
    for dimension in [1, DIMENSION - 1, DIMENSION + 1, 5000] {
        let wrong = direction(&mut rng(1), dimension);
        let stored = collection.upsert(&[document("x", "v1", std::slice::from_ref(&wrong))]).unwrap_err();
        let modes = [SearchMode::Vector, SearchMode::Hybrid].map(|mode| {
            let params = SearchParams { mode: Some(mode), ..SearchParams::new(3) };
            collection.search(SearchQuery { vector: Some(&wrong), text: Some("piece") }, &params).unwrap_err()
        });
        for error in modes.into_iter().chain([stored]) {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(text.contains(&dimension.to_string()) && text.contains('8'), "{text}");
        }
    }
    assert_eq!(collection.info().unwrap().documents, 5);
}

#[test]
fn ids_are_kept_byte_for_byte_or_refused() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &[]);
    let fine = [
        "a/b/../c",
        "..",
        "/",
        "\\",
        "C:\\x",
        "%2F",
        " ",
        "'; DROP TABLE documents; --",
        "\"",
        "*",
        "?",
        "\u{1f980}\u{200d}",
        "é",
        "e\u{301}",
        "水壶",
        "\u{feff}",
        "\u{202e}abc",
        &"x".repeat(512),
        "NULL",
        "0",
        "-1",
        "1e309",
    ];
    let mut rng = rng(3);
    let vectors: Vec<Embedding> = fine.iter().map(|_| direction(&mut rng, DIMENSION)).collect();
    for (name, vector) in fine.iter().zip(&vectors) {
        collection.upsert(&[document(*name, "v1", std::slice::from_ref(vector))]).unwrap();
    }
    collection.seal().unwrap();
    drop((collection, store));
    let store = place.store();
    let collection = store.get("c").unwrap();
    assert_eq!(collection.info().unwrap().documents as usize, fine.len(), "none was taken for another");
    for (name, vector) in fine.iter().zip(&vectors) {
        assert_eq!(collection.document(&id(*name)).unwrap().unwrap().id.as_str(), *name);
        let found =
            hits_with(&collection, vector, &SearchParams { mode: Some(SearchMode::Vector), ..SearchParams::new(1) });
        assert_eq!(found[0].0, *name);
    }
    assert_eq!(collection.delete(&fine.map(id)).unwrap(), fine.len());
    assert_eq!(collection.info().unwrap().chunks, 0);
    for bad in ["", "a\nb", "a\0b", "\r", "\u{85}", &"x".repeat(513)] {
        assert_eq!(DocumentId::new(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
    }
}

#[test]
fn texts_of_ten_megabytes_and_of_nothing_are_stored() {
    let place = Place::new();
    let store = place.store();
    let mut rng = rng(4);
    let mut vector = || direction(&mut rng, DIMENSION);
    let long = "a long \u{1f980} text\0with a null ".repeat(10 << 20 >> 5);
    let cases = [("long", long.as_str()), ("empty", ""), ("white", " \n\t "), ("null", "\0"), ("one", "\u{10ffff}")];
    let new: Vec<_> = cases
        .iter()
        .map(|(name, text)| {
            written(name, "v1".into(), &[((*text).to_owned(), vector()), ((*text).to_owned(), vector())])
        })
        .collect();
    let collection = filled(&store, DIMENSION, &new);
    collection.upsert(&[document("without chunks", "v1", &[])]).unwrap();
    collection.seal().unwrap();
    for new in &new {
        assert_eq!(collection.document(&new.document.id).unwrap().unwrap(), new.document);
        let chunks = collection.chunks(&new.document.id).unwrap();
        assert!(chunks.iter().zip(&new.chunks).all(|(stored, chunk)| stored.text == chunk.text));
        let params = SearchParams { mode: Some(SearchMode::Vector), highlight: true, ..SearchParams::new(1) };
        assert_eq!(hits_with(&collection, &new.chunks[0].embedding, &params)[0].0, new.document.id.as_str());
    }
    assert_eq!(collection.chunks(&id("without chunks")).unwrap(), []);
}

#[test]
fn queries_of_any_text_are_answered() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &documents(5, 30, DIMENSION));
    let long = "piece ".repeat(200_000);
    let vector = direction(&mut rng(5), DIMENSION);
    for text in [
        "",
        " ",
        "\"",
        "\"\"",
        "\"piece",
        "piece\"",
        "\"piece of\" \"",
        "AND OR NOT",
        "+ - ! ( ) { } [ ] ^ ~ * ? : \\ /",
        "\0",
        "\u{1f980}",
        "piece:",
        "title:piece",
        "*",
        "piece*",
        "/[/",
        "水壶",
        "e\u{301}\u{301}\u{301}",
        &long,
    ] {
        for mode in [SearchMode::Keyword, SearchMode::Hybrid] {
            let params = SearchParams { mode: Some(mode), highlight: true, ..SearchParams::new(40) };
            let query = SearchQuery { vector: Some(&vector), text: Some(text) };
            let shown: String = text.chars().take(20).collect();
            let found = collection.search(query, &params).unwrap_or_else(|e| panic!("{shown:?}: {e}"));
            for hit in found.hits {
                let spans = hit.highlights.iter();
                assert!(spans.into_iter().all(|span| span.slice(&hit.chunk.text).is_some()), "{shown:?}");
            }
        }
    }
}

#[test]
fn a_thousand_equal_vectors_are_all_found() {
    let place = Place::new();
    let store = place.store_with(IndexOptions { exact_below: 10, ..options() });
    let same = direction(&mut rng(60), DIMENSION);
    let mut all = documents(6, 300, DIMENSION);
    all.extend((0..1000).map(|i| document(format!("same{i}"), "v1", std::slice::from_ref(&same))));
    let collection = filled(&store, DIMENSION, &all);
    for sealed in [false, true] {
        for (exact, k) in [(Some(true), 1000), (Some(false), 1000), (Some(true), 10), (Some(false), 10)] {
            let params = SearchParams { mode: Some(SearchMode::Vector), exact, ..SearchParams::new(k) };
            let found = hits_with(&collection, &same, &params);
            assert_eq!(found.len(), k, "{sealed} {exact:?}");
            let good = found.iter().filter(|(name, score)| name.starts_with("same") && (score - 1.0).abs() < 1e-5);
            assert_eq!(good.count(), k, "{sealed} {exact:?}");
        }
        collection.seal().unwrap();
    }
    collection.delete(&(0..1000).map(|i| id(format!("same{i}"))).collect::<Vec<_>>()).unwrap();
    let params = SearchParams { mode: Some(SearchMode::Vector), exact: Some(false), ..SearchParams::new(1000) };
    assert_eq!(hits_with(&collection, &same, &params).len(), 300);
}

#[test]
fn attributes_of_any_name_and_value_are_kept_and_can_be_asked_for() {
    let place = Place::new();
    let store = place.store();
    let names = ["", " ", "a\nb", "\0", "\"", "\u{1f980}", "a.b", "$x", &"k".repeat(10_000)];
    let values = [
        AttributeValue::Integer(i64::MIN),
        AttributeValue::Integer(i64::MAX),
        AttributeValue::Float(f64::MAX),
        AttributeValue::Float(5e-324),
        AttributeValue::Float(-0.0),
        AttributeValue::String(String::new()),
        AttributeValue::String("\0\n\u{1f980}".into()),
        AttributeValue::StringList(Vec::new()),
        AttributeValue::StringList((0..5000).map(|i| format!("tag {i}")).collect()),
    ];
    let mut made = documents(7, names.len(), DIMENSION);
    for ((new, name), value) in made.iter_mut().zip(names).zip(&values) {
        new.document.attributes.insert(name.to_owned(), value.clone());
    }
    let collection = filled(&store, DIMENSION, &made);
    collection.seal().unwrap();
    let query = direction(&mut rng(7), DIMENSION);
    for ((new, name), value) in made.iter().zip(names).zip(values) {
        assert_eq!(collection.document(&new.document.id).unwrap().unwrap(), new.document);
        let filter = Filter::Eq { key: name.to_owned(), value };
        let expected = usize::from(filter.matches(&new.document.attributes));
        let params = SearchParams { filter: Some(filter), ..SearchParams::new(100) };
        assert_eq!(hits_with(&collection, &query, &params).len(), expected, "{name:?}");
    }
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut bad = document("bad", "v1", std::slice::from_ref(&query));
        bad.document.attributes.insert("x".into(), AttributeValue::Float(wrong));
        assert_eq!(collection.upsert(&[bad]).unwrap_err().kind(), ErrorKind::InvalidInput);
        let set = collection.set_attributes(&[(id("d1"), "x", Some(AttributeValue::Float(wrong)))]);
        assert_eq!(set.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(collection.info().unwrap().documents as usize, names.len());
}

#[test]
fn impossible_numbers_of_hits_are_refused_or_answered() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &documents(8, 30, DIMENSION));
    let query = direction(&mut rng(8), DIMENSION);
    let none = SearchParams { exact: Some(true), ..SearchParams::new(0) };
    assert_eq!(collection.search(&query, &none).unwrap_err().kind(), ErrorKind::InvalidInput);
    for exact in [Some(true), Some(false)] {
        let mode = Some(SearchMode::Vector);
        let params = SearchParams { exact, mode, ef_search: Some(usize::MAX), ..SearchParams::new(1 << 40) };
        assert_eq!(hits_with(&collection, &query, &params).len(), 30);
    }
}
