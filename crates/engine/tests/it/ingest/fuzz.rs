//! Outside data of any shape: no panic, every row accounted for, spans exact.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anser_engine::{EngineError, FileFormat, IngestOptions, IngestReport};
use proptest::prelude::*;

use super::{Bench, check_counts};

/// Runs one ingest. A panic fails the test; an error must be the data's fault.
fn check(outcome: Result<IngestReport, EngineError>) {
    match outcome {
        Ok(report) => {
            check_counts(&report);
            for told in report.errors.iter().map(ToString::to_string).chain([report.fields.to_string()]) {
                assert!(!told.contains('\n'), "{told}");
            }
        }
        Err(error) => {
            assert_eq!(error.kind(), anser_core::ErrorKind::InvalidInput, "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}

/// Bytes that look enough like data to get past the first check.
fn data_like() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"\"".to_vec()),
        Just(b",".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"[".to_vec()),
        Just(b"{".to_vec()),
        Just(b"]".to_vec()),
        Just(b"}".to_vec()),
        Just(b":".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"{\"text\":\"a b\"}".to_vec()),
        Just(b"\"text\"".to_vec()),
        Just("水壶".as_bytes().to_vec()),
        Just(b"\xFF".to_vec()),
        Just(b"# heading\n".to_vec()),
        Just(b"id,text\n".to_vec()),
        "[a-z0-9 .-]{1,8}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_text_format_panics(bytes in data_like(), small in any::<bool>()) {
        let bench = Bench::new();
        let limit = if small { 16 } else { 16 << 20 };
        let options = IngestOptions { max_row_bytes: limit, ..IngestOptions::default() };
        for name in ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.md", "a.txt"] {
            check(bench.file_with(name, &bytes, &options));
        }
    }

    #[test]
    fn no_format_panics_on_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let bench = Bench::new();
        for format in FileFormat::ALL {
            check(bench.reader(format, &bytes));
        }
    }

    #[test]
    fn what_the_csv_writer_wrote_is_read_back(
        rows in prop::collection::vec(("\\PC{1,20}[\\n\",;\r]{0,3}\\PC{0,5}x", "[ -~\\n]{0,12}"), 1..20)
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["id", "text", "other"]).unwrap();
        for (i, (text, other)) in rows.iter().enumerate() {
            writer.write_record([&format!("{i:03}"), text, other]).unwrap();
        }
        let bench = Bench::new();
        let report = bench.file("a.csv", writer.into_inner().unwrap()).unwrap();
        prop_assert_eq!(report.inserted, rows.len() as u64, "{:?}", report.errors);
        let documents = bench.documents();
        for (i, (text, _)) in rows.iter().enumerate() {
            prop_assert_eq!(&documents[&format!("{i:03}")].text, text);
        }
    }

    #[test]
    fn the_spans_of_chunks_are_exact_and_leave_nothing_out(
        text in "([a-zé水。.!?# \\n`*-]{0,30}(\\n\\n|\u{3000}|\u{2003}|🙂)){1,30}",
        chunk_tokens in 1usize..40,
        chunk_overlap in 0usize..20,
    ) {
        prop_assume!(!text.trim().is_empty());
        let options = IngestOptions { chunk_tokens, chunk_overlap, ..IngestOptions::default() };
        for name in ["a.txt", "a.md"] {
            let bench = Bench::new();
            bench.file_with(name, &text, &options).unwrap();
            let document = bench.documents().remove(name).unwrap();
            let mut covered = 0;
            for chunk in bench.chunks(&document) {
                prop_assert_eq!(chunk.span.slice(&document.text), Some(chunk.text.as_str()));
                let skipped = document.text.get(covered.min(chunk.span.start)..chunk.span.start).unwrap();
                prop_assert!(skipped.trim().is_empty(), "left out: {skipped:?}");
                covered = covered.max(chunk.span.end);
            }
            prop_assert!(document.text[covered..].trim().is_empty());
        }
    }
}

#[test]
fn damaged_parquet_and_arrow_never_panic() {
    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    let texts: ArrayRef = std::sync::Arc::new(StringArray::from_iter_values((0..50).map(|i| format!("text {i}"))));
    let batch = RecordBatch::try_from_iter([("text", texts)]).unwrap();
    let mut parquet = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut parquet, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let stream = writer.into_inner().unwrap();

    let bench = Bench::new();
    for (format, good) in [(FileFormat::Parquet, &parquet), (FileFormat::ArrowStream, &stream)] {
        for at in (0..good.len()).step_by(13) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x5A;
            let outcome = catch_unwind(AssertUnwindSafe(|| bench.reader(format, &bytes)));
            check(outcome.unwrap_or_else(|_| panic!("{format} panics when byte {at} is damaged")));
        }
    }
}
