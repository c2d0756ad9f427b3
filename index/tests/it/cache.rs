//! Caches are only caches: whatever happens to them, answers stay the same.

use std::fs;

use anser_core::ErrorKind;
use anser_index::{IndexOptions, SearchParams};

use crate::support::{Place, answers, direction, documents, files, filled, hits_with, id, options, rng};

const DIMENSION: usize = 16;

/// A collection with a segment that has a graph, tombstones in it and a tail; closed again.
fn sealed(place: &Place) -> Vec<Vec<(String, f32)>> {
    let store = place.store();
    let all = documents(1, 900, DIMENSION);
    let collection = filled(&store, DIMENSION, &all[..800]);
    collection.seal().unwrap();
    collection.upsert(&all[800..]).unwrap();
    collection.delete(&[id("d5"), id("d850")]).unwrap();
    assert!(place.cache_file("c", "graph.hnsw").is_file());
    answers(&collection, DIMENSION)
}

fn reopened(place: &Place) -> Vec<Vec<(String, f32)>> {
    answers(&place.store().get("c").unwrap(), DIMENSION)
}

#[test]
fn reopening_maps_the_segment_and_replays_the_rest() {
    let place = Place::new();
    let before = sealed(&place);
    assert_eq!(reopened(&place), before);
    let store = place.store();
    let collection = store.get("c").unwrap();
    let explain = collection.search(&direction(&mut rng(3), DIMENSION), &SearchParams::new(5)).unwrap().explain;
    assert_eq!((explain.vectors, explain.segments, explain.tail), (898, 1, 99));
}

#[test]
fn without_any_cache_file_the_answers_are_the_same() {
    let place = Place::new();
    let before = sealed(&place);
    fs::remove_dir_all(place.cache("c")).unwrap();
    assert_eq!(reopened(&place), before);
    for file in ["manifest.json", "vectors.arrow", "codes.int8", "graph.hnsw"] {
        let place = Place::new();
        let before = sealed(&place);
        fs::remove_file(place.cache_file("c", file)).unwrap();
        assert_eq!(reopened(&place), before, "without {file}");
    }
}

#[test]
fn damaged_cache_files_are_rebuilt_silently() {
    for file in ["manifest.json", "vectors.arrow", "codes.int8", "graph.hnsw"] {
        for damage in ["empty", "cut", "garbage", "flip"] {
            let place = Place::new();
            let before = sealed(&place);
            let path = place.cache_file("c", file);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            match damage {
                "empty" => bytes.clear(),
                "cut" => bytes.truncate(middle),
                "garbage" => bytes.fill(b'#'),
                _ => bytes[middle] ^= 0x10,
            }
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            assert_eq!(reopened(&place), before, "{damage} {file}");
            let store = place.store();
            let collection = store.get("c").unwrap();
            collection.seal().unwrap();
            assert_eq!(answers(&collection, DIMENSION), before, "{damage} {file}, sealed again");
            drop((collection, store));
            assert_eq!(reopened(&place), before, "{damage} {file}, sealed and opened again");
        }
    }
}

#[test]
fn a_manifest_of_the_first_layout_is_made_anew_and_one_of_a_newer_is_left_alone() {
    let place = Place::new();
    let before = sealed(&place);
    let path = place.cache_file("c", "manifest.json");
    let good = fs::read_to_string(&path).unwrap();
    assert!(good.starts_with("{\"format\":2,"), "{good}");
    fs::write(&path, good.replace("\"format\":2", "\"format\":1")).unwrap();
    assert_eq!(reopened(&place), before);
    let newer = good.replace("\"format\":2", "\"format\":3");
    fs::write(&path, &newer).unwrap();
    let kept = files(&place.cache("c"));
    let refused = place.store().get("c").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("format 3") && refused.to_string().contains("newer version"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), newer, "nothing was written");
    assert_eq!(files(&place.cache("c")), kept, "nothing was removed");
    fs::write(&path, good).unwrap();
    assert_eq!(reopened(&place), before);
}

