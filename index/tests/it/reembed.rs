//! Vectors of another model take the place of those that are searched, beside searches and writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anser_core::{CancelToken, ChunkId, EmbedderInfo, Embedding, ErrorKind};
use anser_index::{ChunkText, Collection, GenerationState, Reembedding, SearchParams};

use crate::support::{Place, direction, document, documents, filled, hits_with, id, rng};

const OLD: usize = 8;
const NEW: usize = 12;

fn other() -> EmbedderInfo {
    EmbedderInfo { model: "other".into(), dimension: NEW, max_tokens: 64, fingerprint: "4567".into() }
}

/// The vector of the other model: it depends on the text alone.
fn vector(chunk: &ChunkText) -> Embedding {
    of_text(&chunk.text)
}

fn of_text(text: &str) -> Embedding {
    direction(&mut rng(text.bytes().fold(7, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte))), NEW)
}

fn step(making: &Reembedding, limit: usize) -> bool {
    let chunks = making.next(limit).unwrap();
    let vectors: Vec<(ChunkId, Embedding)> = chunks.iter().map(|chunk| (chunk.id, vector(chunk))).collect();
    making.store(&vectors).unwrap();
    !chunks.is_empty()
}

fn finish(making: &Reembedding) {
    loop {
        while step(making, 50) {}
        if making.swap().unwrap() {
            return;
        }
    }
}

/// Every document is found first by the vector of its text.
fn assert_searched_by_other(collection: &Collection, names: impl Iterator<Item = String>) {
    assert_eq!(collection.embedder(), &other());
    for name in names {
        let query = of_text(&format!("piece 0 of {name}, v1. "));
        let params = SearchParams { exact: Some(true), ..SearchParams::new(1) };
        assert_eq!(hits_with(collection, &query, &params)[0].0, name);
    }
}

