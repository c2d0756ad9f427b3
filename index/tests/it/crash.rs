//! A process that is killed at any instant loses nothing that was acknowledged.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anser_core::storage::DataDir;
use anser_index::{IndexOptions, SearchParams, Store};

use crate::support::{Place, answers, direction, document, embedder, files, hits_with, id, options, rng};

const DIMENSION: usize = 16;
/// Tells the child where to write.
const FOLDER: &str = "ANSER_INDEX_CRASH_TEST_FOLDER";

fn store(folder: &Path) -> Store {
    Store::open(&DataDir::open(folder).unwrap(), IndexOptions { seal_threshold: 200, ..options() }).unwrap()
}

/// Not a test of its own: what the killed process does. It says which document is acknowledged, and goes on for ever.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = store(Path::new(&folder));
    let collection = store.get("c").unwrap();
    let from = collection.info().unwrap().documents;
    for number in from.. {
        let mut rng = rng(number);
        let vectors: Vec<_> = (0..9).map(|_| direction(&mut rng, DIMENSION)).collect();
        collection.upsert(&[document(format!("n{number}"), "v1", &vectors)]).unwrap();
        println!("stored {number}");
        if number % 10 == 9 {
            collection.seal().unwrap();
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_writer_is_killed() {
    let place = Place::new();
    let folder = place.data().root().to_path_buf();
    store(&folder).create("c", &embedder(DIMENSION)).unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::writer", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Numbers near 10 kill it while a segment is being made.
        let wanted = acknowledged.len() + [9, 10, 25, 3, 11][round];
        while acknowledged.len() < wanted {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, number)) = line.split_once("stored ") {
                acknowledged.insert(number.trim().parse::<u64>().unwrap());
            }
        }
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some((_, number)) = line.split_once("stored ") {
                acknowledged.insert(number.trim().parse().unwrap());
            }
        }
        child.wait().unwrap();

        let store = store(&folder);
        let collection = store.get("c").unwrap();
        let info = collection.info().unwrap();
        // One more may have been committed without being told.
        assert!((0..=1).contains(&(info.documents - acknowledged.len() as u64)), "round {round}: {info:?}");
        assert_eq!(info.chunks, info.documents * 9, "no half documents");
        for number in &acknowledged {
            let best = direction(&mut rng(*number), DIMENSION);
            let params = SearchParams { exact: Some(true), ..SearchParams::new(1) };
            assert_eq!(hits_with(&collection, &best, &params)[0].0, format!("n{number}"), "round {round}");
        }
        acknowledged = (0..info.documents).collect();
    }
    let with_cache = answers(&store(&folder).get("c").unwrap(), DIMENSION);
    std::fs::remove_dir_all(place.cache("c")).unwrap();
    let reopened = store(&folder);
    let collection = reopened.get("c").unwrap();
    assert_eq!(answers(&collection, DIMENSION), with_cache);
    collection.seal().unwrap();
    assert_eq!(answers(&collection, DIMENSION), with_cache);
    assert_eq!(collection.delete(&[id("n0")]).unwrap(), 1);
    assert!(files(&place.folder("c")).len() < 12, "interrupted segments were cleared away");
}
