//! Storing, replacing, deleting and reading documents.

use anser_core::{AttributeValue, Embedding, ErrorKind};
use anser_index::UpsertOutcome;

use crate::support::{Place, answers, direction, document, documents, embedder, filled, hits, id, rng};

fn axis(at: usize) -> Embedding {
    let mut values = vec![0.0; 4];
    values[at] = 1.0;
    Embedding::normalize(values).unwrap()
}

#[test]
fn a_stored_document_returns_as_it_was_also_after_reopening() {
    let place = Place::new();
    let mut new = document("a", "v1", &[axis(0), axis(1)]);
    new.document.attributes.extend([
        ("score".to_owned(), AttributeValue::Integer(5)),
        ("price".to_owned(), AttributeValue::Float(4.25)),
        ("whole".to_owned(), AttributeValue::Float(3.0)),
        ("new".to_owned(), AttributeValue::Bool(true)),
        ("tags".to_owned(), AttributeValue::StringList(vec!["x".into(), "\u{1f980}".into()])),
        ("at".to_owned(), AttributeValue::Time(time::macros::datetime!(2024-02-29 12:30 UTC))),
    ]);
    for reopened in [false, true] {
        let store = place.store();
        let collection = if reopened { store.get("c").unwrap() } else { filled(&store, 4, std::slice::from_ref(&new)) };
        assert_eq!(collection.document(&id("a")).unwrap().unwrap(), new.document);
        assert_eq!(collection.document(&id("b")).unwrap(), None);
        let chunks = collection.chunks(&id("a")).unwrap();
        assert_eq!(chunks.len(), 2);
        for (i, (chunk, stored)) in new.chunks.iter().zip(&chunks).enumerate() {
            assert_eq!((stored.ordinal, stored.span, stored.tokens), (i as u32, chunk.span, chunk.tokens));
            assert_eq!(stored.text, chunk.text);
        }
        let found = collection.search(&axis(1), &anser_index::SearchParams::new(1)).unwrap().hits;
        assert_eq!(found[0].chunk, chunks[1]);
        assert_eq!(found[0].title.as_deref(), Some("Title of a"));
        assert_eq!(found[0].attributes, new.document.attributes);
        let info = collection.info().unwrap();
        assert_eq!((info.documents, info.chunks, info.name.as_str()), (1, 2, "c"));
        assert!(info.disk_bytes > 0);
        assert_eq!(info.embedder, embedder(4));
    }
}

#[test]
fn upsert_counts_and_replaces_by_id() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, 4, &[document("a", "v1", &[axis(0)]), document("b", "v1", &[axis(1)])]);
    let outcome = collection
        .upsert(&[
            document("a", "v1", &[axis(0)]),
            document("b", "v2", &[axis(2), axis(3)]),
            document("c", "v1", &[axis(1)]),
        ])
        .unwrap();
    assert_eq!(outcome, UpsertOutcome { inserted: 1, replaced: 1, unchanged: 1 });
    assert_eq!(hits(&collection, &axis(3), 1)[0].0, "b");
    assert_eq!(hits(&collection, &axis(1), 1)[0].0, "c");
    assert_eq!(collection.info().unwrap().chunks, 4);
    let prints = collection.fingerprints(&[id("b"), id("nobody")]).unwrap();
    assert_eq!(prints.len(), 1);
    assert_eq!(prints[&id("b")], "b-v2-2");
}

#[test]
fn of_two_documents_with_one_id_in_one_call_the_last_counts() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, 4, &[document("a", "v1", &[axis(0)]), document("a", "v2", &[axis(1)])]);
    assert_eq!(hits(&collection, &axis(0), 9), [("a".to_owned(), 0.0)]);
    assert!(collection.document(&id("a")).unwrap().unwrap().text.contains("v2"));
}

#[test]
fn deleted_documents_are_gone_at_once_and_after_reopening() {
    let place = Place::new();
    {
        let store = place.store();
        let collection = filled(&store, 8, &documents(1, 50, 8));
        collection.seal().unwrap();
        assert_eq!(collection.delete(&[id("d3"), id("d4"), id("d3"), id("nobody")]).unwrap(), 2);
        assert_eq!(hits(&collection, &direction(&mut rng(2), 8), 100).len(), 48);
        assert!(collection.document(&id("d3")).unwrap().is_none());
    }
    let store = place.store();
    let found = hits(&store.get("c").unwrap(), &direction(&mut rng(2), 8), 100);
    assert_eq!(found.len(), 48);
    assert!(found.iter().all(|(name, _)| name != "d3" && name != "d4"));
}

#[test]
fn documents_are_deleted_on_a_condition_seen_in_the_same_transaction() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, 8, &documents(1, 50, 8));
    let mut seen = Vec::new();
    let deleted = collection
        .delete_chosen(&[id("d3"), id("d4"), id("nobody")], &mut |stored| {
            seen = stored.keys().map(ToString::to_string).collect();
            // Neither what does not exist nor what was not shown is deleted.
            vec![id("d4"), id("nobody"), id("d9")]
        })
        .unwrap();
    seen.sort();
    assert_eq!((deleted, seen), (1, vec!["d3".to_owned(), "d4".to_owned()]));
    assert_eq!(hits(&collection, &direction(&mut rng(2), 8), 100).len(), 49);
    assert!(collection.document(&id("d4")).unwrap().is_none() && collection.document(&id("d9")).unwrap().is_some());
}

