//! Disk comes back after deletions, and nothing of what was deleted stays in any file.

use std::fs;

use anser_core::{CancelToken, ErrorKind, NoProgress};
use anser_index::{Collection, NewDocument};

use crate::support::{Place, answers, direction, document, embedder, files, filled, id, rng};

const DIMENSION: usize = 16;

/// Documents with long texts that say their own names.
fn long(range: std::ops::Range<usize>) -> Vec<NewDocument> {
    let text = |i: usize| format!("canary-{i}-text ").repeat(60);
    range
        .map(|i| {
            let mut made = document(format!("canary-{i}-id"), &text(i), &[direction(&mut rng(i as u64), DIMENSION)]);
            made.fingerprint = format!("f{i}");
            made
        })
        .collect()
}

fn found(place: &Place, needle: &[u8]) -> Vec<String> {
    let all = files(&place.folder("c")).into_iter();
    let holding = all.filter(|path| fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle));
    holding.map(|path| path.display().to_string()).collect()
}

fn compact(collection: &Collection) -> anser_index::Compaction {
    collection.compact(&NoProgress, &CancelToken::new()).unwrap()
}

#[test]
fn disk_comes_back_and_nothing_deleted_is_left() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &[]);
    // In an order in which pages are split and merged.
    for start in [0, 1, 2, 3] {
        let all = long(0..1200);
        let some: Vec<NewDocument> = all.into_iter().skip(start).step_by(4).collect();
        collection.upsert(&some).unwrap();
    }
    collection.seal().unwrap();
    let vector = |i: u64| -> Vec<u8> {
        direction(&mut rng(i), DIMENSION).as_slice().iter().flat_map(|value| value.to_le_bytes()).collect()
    };
    assert!(!found(&place, b"canary-77-text").is_empty());
    assert!(!found(&place, &vector(77)).is_empty());
    let gone: Vec<_> = (0..1200).filter(|i| i % 10 != 0).map(|i| id(format!("canary-{i}-id"))).collect();
    for some in gone.chunks(100) {
        assert_eq!(collection.delete(some).unwrap(), some.len());
    }
    let before = answers(&collection, DIMENSION);
    let done = compact(&collection);
    assert!(done.erased);
    assert!(done.bytes_after * 4 < done.bytes_before, "{done:?}");
    assert_eq!(collection.info().unwrap().disk_bytes, done.bytes_after);
    for i in (0..1200u64).filter(|i| i % 10 != 0).step_by(43) {
        for needle in [format!("canary-{i}-text").as_bytes(), format!("canary-{i}-id").as_bytes(), &vector(i)] {
            assert_eq!(found(&place, needle), Vec::<String>::new(), "{i}");
        }
    }
    assert!(!found(&place, b"canary-10-text").is_empty());
    assert_eq!(answers(&collection, DIMENSION), before);
    drop((collection, store));
    assert_eq!(answers(&place.store().get("c").unwrap(), DIMENSION), before);
    let again = compact(&place.store().get("c").unwrap());
    assert_eq!(again.bytes_after, again.bytes_before);
}

#[test]
fn vectors_of_other_generations_go_too() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &long(0..600));
    collection.seal().unwrap();
    let other = anser_core::EmbedderInfo { fingerprint: "other".into(), ..embedder(DIMENSION) };
    let making = collection.reembed(&other).unwrap();
    loop {
        let chunks = making.next(100).unwrap();
        if chunks.is_empty() {
            break;
        }
        let vectors: Vec<_> = chunks.iter().map(|c| (c.id, direction(&mut rng(10_000 + c.id.0), DIMENSION))).collect();
        making.store(&vectors).unwrap();
    }
    making.prepare(&CancelToken::new()).unwrap();
    assert!(making.swap().unwrap());
    drop(making);
    let collection = store.get("c").unwrap();
    let bytes = |seed: u64| -> Vec<u8> {
        direction(&mut rng(seed), DIMENSION).as_slice().iter().flat_map(|value| value.to_le_bytes()).collect()
    };
    assert!(!found(&place, &bytes(3)).is_empty(), "the vectors of before are kept");
    let gone = collection.chunks(&id("canary-3-id")).unwrap()[0].id.0;
    collection.delete(&[id("canary-3-id")]).unwrap();
    compact(&collection);
    assert!(found(&place, &bytes(3)).is_empty(), "{:?}", found(&place, &bytes(3)));
    assert!(found(&place, &bytes(10_000 + gone)).is_empty());
    assert!(!found(&place, &bytes(4)).is_empty(), "others can still be gone back to");
}