#[test]
fn another_model_takes_over_in_one_step() {
    let place = Place::new();
    let (ours, theirs) = (place.store(), place.store());
    let collection = filled(&ours, OLD, &documents(1, 700, OLD));
    let theirs_before = theirs.get("c").unwrap();
    let making = collection.reembed(&other()).unwrap();
    assert_eq!(making.chunks().unwrap().done, 0);
    while step(&making, 100) {
        assert_eq!(collection.search(&direction(&mut rng(1), OLD), &SearchParams::new(3)).unwrap().hits.len(), 3);
    }
    assert_eq!(making.overlap(20, 10, 1, &CancelToken::new()).unwrap(), None, "nothing is ready yet");
    assert!(making.prepare(&CancelToken::new()).unwrap());
    let overlap = making.overlap(20, 10, 1, &CancelToken::new()).unwrap().unwrap();
    assert_eq!((overlap.queries, overlap.k), (20, 10));
    assert!(overlap.mean < 0.5, "the vectors have nothing to do with each other: {overlap:?}");
    assert_eq!(theirs_before.embedder().dimension, OLD);
    assert!(making.swap().unwrap());
    drop(making);
    for stale in [&collection, &theirs_before] {
        let error = stale.search(&direction(&mut rng(1), OLD), &SearchParams::new(3)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        let said = error.to_string();
        assert!(said.contains("collection \"c\"") && !said.contains("sqlite"), "{said}");
        assert_eq!(stale.upsert(&documents(9, 1, OLD)).unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(stale.delete(&[id("d0")]).unwrap_err().kind(), ErrorKind::Conflict);
    }
    for store in [&ours, &theirs, &place.store()] {
        let fresh = store.get("c").unwrap();
        assert_searched_by_other(&fresh, (0..700).step_by(50).map(|i| format!("d{i}")));
        let explain = fresh.search(&direction(&mut rng(1), NEW), &SearchParams::new(3)).unwrap().explain;
        assert_eq!((explain.vectors, explain.tail), (700, 0), "its segments were made before");
        let wrong = fresh.search(&direction(&mut rng(1), OLD), &SearchParams::new(3)).unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::InvalidInput);
        assert_eq!(fresh.upsert(&documents(9, 1, OLD)).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let states: Vec<_> = ours.get("c").unwrap().generations().unwrap().into_iter().map(|g| g.state).collect();
    assert_eq!(states, [GenerationState::Previous, GenerationState::Current]);
}

#[test]
fn what_was_made_is_gone_on_with_and_what_came_and_left_meanwhile_counts() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, OLD, &documents(1, 100, OLD));
    let making = collection.reembed(&other()).unwrap();
    assert!(step(&making, 40));
    assert_eq!(collection.reembed(&other()).unwrap_err().kind(), ErrorKind::Conflict, "one at a time");
    drop((making, collection));
    let collection = store.get("c").unwrap();
    // The last one that was embedded leaves, one is replaced, some come.
    collection.delete(&[id("d39"), id("d80")]).unwrap();
    collection.upsert(&[document("d3", "v2", &[direction(&mut rng(5), OLD)])]).unwrap();
    let making = collection.reembed(&other()).unwrap();
    assert_eq!(making.chunks().unwrap().done, 38);
    collection.upsert(&documents(2, 120, OLD)[100..]).unwrap();
    assert!(!making.swap().unwrap(), "some have no vector");
    finish(&making);
    let fresh = store.get("c").unwrap();
    let left = (0..120).filter(|i| ![3, 39, 80].contains(i)).map(|i| format!("d{i}"));
    assert_searched_by_other(&fresh, left);
    let replaced = hits_with(&fresh, &of_text("piece 0 of d3, v2. "), &SearchParams::new(1));
    assert_eq!(replaced[0].0, "d3");
    assert_eq!(fresh.info().unwrap().chunks, 118);
}

#[test]
fn writers_may_write_all_the_while() {
    let place = Place::new();
    let (ours, theirs) = (place.store(), place.store());
    let collection = filled(&ours, OLD, &documents(1, 300, OLD));
    let over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let there = theirs.get("c").unwrap();
            let mut written = 0;
            while !over.load(Ordering::Acquire) {
                let new = document(format!("w{written}"), "v1", &[direction(&mut rng(written), OLD)]);
                match there.upsert(&[new]) {
                    Ok(_) => written += 1,
                    Err(e) => {
                        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
                        break;
                    }
                }
                if written % 5 == 4 {
                    let gone = there.delete(&[id(format!("d{written}"))]);
                    assert!(gone.is_ok() || gone.is_err_and(|e| e.kind() == ErrorKind::Conflict));
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            written
        });
        let making = collection.reembed(&other()).unwrap();
        while step(&making, 20) {}
        // True or false, depending on whether something came in that moment.
        making.prepare(&CancelToken::new()).unwrap();
        finish(&making);
        over.store(true, Ordering::Release);
        writer.join().unwrap()
    });
    let fresh = ours.get("c").unwrap();
    assert_searched_by_other(&fresh, (0..written).map(|i| format!("w{i}")));
    let all = fresh.search(&of_text("x"), &SearchParams { exact: Some(true), ..SearchParams::new(1000) }).unwrap();
    assert_eq!(all.hits.len() as u64, fresh.info().unwrap().chunks);
}