#[test]
fn deleted_text_is_not_left_in_any_file() {
    let place = Place::new();
    let store = place.store();
    let secret = "correct horse battery staple";
    let new = document(secret, "v1", &[axis(0)]);
    let collection = filled(&store, 4, &[new, document("b", "v1", &[axis(1)])]);
    let holds_secret = || {
        crate::support::files(&place.folder("c")).iter().any(|path| {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(secret.len()).any(|w| w == secret.as_bytes())
        })
    };
    assert!(holds_secret());
    collection.delete(&[id(secret)]).unwrap();
    assert!(!holds_secret());
}

#[test]
fn attributes_are_set_and_removed_without_touching_anything_else() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, 8, &documents(1, 20, 8));
    let ids = [id("d3"), id("d4"), id("nobody")];
    let (before, chunks) = (collection.document(&ids[0]).unwrap().unwrap(), collection.chunks(&ids[0]).unwrap());
    let (fingerprints, searched) = (collection.fingerprints(&ids).unwrap(), answers(&collection, 8));
    let text = |value: &str| Some(AttributeValue::String(value.to_owned()));
    let set = |value: Option<AttributeValue>| {
        let changes: Vec<_> = ids.iter().map(|id| (id.clone(), "mood", value.clone())).collect();
        collection.set_attributes(&changes)
    };
    assert_eq!(set(text("a very particular mood")).unwrap(), 2, "the one that is not there does not count");
    assert_eq!(set(text("a very particular mood")).unwrap(), 0, "nothing changed");
    let mut expected = before.clone();
    expected.attributes.insert("mood".to_owned(), AttributeValue::String("a very particular mood".to_owned()));
    assert_eq!(collection.document(&ids[0]).unwrap().unwrap(), expected);
    assert_eq!(collection.chunks(&ids[0]).unwrap(), chunks);
    assert_eq!(collection.fingerprints(&ids).unwrap(), fingerprints);
    assert_eq!(answers(&collection, 8), searched);
    assert_eq!(set(None).unwrap(), 2);
    assert_eq!(collection.document(&ids[0]).unwrap().unwrap(), before);
    let error = set(Some(AttributeValue::Float(f64::NAN))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let left = crate::support::files(&place.folder("c"))
        .into_iter()
        .filter(|path| std::fs::read(path).unwrap().windows(22).any(|window| window == b"a very particular mood"));
    assert_eq!(left.count(), 0, "what was removed is gone from disk");
}

#[test]
fn documents_are_listed_page_by_page_in_order_of_id() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, 4, &documents(3, 25, 4));
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = collection.documents(after.as_ref(), 10).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        seen.extend(page.into_iter().map(|d| d.id.to_string()));
    }
    let mut expected: Vec<String> = (0..25).map(|i| format!("d{i}")).collect();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn bad_input_is_refused_and_nothing_of_its_call_is_stored() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, 4, &[document("a", "v1", &[axis(0)])]);
    let good = document("good", "v1", &[axis(1)]);
    let mut short = document("short", "v1", &[]);
    short.chunks = document("x", "v1", &[Embedding::normalize(vec![1.0, 2.0]).unwrap()]).chunks;
    let mut foreign = document("foreign", "v1", &[axis(1)]);
    foreign.chunks[0].text = "something else".into();
    let mut outside = document("outside", "v1", &[axis(1)]);
    outside.chunks[0].span.end = 10_000;
    let mut endless = document("endless", "v1", &[axis(1)]);
    endless.document.attributes.insert("x".into(), AttributeValue::Float(f64::NAN));
    for bad in [short, foreign, outside, endless] {
        let name = bad.document.id.to_string();
        let error = collection.upsert(&[good.clone(), bad]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
        assert_eq!(collection.info().unwrap().documents, 1, "{name}");
    }
}

#[test]
fn scan_gives_each_document_with_the_mean_of_its_chunks() {
    let place = Place::new();
    let store = place.store();
    let opposite = Embedding::normalize(vec![-1.0, 0.0, 0.0, 0.0]).unwrap();
    let collection = filled(
        &store,
        4,
        &[
            document("b", "v1", &[axis(0), axis(1)]),
            document("a", "v1", &[axis(2)]),
            document("empty", "v1", &[]),
            document("odd", "v1", &[axis(0), opposite]),
        ],
    );
    let mut scanned = Vec::new();
    let mut take = |document| {
        scanned.push(document);
        Ok(())
    };
    collection.scan(None, &mut take).unwrap();
    let names: Vec<&str> = scanned.iter().map(|s| s.document.id.as_str()).collect();
    assert_eq!(names, ["a", "b", "odd"]);
    assert_eq!(scanned[0].embedding, axis(2));
    let half = std::f32::consts::FRAC_1_SQRT_2;
    for (got, expected) in scanned[1].embedding.as_slice().iter().zip([half, half, 0.0, 0.0]) {
        assert!((got - expected).abs() < 1e-6);
    }
    assert_eq!(scanned[2].embedding, axis(0), "chunks that cancel out are represented by the first");
}
