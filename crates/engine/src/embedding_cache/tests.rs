//! What the cache promises: the same vectors as without it, nothing left of what was deleted, and no failure ever.

use std::sync::atomic::AtomicUsize;

use anser_core::{CancelToken, EmbedPurpose, EmbedderInfo, Embedding, Result};

use super::*;

/// Makes a vector of each text's hash and counts the texts.
struct Counting {
    info: EmbedderInfo,
    texts: AtomicUsize,
}

impl Embedder for Counting {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }
    fn embed(&self, texts: &[String], purpose: EmbedPurpose, _: &CancelToken) -> Result<Vec<Embedded>> {
        self.texts.fetch_add(texts.len(), Ordering::SeqCst);
        let vector = |text: &String| {
            let hash = anser_core::storage::sha256(format!("{purpose:?} {text}").as_bytes());
            let values = hash.iter().take(16).map(|byte| f32::from(*byte) - 100.5).collect();
            let (tokens, truncated) = (text.len(), text.len() > 20);
            Ok(Embedded { embedding: Embedding::normalize(values)?, tokens, truncated })
        };
        texts.iter().map(vector).collect()
    }
    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(text.len())
    }
}

fn counting(model: &str) -> Arc<Counting> {
    let fingerprint = model.to_owned();
    let info = EmbedderInfo { model: model.to_owned(), dimension: 16, max_tokens: 512, fingerprint };
    Arc::new(Counting { info, texts: AtomicUsize::new(0) })
}

fn texts(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("the text of number {i}")).collect()
}

/// Embeds for a user of the cache; how many texts the model saw.
fn embed(cache: &Arc<EmbeddingCache>, user: CacheUser<'_>, texts: &[String]) -> usize {
    let model = counting("m");
    let (embedder, reused) = cache.in_front_of(Arc::clone(&model) as Arc<dyn Embedder>, user);
    let cancel = CancelToken::new();
    let found = embedder.embed(texts, EmbedPurpose::Passage, &cancel).unwrap();
    assert_eq!(found, counting("m").embed(texts, EmbedPurpose::Passage, &cancel).unwrap());
    let seen = model.texts.load(Ordering::SeqCst);
    assert_eq!(reused.get(), (texts.len() - seen) as u64);
    seen
}

const A: CacheUser<'_> = CacheUser::Collection("a");
const B: CacheUser<'_> = CacheUser::Collection("b");

#[test]
fn the_same_text_is_embedded_once_also_after_a_restart_and_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    let cache = EmbeddingCache::new(path.clone(), 1 << 30);
    let mut twice = texts(0..40);
    twice.extend(texts(0..40));
    assert_eq!(embed(&cache, A, &twice), 40);
    assert_eq!(embed(&cache, B, &texts(20..50)), 10);
    let other = EmbeddingCache::new(path.clone(), 1 << 30);
    drop(cache);
    assert_eq!(embed(&other, CacheUser::Callers, &texts(0..60)), 10);
    assert_eq!(embed(&other, CacheUser::Questions, &texts(0..60)), 60, "questions do not use the file");
    let statistics = other.statistics();
    assert_eq!((statistics.hits, statistics.misses), (50, 10));

    let model = counting("another");
    let (embedder, _) = other.in_front_of(Arc::clone(&model) as Arc<dyn Embedder>, A);
    embedder.embed(&texts(0..5), EmbedPurpose::Passage, &CancelToken::new()).unwrap();
    assert_eq!(model.texts.load(Ordering::SeqCst), 5, "another model has vectors of its own");
}

#[test]
fn queries_are_kept_in_memory_and_never_taken_for_passages() {
    let folder = tempfile::tempdir().unwrap();
    let cache = EmbeddingCache::new(folder.path().join("cache.sqlite"), 1 << 30);
    let model = counting("m");
    let (embedder, _) = cache.in_front_of(Arc::clone(&model) as Arc<dyn Embedder>, CacheUser::Questions);
    let cancel = CancelToken::new();
    let first = embedder.embed(&texts(0..2), EmbedPurpose::Query, &cancel).unwrap();
    assert_eq!(embedder.embed(&texts(0..2), EmbedPurpose::Query, &cancel).unwrap(), first);
    assert_eq!(model.texts.load(Ordering::SeqCst), 2);
    assert_eq!(embed(&cache, A, &texts(0..2)), 2);
}

