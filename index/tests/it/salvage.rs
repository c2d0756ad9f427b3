//! A damaged database says so, and what can be read of it is saved.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anser_core::{EmbedderInfo, ErrorKind};
use anser_index::{GenerationState, IndexError, SearchParams};
use rand::Rng;

use crate::support::{Place, answers, direction, document, documents, filled, id, rng};

const DIMENSION: usize = 16;

/// A closed collection of 400 documents, with its answers.
fn closed(place: &Place) -> (Vec<Vec<(String, f32)>>, std::path::PathBuf) {
    let store = place.store();
    let mut all = documents(1, 400, DIMENSION);
    for (i, new) in all.iter_mut().enumerate() {
        let fingerprint = new.fingerprint.clone();
        *new = document(
            format!("d{i}"),
            "v1",
            &[new.chunks[0].embedding.clone(), direction(&mut rng(i as u64), DIMENSION)],
        );
        new.fingerprint = fingerprint;
    }
    let collection = filled(&store, DIMENSION, &all);
    collection.delete(&[id("d399"), id("d7")]).unwrap();
    collection.seal().unwrap();
    (answers(&collection, DIMENSION), place.folder("c").join("collection.sqlite"))
}

/// The numbers of the first pages of tables and indexes, from 1.
fn roots(path: &std::path::Path) -> Vec<u64> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut select = connection.prepare("SELECT rootpage FROM sqlite_schema").unwrap();
    let roots = select.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    roots.map(|root| root.unwrap() as u64).collect()
}

fn damage(path: &std::path::Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

#[test]
fn a_sound_collection_is_saved_whole() {
    let place = Place::new();
    let (before, path) = closed(&place);
    let store = place.store();
    assert_eq!(store.check("c").unwrap().faults, Vec::<String>::new());
    assert_eq!(store.check("c").unwrap().format, Some(2));
    let saved = store.salvage("c", true).unwrap();
    assert_eq!((saved.documents, saved.incomplete, saved.chunks), (398, 0, 796));
    assert_eq!((saved.unreadable_documents, saved.unreadable_chunks), (0, 0));
    assert!(saved.damaged.unwrap().is_file());
    let collection = store.get("c").unwrap();
    assert_eq!(answers(&collection, DIMENSION), before);
    assert_eq!(store.check("c").unwrap().faults, Vec::<String>::new());
    // It goes on as any other, and keys of before are not given again.
    collection.upsert(&documents(5, 401, DIMENSION)[400..]).unwrap();
    assert!(collection.chunks(&id("d400")).unwrap()[0].id.0 > 800);
    drop((collection, store));
    let store = place.store();
    assert_eq!(store.salvage("c", false).unwrap().damaged, None);
    assert_eq!(store.get("c").unwrap().info().unwrap().documents, 399);
    assert_eq!(
        fs::read_dir(path.parent().unwrap())
            .unwrap()
            .filter(|e| { e.as_ref().unwrap().file_name().to_string_lossy().contains("salvaged") })
            .count(),
        0
    );
}

#[test]
fn who_writes_meanwhile_is_refused_and_nobody_writes_to_a_file_that_was_replaced() {
    let place = Place::new();
    let (_, path) = closed(&place);
    let (ours, theirs) = (place.store(), place.store());
    let collection = theirs.get("c").unwrap();
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(ours.salvage("c", true).unwrap_err().kind(), ErrorKind::Overloaded);
    writer.execute_batch("ROLLBACK").unwrap();
    drop(writer);
    let lies_beside = |what: &str| {
        let names = fs::read_dir(path.parent().unwrap()).unwrap();
        names.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(what)).count()
    };
    assert_eq!((lies_beside("salvaged"), lies_beside("damaged")), (0, 0));
    ours.salvage("c", true).unwrap();
    let new = &documents(5, 401, DIMENSION)[400..];
    let refused = collection.upsert(new).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    assert!(refused.to_string().contains("collection \"c\""), "{refused}");
    theirs.get("c").unwrap().upsert(new).unwrap();
    assert_eq!(ours.get("c").unwrap().chunks(&id("d400")).unwrap().len(), 1);
}

#[test]
fn only_the_vectors_that_are_searched_are_saved() {
    let place = Place::new();
    closed(&place);
    let store = place.store();
    let collection = store.get("c").unwrap();
    let other = EmbedderInfo { fingerprint: "other".into(), ..collection.embedder().clone() };
    let making = collection.reembed(&other).unwrap();
    let chunks = making.next(1000).unwrap();
    let vectors: Vec<_> = chunks.iter().map(|chunk| (chunk.id, direction(&mut rng(chunk.id.0), DIMENSION))).collect();
    making.store(&vectors).unwrap();
    assert!(making.swap().unwrap());
    drop((making, collection));
    let saved = store.salvage("c", false).unwrap();
    assert_eq!((saved.documents, saved.chunks, saved.unreadable_chunks), (398, 796, 0));
    let collection = store.get("c").unwrap();
    let left: Vec<_> = collection.generations().unwrap().into_iter().map(|g| (g.number, g.state)).collect();
    assert_eq!(left, [(2, GenerationState::Current)]);
    assert_eq!(collection.embedder(), &other);
    assert_eq!(collection.search(&direction(&mut rng(1), DIMENSION), &SearchParams::new(5)).unwrap().hits.len(), 5);
}