#[test]
fn a_manifest_of_another_collection_or_of_other_places_is_not_believed() {
    for (from, to) in [("\"collection\":\"", "\"collection\":\"x"), ("segment-", "../seg-")] {
        let place = Place::new();
        let before = sealed(&place);
        let path = place.cache_file("c", "manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        assert_eq!(reopened(&place), before);
    }
}

#[test]
fn a_restored_backup_of_the_database_wins_over_a_newer_cache() {
    let place = Place::new();
    let database = place.folder("c").join("collection.sqlite");
    let before = {
        let store = place.store();
        answers(&filled(&store, DIMENSION, &documents(1, 700, DIMENSION)), DIMENSION)
    };
    let backup = fs::read(&database).unwrap();
    {
        let store = place.store();
        let collection = store.get("c").unwrap();
        collection.upsert(&documents(2, 900, DIMENSION)).unwrap();
        collection.seal().unwrap();
        assert_ne!(answers(&collection, DIMENSION), before);
    }
    fs::write(&database, backup).unwrap();
    assert_eq!(reopened(&place), before);
}

#[test]
fn unfinished_and_old_generations_are_cleared_away() {
    let place = Place::new();
    let before = sealed(&place);
    let leftover = place.cache("c").join("segment-0000000002");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join("vectors.arrow"), b"half a file").unwrap();
    let store = place.store();
    let collection = store.get("c").unwrap();
    collection.seal().unwrap();
    assert_eq!(answers(&collection, DIMENSION), before);
    let segments = files(&place.cache("c")).iter().filter(|p| p.ends_with("vectors.arrow")).count();
    assert_eq!(segments, 1, "small segments were merged into one");
    let explain = collection.search(&direction(&mut rng(3), DIMENSION), &SearchParams::new(5)).unwrap().explain;
    assert_eq!((explain.vectors, explain.segments, explain.tail), (898, 1, 0));
}

#[test]
fn the_background_makes_segments_of_a_long_tail() {
    let place = Place::new();
    let store = place.store_with(IndexOptions { seal_threshold: 600, ..options() });
    let collection = filled(&store, DIMENSION, &[]);
    for batch in documents(1, 3000, DIMENSION).chunks(250) {
        collection.upsert(batch).unwrap();
    }
    let query = direction(&mut rng(3), DIMENSION);
    let exact = SearchParams { exact: Some(true), ..SearchParams::new(10) };
    let expected = hits_with(&collection, &query, &exact);
    // Every search asks the background to go on until the tail is short; no time is measured.
    let explain = loop {
        let explain = collection.search(&query, &exact).unwrap().explain;
        if explain.tail < 600 {
            break explain;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(explain.vectors, 3000);
    assert!(explain.segments >= 1);
    assert_eq!(hits_with(&collection, &query, &exact), expected);
    drop((collection, store));
    assert_eq!(hits_with(&place.store().get("c").unwrap(), &query, &exact), expected);
}

#[test]
fn a_segment_of_which_much_was_removed_is_written_anew() {
    let place = Place::new();
    let store = place.store_with(IndexOptions { seal_threshold: 100, ..options() });
    let collection = filled(&store, DIMENSION, &documents(1, 700, DIMENSION));
    collection.seal().unwrap();
    let size = || fs::metadata(place.cache_file("c", "vectors.arrow")).unwrap().len();
    let before = size();
    let gone: Vec<_> = (0..400).map(|i| id(format!("d{i}"))).collect();
    collection.delete(&gone).unwrap();
    collection.seal().unwrap();
    assert!(size() < before);
    collection.delete(&(400..700).map(|i| id(format!("d{i}"))).collect::<Vec<_>>()).unwrap();
    collection.seal().unwrap();
    assert!(files(&place.cache("c")).iter().all(|p| !p.ends_with("vectors.arrow")), "nothing is left to keep");
}
