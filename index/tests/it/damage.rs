//! Files that were damaged: caches are made anew, a damaged database is named with what can be done about it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anser_core::{AttributeValue, ErrorKind};
use anser_index::{Collection, IndexOptions, NewDocument};
use rand::Rng;

use crate::support::{Place, direction, documents, files, filled, id, options, rng, written};
use crate::work::{Model, check_documents, check_search, check_word, filler, word, write_words};

const DIMENSION: usize = 16;
/// Set for every kind of damage to every file; otherwise one of each kind of file is damaged in one way.
const EVERYTHING: &str = "ANSER_TEST_DAMAGE";

/// Files below a collection's folder that are only caches, by their path below it.
fn caches(place: &Place) -> Vec<PathBuf> {
    let folder = place.folder("c");
    let mut found: Vec<PathBuf> =
        files(&folder).into_iter().map(|path| path.strip_prefix(&folder).unwrap().to_path_buf()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        !name.starts_with("collection.sqlite") && !name.ends_with(".lock")
    });
    found.sort();
    found
}

/// A collection with two segments, one of them with a graph, rows that no longer count, a tail and keywords; closed.
fn kept() -> (Place, Model) {
    let place = Place::new();
    let store = place.store_with(options_here());
    let mut rng = rng(1);
    let all: Vec<NewDocument> = (0..1000)
        .map(|i| {
            let text = format!("{} piece {}", word(9, i), filler(&mut rng, 250));
            let mut new = written(&format!("d{i}"), "v1".into(), &[(text, direction(&mut rng, DIMENSION))]);
            new.document.attributes.insert("number".into(), AttributeValue::Integer(i as i64));
            new
        })
        .collect();
    let collection = filled(&store, DIMENSION, &all[..700]);
    collection.seal().unwrap();
    collection.upsert(&all[700..900]).unwrap();
    collection.seal().unwrap();
    collection.upsert(&all[900..]).unwrap();
    let gone = [id("d5"), id("d750"), id("d950")];
    collection.delete(&gone).unwrap();
    let left = all.into_iter().filter(|new: &NewDocument| !gone.contains(&new.document.id));
    let model: Model = left.map(|new| (new.document.id.to_string(), new)).collect();
    check(&collection, &model);
    write_words(&collection, &place.folder("c"));
    drop((collection, store));
    (place, model)
}

fn options_here() -> IndexOptions {
    IndexOptions { seal_threshold: 100, exact_below: 10, ..options() }
}

fn check(collection: &Collection, model: &Model) {
    let query = direction(&mut rng(3), DIMENSION);
    check_search(collection, model, &query, None);
    check_search(collection, model, &query, Some(&"number > 500".parse().unwrap()));
    [5, 6, 750, 800, 999].map(|i| word(9, i)).iter().for_each(|word| check_word(collection, model, word));
    check_word(collection, model, "piece");
}

/// Opened and searched, sealed and searched, opened once more.
fn answers_as_before(place: &Place, model: &Model, what: &str) {
    eprintln!("{what}");
    let store = place.store_with(options_here());
    let collection = store.get("c").unwrap();
    check(&collection, model);
    collection.seal().unwrap();
    check(&collection, model);
    drop((collection, store));
    check(&place.store_with(options_here()).get("c").unwrap(), model);
}

