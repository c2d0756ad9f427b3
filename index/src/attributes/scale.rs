//! How long a condition on a million documents takes. Prints; asserts only that the columns are right.

use std::time::Instant;

use anser_core::{AttributeValue, ByteSpan, Document, DocumentId, EmbedderInfo, Embedding};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use time::OffsetDateTime;

use super::columns::Columns;
use super::file::ColumnFile;
use crate::database::{DATABASE_FILE, Database};
use crate::{Filter, NewChunk, NewDocument};

/// A review with six attributes: two numbers, a truth, a time, a text of a few and a text of many thousand values.
fn review(n: usize, rng: &mut ChaCha8Rng) -> NewDocument {
    let text = format!("review {n} {}", "of something that was bought and used for some weeks ".repeat(6));
    let chunk = NewChunk {
        span: ByteSpan::new(0, text.len()).unwrap(),
        text: text.clone(),
        tokens: 60,
        embedding: Embedding::normalize(vec![1.0, n as f32]).unwrap(),
    };
    let languages = ["en", "de", "fr", "es", "ja", "zh"];
    let attributes = [
        ("score", AttributeValue::Integer(rng.random_range(1..6))),
        ("price", AttributeValue::Float(f64::from(rng.random_range(100..20_000)) / 100.0)),
        ("verified", AttributeValue::Bool(rng.random_bool(0.7))),
        (
            "time",
            AttributeValue::Time(
                OffsetDateTime::from_unix_timestamp(1_500_000_000 + rng.random_range(0..200_000_000)).unwrap(),
            ),
        ),
        ("lang", AttributeValue::String(languages[rng.random_range(0..languages.len())].into())),
        ("product", AttributeValue::String(format!("B{:09}", rng.random_range(0..50_000)))),
    ];
    NewDocument {
        document: Document {
            id: DocumentId::new(format!("review-{n:07}")).unwrap(),
            title: None,
            text,
            attributes: attributes.map(|(key, value)| (key.to_owned(), value)).into(),
        },
        fingerprint: String::new(),
        chunks: vec![chunk],
    }
}

/// Run with `cargo test -p anser-index --lib attributes::scale -- --ignored --nocapture`; `ANSER_TEST_DOCUMENTS` is the number
/// of documents, a million unless it says otherwise.
#[test]
#[ignore = "writes a database of a million documents, which takes minutes"]
fn conditions_on_a_million_documents() {
    let count: usize = std::env::var("ANSER_TEST_DOCUMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE_FILE);
    let embedder = EmbedderInfo { model: "made-up".into(), dimension: 2, max_tokens: 8, fingerprint: "f".into() };
    Database::create(&path, &embedder).unwrap();
    let database = Database::open(&path).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for from in (0..count).step_by(20_000) {
        let new: Vec<NewDocument> = (from..count.min(from + 20_000)).map(|n| review(n, &mut rng)).collect();
        database.upsert(&new).unwrap();
    }
    let timed = |what: &str, started: Instant| println!("{what}: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let read = |columns: Option<&Columns>| {
        database
            .reader()
            .unwrap()
            .transact(|connection| match columns {
                Some(columns) => Ok(columns.replay(&database, connection)?.unwrap()),
                None => Columns::read(&database, connection),
            })
            .unwrap()
    };
    let started = Instant::now();
    let columns = read(None);
    timed("columns read from the database", started);
    println!("{} documents, {:.1} bytes each", columns.documents(), columns.bytes() as f64 / count as f64);
    for text in [
        "score >= 4",
        "score >= 4 and lang = en",
        "price < 9.99",
        "verified = true or time >= 2020-01-01",
        "product = B000000077",
        "product in [B000000001, B000000002, B000000003, B000000004, B000000005, B000000006]",
        "product > B000025000 and not lang in [en, de]",
        "score != 3 and price > 50 and time < 2019-01-01 and lang != ja and verified = true and product < B000040000",
    ] {
        let filter: Filter = text.parse().unwrap();
        let mut best = f64::INFINITY;
        let mut found = (Vec::new(), 0);
        for _ in 0..5 {
            let started = Instant::now();
            let passing = columns.passing(&filter, &mut |_| panic!("no text is long")).unwrap();
            found = columns.chunks_of(&passing);
            best = best.min(started.elapsed().as_secs_f64());
        }
        println!("{:6.1} ms, {:7} documents: {text}", best * 1e3, found.1);
    }
    let file = ColumnFile::new(dir.path(), "one");
    let started = Instant::now();
    file.write(&columns).unwrap();
    timed("file written", started);
    println!("{} bytes", std::fs::metadata(dir.path().join("attributes.arrow")).unwrap().len());
    let started = Instant::now();
    let opened = file.open().unwrap();
    timed("file opened", started);
    assert_eq!(opened, columns);
    let name = |n: usize| DocumentId::new(format!("review-{n:07}")).unwrap();
    for (what, ids) in [
        ("one document set and one stored", vec![name(count / 2)]),
        ("a hundred set, all over, and one stored", (0..100).map(|n| name(n * (count / 100))).collect()),
    ] {
        let score = |id| (id, "score", Some(AttributeValue::Integer(17)));
        database.set_attributes(&ids.into_iter().map(score).collect::<Vec<_>>()).unwrap();
        database.upsert(&[review(count + what.len(), &mut rng)]).unwrap();
        let started = Instant::now();
        let changed = read(Some(&opened));
        timed(&format!("caught up after {what}"), started);
        assert_eq!(changed.documents(), read(None).documents());
    }
}
