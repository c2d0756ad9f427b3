//! Collections that older versions wrote open and answer as they did; those of newer versions are refused.

use std::fs;
use std::path::{Path, PathBuf};

use anser_core::{AttributeValue, ErrorKind};
use anser_index::{Collection, IndexError, NewDocument, Store};

use crate::support::{Place, compact, copy_folder, direction, document, embedder, files, filled, id, rng};
use crate::work::{Model, check_documents, check_search, check_word};

const DIMENSION: usize = 8;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A copy of what a version of the given format wrote.
fn written_by(format: u32) -> Place {
    let place = Place::new();
    copy_folder(&fixture(&format!("format-{format}")), place.data().root());
    place
}

/// Documents of one and of two chunks, of one random generator.
fn all_documents() -> Vec<NewDocument> {
    let mut rng = rng(1);
    let chunks = |i: usize| if i < 600 { 1 } else { 2 };
    (0..620)
        .map(|i| {
            let vectors: Vec<_> = (0..chunks(i)).map(|_| direction(&mut rng, DIMENSION)).collect();
            document(format!("d{i}"), "v1", &vectors)
        })
        .collect()
}

fn to_model(documents: impl IntoIterator<Item = NewDocument>) -> Model {
    documents.into_iter().map(|new| (new.document.id.to_string(), new)).collect()
}

fn check(collection: &Collection, model: &Model) {
    check_documents(collection, model);
    for seed in 0..5 {
        check_search(collection, model, &direction(&mut rng(seed), DIMENSION), None);
    }
    let filters = ["version = v1", "version != v1", "score > 2.5 or tags = blue", "at < 2024-05-05T00:00:00Z"];
    for filter in filters {
        check_search(collection, model, &direction(&mut rng(9), DIMENSION), Some(&filter.parse().unwrap()));
    }
    for word in ["piece", "nothing"] {
        check_word(collection, model, word);
    }
}

/// Opens it as it is, then without caches, and changes it.
fn opens_and_goes_on(place: &Place, name: &str, mut model: Model) {
    {
        let store = place.store();
        check(&store.get(name).unwrap(), &model);
    }
    for path in cache_files(&place.folder(name)) {
        fs::remove_file(path).unwrap();
    }
    let store = place.store();
    let collection = store.get(name).unwrap();
    assert_eq!(collection.embedder(), &embedder(DIMENSION));
    check(&collection, &model);
    let new = document("d7", "v2", &[direction(&mut rng(5), DIMENSION)]);
    collection.upsert(std::slice::from_ref(&new)).unwrap();
    model.insert("d7".into(), new);
    collection.delete(&[id("d611")]).unwrap();
    model.remove("d611");
    collection.seal().unwrap();
    check(&collection, &model);
    compact(&collection);
    check(&collection, &model);
    drop((collection, store));
    check(&place.store().get(name).unwrap(), &model);
}

#[test]
fn a_collection_of_the_first_format_answers_as_it_did() {
    let mut model = to_model(all_documents());
    (0..5).for_each(|i| drop(model.remove(&format!("d{i}"))));
    opens_and_goes_on(&written_by(1), "first", model);
}

/// What the fixture of the second format holds, written or only told.
fn second(store: Option<&Store>) -> Model {
    let mut all = all_documents();
    for (i, new) in all.iter_mut().enumerate() {
        let attributes = &mut new.document.attributes;
        attributes.insert("score".into(), AttributeValue::Float(i as f64 / 100.0));
        attributes.insert("tags".into(), AttributeValue::StringList(vec![["red", "blue"][i % 2].into()]));
        if i % 3 == 0 {
            let day = time::Duration::days(i64::try_from(i).unwrap());
            attributes.insert("at".into(), AttributeValue::Time(time::macros::datetime!(2024-01-01 0:00 UTC) + day));
        }
    }
    let mut model = to_model(all.clone());
    (0..5).for_each(|i| drop(model.remove(&format!("d{i}"))));
    let mood = AttributeValue::String("calm".into());
    model.get_mut("d9").unwrap().document.attributes.insert("mood".into(), mood.clone());
    if let Some(store) = store {
        let collection = store.create("second", &embedder(DIMENSION)).unwrap();
        collection.upsert(&all[..600]).unwrap();
        collection.seal().unwrap();
        check_word(&collection, &to_model(all[..600].to_vec()), "piece");
        collection.delete(&(0..5).map(|i| id(format!("d{i}"))).collect::<Vec<_>>()).unwrap();
        collection.upsert(&all[600..]).unwrap();
        collection.set_attributes(&[(id("d9"), "mood", Some(mood))]).unwrap();
    }
    model
}

#[test]
fn a_collection_of_the_second_format_answers_as_it_did() {
    opens_and_goes_on(&written_by(2), "second", second(None));
}

/// Writes the fixture of the present format anew. Only for a format that no version has been released with.
#[test]
#[ignore = "writes tests/fixtures: cargo test -p anser-index --test it -- --ignored formats::write_the_fixture"]
fn write_the_fixture() {
    let place = Place::new();
    drop(second(Some(&place.store())));
    let target = fixture("format-2");
    let _ = fs::remove_dir_all(&target);
    copy_folder(place.data().root(), &target);
    assert!(files(&target).iter().all(|path| !path.to_string_lossy().ends_with("-wal")), "nobody has it open");
}

/// Everything below a collection's folder but its database and locks.
fn cache_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = files(folder);
    found.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        !name.starts_with("collection.sqlite") && !name.ends_with(".lock")
    });
    found.sort();
    found
}

#[test]
fn a_database_of_a_newer_format_is_refused_and_left_as_it_is() {
    let place = Place::new();
    drop(filled(&place.store(), DIMENSION, &all_documents()));
    let path = place.folder("c").join("collection.sqlite");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let store = place.store();
    let error = store.get("c").unwrap_err();
    assert!(matches!(error, IndexError::NewerFormat { found: 99, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("99") && text.contains("newer version"), "{text}");
    assert!(store.list().unwrap().is_empty(), "it does not hide the others");
    assert_eq!(store.create("c", &embedder(3)).unwrap_err().kind(), ErrorKind::Conflict, "nor is it written over");
    drop(store);
    assert_eq!(fs::read(&path).unwrap(), before);
}