fn damage(path: &Path, how: &str) {
    let mut bytes = fs::read(path).unwrap();
    let (length, middle) = (bytes.len(), bytes.len() / 2);
    match how {
        "missing" => return fs::remove_file(path).unwrap(),
        "empty" => bytes.clear(),
        "cut" => bytes.truncate(middle),
        "longer" => bytes.extend([0; 100]),
        "garbage" => bytes.fill(b'#'),
        "first" => bytes[0] ^= 1,
        "middle" => bytes[middle] ^= 0x10,
        "last" => bytes[length - 1] ^= 0x80,
        other => unreachable!("{other}"),
    }
    // Another file of that name, as a disk that returns other bytes would show it.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Restores the folder of a collection from a copy.
fn restore(copy: &Path, place: &Place) {
    fs::remove_dir_all(place.folder("c")).unwrap();
    crate::support::copy_folder(copy, &place.folder("c"));
}

/// All of them, or one of each kind.
fn chosen(mut all: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let kind = |path: &PathBuf| {
        let top = path.iter().next().map(std::ffi::OsStr::to_os_string);
        (top, path.components().count(), path.extension().map(std::ffi::OsStr::to_os_string))
    };
    all.retain(|path| seen.insert(kind(path)) || std::env::var_os(EVERYTHING).is_some());
    all
}

#[test]
fn every_kind_of_damage_to_every_cache_file_is_mended() {
    let (place, model) = kept();
    let copy = tempfile::tempdir().unwrap();
    crate::support::copy_folder(&place.folder("c"), copy.path());
    let all = caches(&place);
    for kind in
        ["manifest.json", "vectors.arrow", "graph.hnsw", "codes.int8", "keywords/manifest.json", ".term", ".idx"]
    {
        assert!(all.iter().any(|file| file.to_string_lossy().ends_with(kind)), "{kind}: {all:?}");
    }
    let hows = ["middle", "missing", "cut", "empty", "longer", "garbage", "first", "last"];
    for (number, file) in chosen(all).into_iter().enumerate() {
        let few = &hows[number % hows.len()..][..1];
        for how in if std::env::var_os(EVERYTHING).is_some() { &hows[..] } else { few } {
            restore(copy.path(), &place);
            let path = place.folder("c").join(&file);
            if fs::metadata(&path).unwrap().len() > 0 {
                damage(&path, how);
                answers_as_before(&place, &model, &format!("{how} {}", file.display()));
            }
        }
    }
}

#[test]
fn flipped_bits_anywhere_in_the_caches_are_noticed() {
    let (place, model) = kept();
    let copy = tempfile::tempdir().unwrap();
    crate::support::copy_folder(&place.folder("c"), copy.path());
    let mut rng = rng(8);
    let everything = std::env::var_os(EVERYTHING).is_some();
    let files = chosen(caches(&place)).into_iter().enumerate().filter(|(number, _)| everything || number % 3 == 0);
    for (_, file) in files {
        for _ in 0..if everything { 20 } else { 1 } {
            restore(copy.path(), &place);
            let path = place.folder("c").join(&file);
            let mut bytes = fs::read(&path).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let (at, bit) = (rng.random_range(0..bytes.len()), rng.random_range(0..8));
            bytes[at] ^= 1 << bit;
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            eprintln!("bit {bit} of byte {at} of {}", file.display());
            check(&place.store_with(options_here()).get("c").unwrap(), &model);
        }
    }
}

#[test]
fn all_caches_can_be_lost_at_once_also_those_in_use() {
    let (place, model) = kept();
    let store = place.store_with(options_here());
    let collection = store.get("c").unwrap();
    for file in caches(&place) {
        fs::remove_file(place.folder("c").join(file)).unwrap();
    }
    check(&collection, &model);
    collection.seal().unwrap();
    check(&collection, &model);
    drop((collection, store));
    answers_as_before(&place, &model, "all caches gone");
}

/// The bytes of pages from `from` on become noise.
fn spoil_pages(path: &Path, from: f64) {
    let mut bytes = fs::read(path).unwrap();
    let start = (bytes.len() as f64 * from) as usize / 8192 * 8192;
    let mut rng = rng(4);
    bytes[start..].iter_mut().for_each(|byte| *byte = rng.random());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_database_is_named_with_what_can_be_done() {
    for from in [0.0, 0.02, 0.3, 0.6, 0.9] {
        let place = Place::new();
        drop(filled(&place.store(), DIMENSION, &documents(1, 600, DIMENSION)));
        let path = place.folder("c").join("collection.sqlite");
        spoil_pages(&path, from);
        let store = place.store();
        store.create("good", &crate::support::embedder(3)).unwrap();
        assert!(store.list().unwrap().iter().any(|info| info.name == "good"));
        // Whoever meets the damage says where it lies; what is still sound is still read.
        let met = store.get("c").and_then(|collection| {
            collection.documents(None, 10_000)?;
            for i in 0..600 {
                collection.chunks(&id(format!("d{i}")))?;
            }
            collection.search(&direction(&mut rng(1), DIMENSION), &anser_index::SearchParams::new(5))?;
            collection.upsert(&documents(1, 600, DIMENSION))?;
            collection.delete(&[id("d1"), id("d599")])
        });
        let error = met.expect_err("most of its pages are noise");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{from}: {error}");
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("anser doctor --repair"), "{from}: {text}");
    }
}

#[test]
fn what_is_sound_in_a_damaged_collection_does_not_disturb_the_rest_of_the_store() {
    let (place, model) = kept();
    let store = place.store_with(options_here());
    let sound = store.create("sound", &crate::support::embedder(DIMENSION)).unwrap();
    let all: Vec<NewDocument> = model.values().cloned().collect();
    sound.upsert(&all).unwrap();
    spoil_pages(&place.folder("c").join("collection.sqlite"), 0.0);
    check_documents(&sound, &model);
    assert!(store.get("c").is_err());
    assert!(store.delete("c").unwrap(), "a damaged collection can be deleted");
    assert_eq!(store.list().unwrap().len(), 1);
}
