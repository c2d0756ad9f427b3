//! Running an ingest again: after nothing, after an interruption, after a change. And what the embedder can do to it.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use anser_core::{Attributes, CancelToken, Document, DocumentId, ErrorKind, NoProgress, Progress, ProgressUnit};
use anser_engine::IngestOptions;
use parking_lot::Mutex;

use super::{Bench, check_counts, fields};

fn table(rows: usize) -> String {
    let mut table = "product,text,score\n".to_owned();
    for i in 0..rows {
        // Every tenth row is like the first.
        let i = if i % 10 == 0 { 0 } else { i };
        writeln!(table, "kettle {},It boils {i} cups,{}", i % 7, i % 5).unwrap();
    }
    table
}

#[test]
fn a_second_run_embeds_nothing() {
    let bench = Bench::new();
    let first = bench.file("a.csv", table(500)).unwrap();
    assert_eq!((first.inserted, first.chunks), (500, 500));
    let embedded = bench.embedder.embedded.load(Ordering::SeqCst);
    let second = bench.file("a.csv", table(500)).unwrap();
    assert_eq!((second.unchanged, second.inserted, second.chunks), (500, 0, 0));
    assert_eq!(bench.embedder.embedded.load(Ordering::SeqCst), embedded);
}

#[test]
fn identical_rows_are_all_kept_under_ids_that_do_not_change() {
    let bench = Bench::new();
    let report = bench.file("a.csv", "text,score\nsame,1\nsame,1\nsame,2\nsame,1\n").unwrap();
    assert_eq!(report.inserted, 4);
    let ids: Vec<String> = bench.documents().into_keys().collect();
    assert_eq!(ids.iter().filter(|id| id.contains('-')).count(), 2, "{ids:?}");
    // The order of columns and the format make no difference.
    let report = bench
        .file(
            "a.jsonl",
            "{\"score\":1,\"text\":\"same\"}\n{\"score\":2,\"text\":\"same\"}\n{\"score\":1,\"text\":\"same\"}\n",
        )
        .unwrap();
    assert_eq!(report.unchanged, 3, "{report:?}");
}