#[test]
fn nothing_is_left_of_a_collection_that_was_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    let cache = EmbeddingCache::new(path.clone(), 1 << 30);
    embed(&cache, CacheUser::Callers, &texts(0..10));
    embed(&cache, A, &texts(0..300));
    embed(&cache, B, &texts(200..400));
    cache.writer.flush();
    let canary = counting("m").embed(&texts(0..1), EmbedPurpose::Passage, &CancelToken::new()).unwrap();
    let bytes: Vec<u8> = canary[0].embedding.as_slice().iter().flat_map(|value| value.to_le_bytes()).collect();
    let on_disk = || {
        let files =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        files.collect::<Vec<_>>().iter().any(|file| file.windows(bytes.len()).any(|window| window == bytes))
    };
    assert!(on_disk());
    // A process without a cache deletes too.
    assert!(EmbeddingCache::new(path, 0).forget_collection("a"));
    assert!(!on_disk());
    assert_eq!(cache.statistics().entries, 100, "those of b alone are left");
    assert_eq!(embed(&cache, B, &texts(300..400)), 0);
    assert!(cache.clear());
    assert_eq!(cache.statistics().entries, 0);
}

#[test]
fn a_full_cache_keeps_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 200 << 10;
    let cache = EmbeddingCache::new(folder.path().join("cache.sqlite"), limit);
    for at in 0..20 {
        embed(&cache, A, &texts(at * 200..(at + 1) * 200));
        cache.writer.flush();
        assert!(cache.statistics().bytes <= limit, "{:?}", cache.statistics());
    }
    assert!(cache.statistics().entries > 300, "{:?}", cache.statistics());
    assert_eq!(embed(&cache, A, &texts(3990..4000)), 0, "the newest are there");
    assert_eq!(embed(&cache, A, &texts(0..10)), 10, "the oldest are gone");
}

#[test]
fn a_damaged_file_is_made_anew_and_a_damaged_vector_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    std::fs::write(&path, "no database, but long enough for a header ".repeat(400)).unwrap();
    let cache = EmbeddingCache::new(path.clone(), 1 << 30);
    assert_eq!(embed(&cache, A, &texts(0..50)), 50);
    assert_eq!(embed(&cache, A, &texts(0..50)), 0);
    drop(cache);

    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("UPDATE vectors SET value = (SELECT value FROM vectors WHERE id = 1)", []).unwrap();
    drop(connection);
    let cache = EmbeddingCache::new(path.clone(), 1 << 30);
    assert_eq!(embed(&cache, A, &texts(0..50)), 49, "a vector at another's place is not used");
    drop(cache);

    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let cache = EmbeddingCache::new(path, 1 << 30);
    embed(&cache, A, &texts(0..50));
    cache.writer.flush();
    assert_eq!(embed(&cache, A, &texts(0..50)), 0);
}

#[test]
fn without_a_limit_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    let cache = EmbeddingCache::new(path.clone(), 0);
    assert_eq!(embed(&cache, A, &texts(0..5)), 5);
    assert!(cache.clear() && !path.exists());
}

#[test]
fn many_share_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    std::thread::scope(|scope| {
        for at in 0..4 {
            let path = path.clone();
            scope.spawn(move || {
                let cache = EmbeddingCache::new(path, 1 << 30);
                for round in 0..5 {
                    embed(&cache, A, &texts(round * 50..(round + 2) * 50 + at));
                }
            });
        }
    });
    assert_eq!(embed(&EmbeddingCache::new(path, 1 << 30), A, &texts(0..300)), 0);
}
