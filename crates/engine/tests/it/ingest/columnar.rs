//! Parquet and Arrow IPC.

use std::sync::Arc;

use anser_core::{AttributeKind as K, AttributeValue, ErrorKind};
use anser_engine::{FileFormat, IngestOptions};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Int16Array,
    ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::Int8Type;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;

use super::Bench;

fn table() -> RecordBatch {
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a"), Some("b")]);
    tags.append_null();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(UInt64Array::from(vec![1, u64::MAX]))),
        ("text", Arc::new(StringArray::from(vec!["first text", "第二段文字"]))),
        ("score", Arc::new(Int16Array::from(vec![Some(-3), None]))),
        ("ratio", Arc::new(Float32Array::from(vec![0.5, f32::NAN]))),
        ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
        ("day", Arc::new(Date32Array::from(vec![20_484, 0]))),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![1_769_860_800_000_000_000, 0]).with_timezone("+00:00"))),
        ("price", Arc::new(Decimal128Array::from(vec![1990, 5]).with_precision_and_scale(10, 2).unwrap())),
        ("kind", Arc::new(DictionaryArray::<Int8Type>::from_iter(["x", "y"]))),
        ("tags", Arc::new(tags.finish())),
        ("blob", Arc::new(BinaryArray::from(vec![b"\x00\x01".as_slice(), b"\xFF"]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn parquet(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batches[0].schema(), None).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
    bytes
}

fn stream(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn check(bench: &Bench) {
    let documents = bench.documents();
    let (first, second) = (&documents["1"], &documents["18446744073709551615"]);
    assert_eq!((first.text.as_str(), second.text.as_str()), ("first text", "第二段文字"));
    let attributes = &first.attributes;
    assert_eq!(attributes["score"], AttributeValue::Integer(-3));
    assert_eq!(attributes["ratio"], AttributeValue::Float(0.5));
    assert_eq!(attributes["ok"], AttributeValue::Bool(true));
    assert!(matches!(attributes["day"], AttributeValue::Time(t) if t.unix_timestamp() == 20_484 * 86_400));
    assert!(matches!(attributes["at"], AttributeValue::Time(t) if t.unix_timestamp() == 1_769_860_800));
    assert_eq!(attributes["price"], AttributeValue::Float(19.9));
    assert_eq!(attributes["kind"], AttributeValue::String("x".into()));
    assert_eq!(attributes["tags"], AttributeValue::StringList(vec!["a".into(), "b".into()]));
    assert!(!attributes.contains_key("blob"), "bytes have no meaning as an attribute");
    for absent in ["score", "ratio", "tags"] {
        assert!(!second.attributes.contains_key(absent), "{absent}");
    }
}

#[test]
fn parquet_keeps_its_types() {
    let bytes = parquet(&[table()]);
    let bench = Bench::new();
    let report = bench.file("a.parquet", &bytes).unwrap();
    assert_eq!((report.inserted, report.rejected), (2, 0));
    let kinds: Vec<_> = report.fields.attributes.iter().map(|a| a.kind).collect();
    assert_eq!(kinds, [K::Integer, K::Float, K::Bool, K::Time, K::Time, K::Float, K::String, K::StringList]);
    check(&bench);
    assert_eq!(bench.reader(FileFormat::Parquet, &bytes).unwrap().unchanged, 2);
}

#[test]
fn arrow_is_read_as_a_stream_and_as_a_file() {
    let bench = Bench::new();
    assert_eq!(bench.file("a.arrows", stream(&table())).unwrap().inserted, 2);
    check(&bench);
    assert_eq!(bench.reader(FileFormat::ArrowStream, stream(&table())).unwrap().unchanged, 2);

    let mut writer = FileWriter::try_new(Vec::new(), &table().schema()).unwrap();
    writer.write(&table()).unwrap();
    let bytes = writer.into_inner().unwrap();
    assert_eq!(bench.file("a.arrow", bytes).unwrap().unchanged, 2);
}

#[test]
fn rows_without_text_are_reported_by_number_and_long_rows_by_their_limit() {
    let batch = RecordBatch::try_from_iter([(
        "text",
        Arc::new(StringArray::from(vec![Some("good"), None, Some("a row that is too long")])) as ArrayRef,
    )])
    .unwrap();
    let options = IngestOptions { max_row_bytes: 10, ..IngestOptions::default() };
    let bench = Bench::new();
    let report = bench.file_with("a.parquet", parquet(&[batch]), &options).unwrap();
    assert_eq!((report.inserted, report.rejected), (1, 2));
    assert_eq!(report.errors[0].to_string(), "row 2: field \"text\": the text is missing");
    assert!(report.errors[1].to_string().starts_with("row 3: the row is longer than the limit of 10 bytes"));
}

#[test]
fn damaged_files_are_one_sentence_and_keep_what_was_read() {
    let parquet = parquet(&[table()]);
    let stream = stream(&table());
    for (name, bytes, expected) in [
        ("empty.parquet", Vec::new(), "it is empty (0 bytes)"),
        ("empty.arrows", Vec::new(), "it is empty (0 bytes)"),
        ("cut.parquet", parquet[..parquet.len() / 2].to_vec(), "it is not a readable Parquet file"),
        ("text.parquet", b"id,text\n1,a\n".to_vec(), "it is not a readable Parquet file"),
        ("text.arrows", b"id,text\n1,a\n".to_vec(), "it is not a readable Arrow stream"),
    ] {
        let error = Bench::new().file(name, bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    // The second batch of the stream is cut off.
    let bench = Bench::new();
    let mut writer = StreamWriter::try_new(Vec::new(), &table().schema()).unwrap();
    writer.write(&table()).unwrap();
    let one = writer.get_ref().len();
    writer.write(&table()).unwrap();
    let bytes = writer.into_inner().unwrap();
    assert!(bytes.len() > one && one < stream.len());
    let error = bench.file("a.arrows", &bytes[..one + (bytes.len() - one) / 2]).unwrap_err().to_string();
    assert!(error.contains("it is damaged after row 2"), "{error}");
    assert!(error.ends_with("the 2 rows before that were ingested"), "{error}");
    check(&bench);
}
