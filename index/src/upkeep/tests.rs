//! Upkeep from inside: memory, interrupted work, and damage that is found late.

use anser_core::{ByteSpan, Document, DocumentId, EmbedderInfo, ErrorKind};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::ann::AnnQuery;
use crate::database::{DATABASE_FILE, NewChunk, NewDocument};

const DIMENSION: usize = 16;

pub(super) fn opened_with(folder: &std::path::Path, dimension: usize, options: IndexOptions) -> Upkeep {
    let path = folder.join(DATABASE_FILE);
    if !path.exists() {
        let embedder = EmbedderInfo { model: "made-up".into(), dimension, max_tokens: 64, fingerprint: "f".into() };
        Database::create(&path, &embedder).unwrap();
    }
    let database = Database::open(&path).unwrap();
    let cache = Cache::new(folder, database.identity());
    Upkeep::open(database, cache, options).unwrap()
}

fn opened(folder: &std::path::Path) -> Upkeep {
    opened_with(folder, DIMENSION, IndexOptions { threads: 1, ..IndexOptions::default() })
}

fn vector(seed: u64) -> Embedding {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Embedding::normalize((0..DIMENSION).map(|_| rng.random_range(-1.0f32..1.0)).collect()).unwrap()
}

fn id(number: u64) -> DocumentId {
    DocumentId::new(format!("d{number}")).unwrap()
}

pub(super) fn document(number: u64, embedding: Embedding) -> NewDocument {
    let span = ByteSpan::new(0, 1).unwrap();
    NewDocument {
        document: Document { id: id(number), title: None, text: "t".into(), attributes: [].into() },
        fingerprint: format!("{number}"),
        chunks: vec![NewChunk { span, text: "t".into(), tokens: 1, embedding }],
    }
}

fn insert(upkeep: &Upkeep, numbers: std::ops::Range<u64>) {
    let made: Vec<NewDocument> = numbers.map(|number| document(number, vector(number))).collect();
    upkeep.database.upsert(&made).unwrap();
    upkeep.catch_up_now().unwrap();
}

fn delete(upkeep: &Upkeep, numbers: impl Iterator<Item = u64>) {
    upkeep.database.delete(&numbers.map(id).collect::<Vec<_>>()).unwrap();
    upkeep.catch_up_now().unwrap();
}

fn answers(upkeep: &Upkeep) -> Vec<Vec<(ChunkId, f32)>> {
    let snapshot = upkeep.catch_up_now().unwrap();
    let query: AnnQuery = upkeep.vectors.query(10, Some(true), None);
    (0..10).map(|i| snapshot.search(&vector(70_000 + i), &query, None).unwrap().hits).collect()
}

