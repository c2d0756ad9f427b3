//! One collection used by many threads and by several processes, which are played by several stores.

use std::collections::HashSet;

use anser_index::{IndexOptions, SearchParams};

use crate::support::{
    Place, answers, direction, document, documents, embedder, filled, hits, hits_with, id, options, rng,
};

const DIMENSION: usize = 16;

#[test]
fn each_store_sees_what_the_other_acknowledged() {
    let place = Place::new();
    let (ours, theirs) = (place.store(), place.store());
    let here = filled(&ours, DIMENSION, &documents(1, 30, DIMENSION));
    let there = theirs.get("c").unwrap();
    assert_eq!(answers(&here, DIMENSION), answers(&there, DIMENSION));
    let special = direction(&mut rng(4), DIMENSION);
    there.upsert(&[document("special", "v1", std::slice::from_ref(&special))]).unwrap();
    assert_eq!(hits(&here, &special, 1)[0].0, "special");
    here.delete(&[id("special")]).unwrap();
    assert_ne!(hits(&there, &special, 1)[0].0, "special");
    assert_eq!(answers(&here, DIMENSION), answers(&there, DIMENSION));
}

#[test]
fn sealing_in_one_store_does_not_disturb_the_other() {
    let place = Place::new();
    let (ours, theirs) = (place.store(), place.store());
    let here = filled(&ours, DIMENSION, &documents(1, 700, DIMENSION));
    let there = theirs.get("c").unwrap();
    for round in 0..4 {
        let (sealer, other) = if round % 2 == 0 { (&here, &there) } else { (&there, &here) };
        sealer.upsert(&documents(10 + round, 100 + 10 * round as usize, DIMENSION)).unwrap();
        other.delete(&[id(format!("d{round}"))]).unwrap();
        sealer.seal().unwrap();
        other.upsert(&[document(format!("new{round}"), "v1", &[direction(&mut rng(round), DIMENSION)])]).unwrap();
        assert_eq!(answers(&here, DIMENSION), answers(&there, DIMENSION), "round {round}");
    }
    // One that was away while changes were trimmed starts from the newest generation.
    let fresh = place.store();
    assert_eq!(answers(&fresh.get("c").unwrap(), DIMENSION), answers(&here, DIMENSION));
}

#[test]
fn many_threads_write_and_search_at_once() {
    let place = Place::new();
    let stores = [
        place.store_with(IndexOptions { seal_threshold: 300, ..options() }),
        place.store_with(IndexOptions { seal_threshold: 300, ..options() }),
    ];
    stores[0].create("c", &embedder(DIMENSION)).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let collection = stores[writer as usize % 2].get("c").unwrap();
            scope.spawn(move || {
                let mut rng = rng(writer);
                for i in 0..40 {
                    let vectors: Vec<_> = (0..5).map(|_| direction(&mut rng, DIMENSION)).collect();
                    collection.upsert(&[document(format!("w{writer}-{i}"), "v1", &vectors)]).unwrap();
                    let found = hits_with(
                        &collection,
                        &vectors[2],
                        &SearchParams { exact: Some(true), ..SearchParams::new(1) },
                    );
                    assert_eq!(found[0].0, format!("w{writer}-{i}"), "what was acknowledged is found");
                    if i % 4 == 3 {
                        assert_eq!(collection.delete(&[id(format!("w{writer}-{i}"))]).unwrap(), 1);
                    }
                }
            });
        }
    });
    let (here, there) = (stores[0].get("c").unwrap(), stores[1].get("c").unwrap());
    assert_eq!(here.info().unwrap().chunks, 4 * 30 * 5);
    let everything = hits(&here, &direction(&mut rng(1), DIMENSION), 10_000);
    assert_eq!(everything.len(), 600);
    assert_eq!(everything.iter().map(|(name, _)| name).collect::<HashSet<_>>().len(), 120);
    assert_eq!(answers(&here, DIMENSION), answers(&there, DIMENSION));
}