#[test]
fn half_made_vectors_go_unless_they_are_being_made() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &long(0..600));
    let other = anser_core::EmbedderInfo { fingerprint: "other".into(), ..embedder(DIMENSION) };
    let making = collection.reembed(&other).unwrap();
    let chunks = making.next(1000).unwrap();
    let vectors: Vec<_> = chunks.iter().map(|c| (c.id, direction(&mut rng(10_000 + c.id.0), DIMENSION))).collect();
    making.store(&vectors).unwrap();
    making.prepare(&CancelToken::new()).unwrap();
    let gone = collection.chunks(&id("canary-3-id")).unwrap()[0].id.0;
    let bytes: Vec<u8> =
        direction(&mut rng(10_000 + gone), DIMENSION).as_slice().iter().flat_map(|v| v.to_le_bytes()).collect();
    collection.delete(&[id("canary-3-id")]).unwrap();
    assert!(!compact(&collection).erased);
    assert!(!found(&place, &bytes).is_empty(), "its files are in use");
    drop(making);
    assert!(compact(&collection).erased);
    assert_eq!(found(&place, &bytes), Vec::<String>::new());
    assert!(collection.drop_previous().unwrap(), "what was begun goes, too");
    assert_eq!(collection.generations().unwrap().len(), 1);
    assert!(!collection.drop_previous().unwrap());
}

#[test]
fn copies_that_a_salvage_left_go_and_a_damaged_database_is_told_of() {
    let place = Place::new();
    let collection = filled(&place.store(), DIMENSION, &long(0..20));
    let beside = |end: &str| place.folder("c").join(format!("collection.sqlite.{end}"));
    for end in ["salvaged-1", "salvaged-1-wal", "damaged-2"] {
        fs::write(beside(end), "texts").unwrap();
    }
    assert!(!compact(&collection).erased);
    assert!(!beside("salvaged-1").exists() && !beside("salvaged-1-wal").exists() && beside("damaged-2").exists());
    fs::remove_file(beside("damaged-2")).unwrap();
    assert!(compact(&collection).erased);
}

#[test]
fn a_cancelled_compaction_changes_nothing_that_counts() {
    let place = Place::new();
    let collection = filled(&place.store(), DIMENSION, &long(0..300));
    let before = answers(&collection, DIMENSION);
    let cancelled = CancelToken::new();
    cancelled.cancel();
    assert_eq!(collection.compact(&NoProgress, &cancelled).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(answers(&collection, DIMENSION), before);
    compact(&collection);
    assert_eq!(answers(&collection, DIMENSION), before);
}

#[test]
fn free_pages_are_given_back_in_the_background() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, DIMENSION, &[]);
    let text = "many bytes ".repeat(20_000);
    let big = |i: usize| document(format!("b{i}"), &text, &[direction(&mut rng(i as u64), DIMENSION)]);
    for i in 0..60 {
        collection.upsert(&[big(i)]).unwrap();
    }
    let size = || fs::metadata(place.folder("c").join("collection.sqlite")).unwrap().len();
    let before = size();
    assert!(before > 24 << 20, "{before}");
    collection.delete(&(0..58).map(|i| id(format!("b{i}"))).collect::<Vec<_>>()).unwrap();
    // No time is measured: the test ends when the space is back.
    while size() * 4 > before {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(collection.info().unwrap().documents, 2);
}
