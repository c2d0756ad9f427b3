//! Creating, listing and deleting collections.

use std::fs;

use anser_core::ErrorKind;
use anser_core::storage::DataDir;
use anser_index::{IndexOptions, Store};

use crate::support::{Place, documents, embedder, filled, id};

#[test]
fn collections_are_created_listed_and_deleted() {
    let place = Place::new();
    let store = place.store();
    assert!(store.list().unwrap().is_empty());
    store.create("b", &embedder(3)).unwrap();
    store.create("a.1-x_Y", &embedder(5)).unwrap();
    let names: Vec<_> = store.list().unwrap().into_iter().map(|c| (c.name, c.embedder.dimension)).collect();
    assert_eq!(names, [("a.1-x_Y".to_owned(), 5), ("b".to_owned(), 3)]);
    assert_eq!(store.create("b", &embedder(3)).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.get("c").unwrap_err().kind(), ErrorKind::NotFound);
    for bad in ["", "../x", ".hidden", "a/b"] {
        assert_eq!(store.create(bad, &embedder(3)).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        assert_eq!(store.get(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
    }
    assert_eq!(store.create("z", &embedder(0)).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(store.delete("b").unwrap());
    assert!(!store.delete("b").unwrap());
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(fs::read_dir(place.data().collections()).unwrap().count(), 1);
}

#[test]
fn whoever_holds_a_deleted_collection_is_told_so() {
    let place = Place::new();
    let (ours, theirs) = (place.store(), place.store());
    let held = filled(&ours, 4, &documents(1, 10, 4));
    assert!(theirs.get("c").is_ok());
    ours.delete("c").unwrap();
    assert_eq!(held.upsert(&documents(2, 1, 4)).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(held.document(&id("d1")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(theirs.get("c").unwrap_err().kind(), ErrorKind::NotFound);
    filled(&ours, 6, &documents(1, 3, 6));
    assert_eq!(theirs.get("c").unwrap().info().unwrap().documents, 3, "the new one, not the old one of that name");
}

#[test]
fn leftovers_of_a_crash_are_neither_seen_nor_kept() {
    let place = Place::new();
    drop(filled(&place.store(), 4, &documents(1, 10, 4)));
    let folder = place.data().collections();
    // A deletion that was interrupted after the rename, with some files already gone.
    fs::create_dir(folder.join(".deleted-old-1")).unwrap();
    fs::write(folder.join(".deleted-old-1/collection.sqlite-wal"), b"rest").unwrap();
    // A folder that lost its database.
    fs::create_dir_all(folder.join("half/cache")).unwrap();
    let store = place.store();
    assert!(!folder.join(".deleted-old-1").exists());
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(store.get("half").unwrap_err().kind(), ErrorKind::NotFound);
    store.create("half", &embedder(3)).unwrap().seal().unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
    fs::remove_file(folder.join("half/collection.sqlite")).unwrap();
    assert!(!store.delete("half").unwrap(), "without its database it was no collection");
    assert!(!folder.join("half").exists());
}

#[test]
fn a_damaged_collection_does_not_hide_the_others() {
    let place = Place::new();
    drop(filled(&place.store(), 4, &documents(1, 10, 4)));
    let store = place.store();
    store.create("good", &embedder(3)).unwrap();
    fs::write(place.folder("c").join("collection.sqlite"), vec![b'x'; 8192]).unwrap();
    let names: Vec<_> = store.list().unwrap().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["good"]);
    assert_eq!(store.get("c").unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_store_in_a_folder_that_is_a_file_says_so() {
    let place = Place::new();
    let data: DataDir = place.data();
    fs::write(data.collections(), b"").unwrap();
    let error = Store::open(&data, IndexOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("collections"));
}