fn disk(upkeep: &Upkeep) -> u64 {
    let folders = std::fs::read_dir(upkeep.cache.folder()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn compaction_gives_memory_and_disk_back() {
    let dir = tempfile::tempdir().unwrap();
    let upkeep = opened(dir.path());
    insert(&upkeep, 0..4000);
    upkeep.seal(true).unwrap();
    insert(&upkeep, 4000..5000);
    let before = upkeep.vectors.snapshot();
    assert_eq!((before.mapped_bytes(), before.segments().len()), (disk(&upkeep), 1));
    assert!(before.memory_bytes() >= 1000 * DIMENSION as u64 * 4);
    let (memory, mapped) = (before.memory_bytes(), before.mapped_bytes());
    drop(before);
    delete(&upkeep, (0..5000).filter(|n| n % 10 != 0));
    let expected = answers(&upkeep);
    upkeep.compact(&CancelToken::new()).unwrap();
    let after = upkeep.vectors.snapshot();
    assert_eq!(after.len(), 500);
    assert!(after.mapped_bytes() * 9 < mapped, "{} of {mapped}", after.mapped_bytes());
    assert!(after.memory_bytes() * 9 < memory, "{} of {memory}", after.memory_bytes());
    assert_eq!(disk(&upkeep), after.mapped_bytes(), "no other file is left");
    assert!(after.segments().iter().all(|p| p.removed.is_empty()));
    assert_eq!(answers(&upkeep), expected);
}

#[test]
fn a_single_removed_row_is_compacted_and_nothing_is_written_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let upkeep = opened(dir.path());
    insert(&upkeep, 0..700);
    upkeep.seal(true).unwrap();
    let sealed = upkeep.vectors.snapshot().manifest();
    upkeep.compact(&CancelToken::new()).unwrap();
    upkeep.seal(true).unwrap();
    assert_eq!(upkeep.vectors.snapshot().manifest(), sealed, "nothing to do");
    delete(&upkeep, 5..6);
    let cancel = CancelToken::new();
    cancel.cancel();
    assert_eq!(upkeep.compact(&cancel).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(upkeep.vectors.snapshot().manifest(), sealed);
    assert_eq!(disk(&upkeep), upkeep.vectors.snapshot().mapped_bytes(), "what was begun is gone");
    upkeep.compact(&CancelToken::new()).unwrap();
    assert!(upkeep.vectors.snapshot().manifest() > sealed);
    assert_eq!(upkeep.vectors.snapshot().segments()[0].segment.files.rows, 699);
}

#[test]
fn leftovers_of_a_process_that_died_go_when_the_next_one_opens() {
    let dir = tempfile::tempdir().unwrap();
    let upkeep = opened(dir.path());
    insert(&upkeep, 0..600);
    upkeep.seal(true).unwrap();
    let expected = answers(&upkeep);
    let folder = upkeep.cache.folder().to_path_buf();
    drop(upkeep);
    let half = folder.join("segment-0000000009");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("vectors.arrow"), b"half a file").unwrap();
    std::fs::write(folder.join(".tmpAbCdEf"), b"half a manifest").unwrap();
    std::fs::write(folder.join("notes.txt"), b"not ours").unwrap();
    let upkeep = opened(dir.path());
    let mut left: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["manifest.json", "notes.txt", "segment-0000000001"]);
    assert_eq!(answers(&upkeep), expected);
}

#[test]
fn damage_that_is_found_while_searching_costs_no_answer() {
    for (file, keeps_rows) in [("vectors.arrow", false), ("codes.int8", true), ("graph.hnsw", true)] {
        let dir = tempfile::tempdir().unwrap();
        let upkeep = opened(dir.path());
        insert(&upkeep, 0..700);
        upkeep.seal(true).unwrap();
        insert(&upkeep, 700..720);
        delete(&upkeep, 3..5);
        let expected = answers(&upkeep);
        let snapshot = upkeep.vectors.snapshot();
        let segment = &snapshot.segments()[0].segment;
        segment.forget_verification();
        let path = upkeep.cache.folder().join(&segment.files.folder).join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 2;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        assert!(upkeep.wants_sealing(&snapshot));
        upkeep.verify().unwrap();
        let mended = upkeep.vectors.snapshot();
        assert_eq!(mended.segments().len(), usize::from(keeps_rows), "{file}");
        assert_eq!(answers(&upkeep), expected);
        upkeep.seal_in_background();
        upkeep.seal(true).unwrap();
        let sealed = upkeep.vectors.snapshot();
        assert_eq!((sealed.segments().len(), sealed.tail_len(), sealed.len()), (1, 0, 718), "{file}");
        assert!(sealed.segments()[0].segment.index.is_some());
        assert_eq!(answers(&upkeep), expected);
        drop(upkeep);
        assert_eq!(answers(&opened(dir.path())), expected);
    }
}

#[test]
fn many_rows_without_a_cache_go_to_a_file_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let upkeep = opened(dir.path());
    for start in (0..70_000).step_by(10_000) {
        insert(&upkeep, start..start + 10_000);
    }
    let expected = answers(&upkeep);
    drop(upkeep);
    let upkeep = opened(dir.path());
    let snapshot = upkeep.vectors.snapshot();
    assert_eq!((snapshot.segments().len(), snapshot.tail_len(), snapshot.len()), (1, 0, 70_000));
    assert!(snapshot.segments()[0].segment.lacks_graph());
    assert!(upkeep.wants_sealing(&snapshot), "its graph is still to be made");
    assert_eq!(answers(&upkeep), expected);
    drop((snapshot, upkeep));
    let again = opened(dir.path());
    assert_eq!(again.vectors.snapshot().segments().len(), 1, "it was published");
    assert_eq!(answers(&again), expected);
}