#[test]
fn an_interrupted_ingest_goes_on_where_it_stopped() {
    let calm = Bench::new();
    calm.file("a.csv", table(1000)).unwrap();

    let bench = Bench::new();
    let path = bench.write("a.csv", table(1000));
    for stop_after in [1, 3, 5] {
        let cancel = CancelToken::new();
        *bench.embedder.cancel_after.lock() = Some((stop_after, cancel.clone()));
        let error = bench.engine.ingest_file("c", &path, &IngestOptions::default(), &NoProgress, &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }
    let stored = bench.documents().len();
    assert!(stored > 0 && stored < 1000 && stored.is_multiple_of(64), "{stored}");
    *bench.embedder.cancel_after.lock() = None;

    // A fresh process finds what the interrupted one had stored.
    let Bench { folder, engine, .. } = bench;
    drop(engine);
    let bench = Bench::at(folder, "hash");
    let report = bench.file("a.csv", table(1000)).unwrap();
    check_counts(&report);
    assert_eq!((report.unchanged, report.inserted), (stored as u64, 1000 - stored as u64));
    assert_eq!(bench.documents(), calm.documents());
    for (id, document) in bench.documents() {
        let chunks = |bench: &Bench| bench.chunks(&document).into_iter().map(|c| (c.span, c.text)).collect::<Vec<_>>();
        assert_eq!(chunks(&bench), chunks(&calm), "{id}");
    }
}

#[test]
fn the_last_row_of_an_id_wins_within_a_batch_and_across_batches() {
    for batch_documents in [1, 2, 64] {
        let bench = Bench::new();
        let options = IngestOptions { batch_documents, ..fields(Some("id"), None, None) };
        let content = "id,text\na,one\nb,two\na,three\nb,two\na,four\n";
        let report = bench.file_with("a.csv", content, &options).unwrap();
        assert_eq!(
            (report.rows, report.inserted, report.replaced, report.unchanged),
            (5, 2, 2, 1),
            "{batch_documents}"
        );
        assert_eq!(bench.documents()["a"].text, "four");
        // What is stored at first is also what comes last, after something else.
        let report = bench.file_with("a.csv", "id,text\na,five\nb,two\na,six\na,four\n", &options).unwrap();
        check_counts(&report);
        assert_eq!(bench.documents()["a"].text, "four", "{batch_documents}");
    }
    // A guessed id that repeats is taken, and said.
    let report = Bench::new().file("a.csv", "id,text\na,one\na,two\n").unwrap();
    assert!(report.warnings[0].message.contains("1 of the first 2 rows repeat"), "{:?}", report.warnings);
}

#[test]
fn changed_rows_and_changed_chunking_are_ingested_again() {
    let bench = Bench::new();
    bench.file("a.csv", "id,text,score\n1,good,5\n2,bad,1\n").unwrap();
    let report = bench.file("a.csv", "id,text,score\n1,good,4\n2,bad,1\n").unwrap();
    assert_eq!((report.replaced, report.unchanged), (1, 1), "an attribute changed");
    let options = IngestOptions { chunk_tokens: 100, ..IngestOptions::default() };
    let report = bench.file_with("a.csv", "id,text,score\n1,good,4\n2,bad,1\n", &options).unwrap();
    assert_eq!(report.replaced, 2);
}

#[test]
fn progress_moves_within_one_long_document() {
    #[derive(Default)]
    struct Positions(Mutex<Vec<u64>>);
    impl Progress for Positions {
        fn start(&self, _: &str, _: Option<u64>, _: ProgressUnit) {}
        fn set(&self, done: u64) {
            self.0.lock().push(done);
        }
        fn note(&self, _: &str) {}
        fn finish(&self) {}
    }
    let bench = Bench::new();
    let path = bench.write("long.txt", "One more sentence about kettles. ".repeat(20_000));
    let positions = Positions::default();
    bench.engine.ingest_file("c", &path, &IngestOptions::default(), &positions, &CancelToken::new()).unwrap();
    let mut positions = positions.0.into_inner();
    positions.dedup();
    assert!(positions.len() > 3 && positions.is_sorted(), "{positions:?}");
    assert_eq!(positions.last(), Some(&660_000));
}

#[test]
fn another_embedder_is_refused() {
    let bench = Bench::new();
    bench.file("a.csv", "id,text\n1,good\n").unwrap();
    let Bench { folder, engine, .. } = bench;
    drop(engine);
    let bench = Bench::at(folder, "other");
    let error = bench.file("a.csv", "id,text\n1,good\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[test]
fn a_full_queue_is_waited_for() {
    let bench = Bench::new();
    bench.embedder.overloads.store(3, Ordering::SeqCst);
    assert_eq!(bench.file("a.csv", "id,text\n1,good\n").unwrap().inserted, 1);
    // Cancelling ends the wait.
    bench.embedder.overloads.store(usize::MAX, Ordering::SeqCst);
    let cancel = CancelToken::new();
    let path = bench.write("b.csv", "id,text\n2,good\n");
    std::thread::scope(|scope| {
        let ingest =
            scope.spawn(|| bench.engine.ingest_file("c", &path, &IngestOptions::default(), &NoProgress, &cancel));
        cancel.cancel();
        assert_eq!(ingest.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    });
}

#[test]
fn a_text_that_the_embedder_refuses_costs_one_row() {
    let bench = Bench::new();
    let report = bench.file("a.csv", "id,text\n1,good\n2,UNEMBEDDABLE\n3,fine\n").unwrap();
    check_counts(&report);
    assert_eq!((report.inserted, report.rejected), (2, 1));
    assert_eq!(report.errors[0].to_string(), "line 3: the text cannot be embedded: this text is refused");
}

#[test]
fn documents_are_stored_as_they_are() {
    let bench = Bench::new();
    let document = |id: &str, text: &str| Document {
        id: DocumentId::new(id).unwrap(),
        title: Some("T".to_owned()),
        text: text.to_owned(),
        attributes: Attributes::from([("n".to_owned(), anser_core::AttributeValue::Float(0.5))]),
    };
    let mut bad = document("3", "infinite");
    bad.attributes.insert("n".to_owned(), anser_core::AttributeValue::Float(f64::INFINITY));
    let documents = vec![document("1", "good"), document("2", " \n"), bad];
    let report = bench.engine.ingest_documents("c", documents, &NoProgress, &CancelToken::new()).unwrap();
    assert_eq!((report.inserted, report.rejected), (1, 2));
    assert_eq!(report.errors[0].to_string(), "row 2: the text is missing");
    assert_eq!(report.errors[1].to_string(), "row 3: field \"n\": the number is not finite");
    assert_eq!(bench.documents()["1"], document("1", "good"));
}

#[test]
fn progress_shows_the_mapping_first_and_then_bytes_up_to_the_end() {
    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);
    impl Progress for Recorder {
        fn start(&self, _: &str, total: Option<u64>, unit: ProgressUnit) {
            self.0.lock().push(format!("start {total:?} {unit:?}"));
        }
        fn set(&self, done: u64) {
            self.0.lock().push(format!("set {done}"));
        }
        fn note(&self, message: &str) {
            self.0.lock().push(format!("note {message}"));
        }
        fn finish(&self) {
            self.0.lock().push("finish".to_owned());
        }
    }
    let bench = Bench::new();
    let content = "id,text,score\n1,good,5\n2,bad,1\n";
    let path = bench.write("a.csv", content);
    let recorder = Recorder::default();
    let options = IngestOptions { batch_documents: 1, ..IngestOptions::default() };
    bench.engine.ingest_file("c", &path, &options, &recorder, &CancelToken::new()).unwrap();
    let mut events = recorder.0.into_inner();
    events.dedup();
    assert_eq!(
        events,
        [
            "note text: \"text\" (guessed), title: none, id: \"id\" (guessed), attributes: score (integer)",
            "start Some(31) Bytes",
            "set 23",
            "set 31",
            "finish"
        ]
    );
}