#[test]
fn the_vectors_of_before_can_be_gone_back_to_and_dropped() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, OLD, &documents(1, 60, OLD));
    let of_before = collection.embedder().clone();
    let query = direction(&mut rng(3), OLD);
    let before = hits_with(&collection, &query, &SearchParams::new(10));
    finish(&collection.reembed(&other()).unwrap());
    // Back at once: nothing came.
    let back = store.get("c").unwrap().reembed(&of_before).unwrap();
    assert!(back.next(10).unwrap().is_empty());
    assert!(back.swap().unwrap());
    drop(back);
    let collection = store.get("c").unwrap();
    assert_eq!(hits_with(&collection, &query, &SearchParams::new(10)), before);
    // Forth again, where one came and one left: only the new one has to be embedded for the way back.
    finish(&collection.reembed(&other()).unwrap());
    let collection = store.get("c").unwrap();
    collection.upsert(&[document("late", "v1", &[of_text("piece 0 of late, v1. ")])]).unwrap();
    collection.delete(&[id("d59")]).unwrap();
    let back = collection.reembed(&of_before).unwrap();
    assert_eq!((back.chunks().unwrap().done, back.chunks().unwrap().total), (59, 60));
    let late = back.next(10).unwrap();
    assert_eq!(late.iter().map(|chunk| chunk.text.as_str()).collect::<Vec<_>>(), ["piece 0 of late, v1. "]);
    assert_eq!(back.store(&[(late[0].id, of_text("x"))]).unwrap_err().kind(), ErrorKind::InvalidInput);
    back.abandon().unwrap();
    let states = |collection: &Collection| -> Vec<_> {
        collection.generations().unwrap().into_iter().map(|g| (g.number, g.state)).collect()
    };
    assert_eq!(states(&collection), [(1, GenerationState::Previous), (2, GenerationState::Current)]);
    assert!(collection.drop_previous().unwrap());
    assert!(!collection.drop_previous().unwrap());
    assert_eq!(states(&collection), [(2, GenerationState::Current)]);
    assert!(!place.cache("c").exists(), "its cache went, too");
    assert_eq!(collection.search(&of_text("x"), &SearchParams::new(5)).unwrap().hits.len(), 5);
}

#[test]
fn vectors_that_were_brought_along_can_be_gone_back_to_but_not_made() {
    let place = Place::new();
    let store = place.store();
    let brought = EmbedderInfo::external("mine", OLD);
    let collection = store.create("c", &brought).unwrap();
    collection.upsert(&documents(1, 30, OLD)).unwrap();
    let query = direction(&mut rng(3), OLD);
    let before = hits_with(&collection, &query, &SearchParams::new(10));
    let refused = collection.reembed(&EmbedderInfo::external("yours", NEW)).unwrap_err();
    assert!(refused.to_string().contains("only a model"), "{refused}");
    finish(&collection.reembed(&other()).unwrap());
    let back = store.get("c").unwrap().reembed(&brought).unwrap();
    assert!(back.swap().unwrap());
    drop(back);
    let collection = store.get("c").unwrap();
    assert_eq!((collection.embedder(), hits_with(&collection, &query, &SearchParams::new(10))), (&brought, before));
}

#[test]
fn what_makes_no_sense_is_refused_and_what_is_given_up_leaves_nothing() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, OLD, &documents(1, 600, OLD));
    let same = collection.embedder().clone();
    for wrong in [same, EmbedderInfo::external("brought", NEW)] {
        assert_eq!(collection.reembed(&wrong).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let making = collection.reembed(&other()).unwrap();
    while step(&making, 100) {}
    making.prepare(&CancelToken::new()).unwrap();
    assert!(place.folder("c").join("cache-2").exists());
    making.abandon().unwrap();
    assert!(!place.folder("c").join("cache-2").exists());
    assert_eq!(collection.generations().unwrap().len(), 1);
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let making = collection.reembed(&other()).unwrap();
    while step(&making, 100) {}
    assert_eq!(making.prepare(&cancelled).unwrap_err().kind(), ErrorKind::Cancelled);
    let collection: Arc<Collection> = store.get("c").unwrap();
    assert_eq!(collection.embedder().dimension, OLD);
}

#[test]
fn a_way_back_that_is_given_up_stays_open() {
    let place = Place::new();
    let store = place.store();
    let collection = filled(&store, OLD, &documents(1, 20, OLD));
    let of_before = collection.embedder().clone();
    finish(&collection.reembed(&other()).unwrap());
    let collection = store.get("c").unwrap();
    collection.upsert(&[document("late", "v1", &[of_text("piece 0 of late, v1. ")])]).unwrap();
    collection.reembed(&of_before).unwrap().abandon().unwrap();
    let back = collection.reembed(&of_before).unwrap();
    assert_eq!((back.chunks().unwrap().done, back.chunks().unwrap().total), (20, 21));
}