#[test]
fn damage_is_named_and_only_what_it_hit_is_lost() {
    let place = Place::new();
    let (_, path) = closed(&place);
    let pages = fs::metadata(&path).unwrap().len() / 8192;
    // A page of documents, chunks, vectors or an index. Without the first page of a table its rows cannot be told apart.
    let roots = roots(&path);
    let mut lossy = 0;
    for page in 3..pages {
        let copy = Place::new();
        drop(copy.store());
        let folder = copy.folder("c");
        fs::create_dir_all(&folder).unwrap();
        let target = folder.join("collection.sqlite");
        fs::copy(&path, &target).unwrap();
        damage(&target, page * 8192, &[0xa5; 8192]);
        let store = copy.store();
        let checked = store.check("c").unwrap();
        let root = roots.contains(&(page + 1));
        let saved = store.salvage("c", true).unwrap();
        let whole = (saved.documents, saved.chunks) == (398, 796);
        lossy += usize::from(!whole);
        assert!(!checked.faults.is_empty() || whole, "page {page}: what is lost is found: {saved:?}");
        assert!(root || saved.documents + saved.incomplete >= 100, "page {page}: {saved:?}");
        let collection = store.get("c").unwrap();
        assert_eq!(store.check("c").unwrap().faults, Vec::<String>::new(), "page {page}");
        let info = collection.info().unwrap();
        assert_eq!((info.documents, info.chunks), (saved.documents + saved.incomplete, saved.chunks), "page {page}");
        let hits = collection.search(&direction(&mut rng(1), DIMENSION), &SearchParams::new(5)).unwrap().hits;
        assert_eq!(hits.len() as u64, saved.chunks.min(5), "page {page}");
        // The same documents again make it whole.
        let mut all = documents(1, 400, DIMENSION);
        for (i, new) in all.iter_mut().enumerate() {
            let fingerprint = new.fingerprint.clone();
            let vectors = [new.chunks[0].embedding.clone(), direction(&mut rng(i as u64), DIMENSION)];
            *new = document(format!("d{i}"), "v1", &vectors);
            new.fingerprint = fingerprint;
        }
        collection.upsert(&all).unwrap();
        let info = collection.info().unwrap();
        assert_eq!((info.documents, info.chunks), (400, 800), "page {page}");
    }
    assert!(lossy > 0, "some page mattered");
}

#[test]
fn flipped_bytes_never_panic_and_errors_name_the_file_and_the_way_out() {
    let place = Place::new();
    let (_, path) = closed(&place);
    let sound = fs::read(&path).unwrap();
    let mut rng = rng(11);
    let mut named = 0;
    for round in 0..60 {
        let copy = Place::new();
        drop(copy.store());
        let folder = copy.folder("c");
        fs::create_dir_all(&folder).unwrap();
        let target = folder.join("collection.sqlite");
        let mut bytes = sound.clone();
        for _ in 0..=rng.random_range(0..40) {
            // Every third time in the first page, where the header and the schema are.
            let within = if round % 3 == 0 { 8192 } else { bytes.len() };
            let at = rng.random_range(0..within);
            bytes[at] ^= 1 << rng.random_range(0..8);
        }
        if round % 10 == 9 {
            bytes.truncate(rng.random_range(0..bytes.len()));
        }
        fs::write(&target, bytes).unwrap();
        let store = copy.store();
        match store.get("c").and_then(|collection| {
            collection.search(&direction(&mut rng, DIMENSION), &SearchParams::new(5)).map(|_| ())?;
            collection.documents(None, 1000).map(|_| ())
        }) {
            Ok(()) => {}
            Err(e) => {
                if matches!(e, IndexError::Damaged { .. }) {
                    named += 1;
                    let said = e.to_string();
                    assert!(said.contains("collection.sqlite") && said.contains("anser doctor --repair"), "{said}");
                }
                assert_ne!(e.kind(), ErrorKind::InvalidInput, "{e}");
            }
        }
        let _ = store.check("c");
        if store.salvage("c", false).is_ok() {
            let collection = store.get("c").unwrap();
            collection.search(&direction(&mut rng, DIMENSION), &SearchParams::new(5)).unwrap();
            assert_eq!(store.check("c").unwrap().faults, Vec::<String>::new());
        }
    }
    assert!(named > 0, "some damage was met");
}
