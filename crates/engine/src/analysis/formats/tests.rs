//! What is written in each format is read again by the usual readers as what it was.

use arrow::array::{
    BooleanArray, Float32Array, Float64Array, Int64Array, ListBuilder, StringBuilder, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::results::ResultFolder;
use super::*;

/// One row of every type that tables have.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: String,
    title: Option<String>,
    distance: Option<f32>,
    probability: Option<f64>,
    cluster: u32,
    count: Option<i64>,
    kept: Option<bool>,
    /// Microseconds since 1970.
    time: Option<i64>,
    keywords: Option<Vec<String>>,
}

fn table(rows: &[Row]) -> RecordBatch {
    let mut keywords = ListBuilder::new(StringBuilder::new());
    for row in rows {
        match &row.keywords {
            Some(texts) => {
                for text in texts {
                    keywords.values().append_value(text);
                }
                keywords.append(true);
            }
            None => keywords.append(false),
        }
    }
    let time = rows.iter().map(|row| row.time).collect::<TimestampMicrosecondArray>().with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(rows.iter().map(|row| Some(row.id.as_str())).collect::<StringArray>())),
        ("title", Arc::new(rows.iter().map(|row| row.title.as_deref()).collect::<StringArray>())),
        ("distance", Arc::new(rows.iter().map(|row| row.distance).collect::<Float32Array>())),
        ("probability", Arc::new(rows.iter().map(|row| row.probability).collect::<Float64Array>())),
        ("cluster", Arc::new(rows.iter().map(|row| Some(row.cluster)).collect::<UInt32Array>())),
        ("count", Arc::new(rows.iter().map(|row| row.count).collect::<Int64Array>())),
        ("kept", Arc::new(rows.iter().map(|row| row.kept).collect::<BooleanArray>())),
        ("time", Arc::new(time)),
        ("keywords", Arc::new(keywords.finish())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// The rows as they are kept and then written in `format`.
fn written(rows: &[Row], format: ResultFormat) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let results = ResultFolder::create(folder.path().join("results")).unwrap();
    let batch = table(rows);
    let mut writer = results.table("documents", batch.schema()).unwrap();
    for start in (0..rows.len()).step_by(3) {
        writer.write(&batch.slice(start, 3.min(rows.len() - start))).unwrap();
    }
    writer.finish().unwrap();
    let path = folder.path().join("results/documents.parquet");
    if format == ResultFormat::Parquet {
        return std::fs::read(path).unwrap();
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let schema = builder.schema().clone();
    let mut out = Vec::new();
    convert(format, &schema, builder.build().unwrap(), &mut out).unwrap();
    out
}

fn rfc3339(microseconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1000).unwrap()
}

fn whole(batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>, schema: &SchemaRef) -> RecordBatch {
    arrow::compute::concat_batches(schema, &batches.collect::<Result<Vec<_>, _>>().unwrap()).unwrap()
}

fn same_number(text: &str, number: Option<f64>) -> bool {
    match number {
        None => text.is_empty(),
        Some(number) if number.is_nan() => text == "NaN",
        Some(number) => text.parse::<f64>().unwrap().to_bits() == number.to_bits(),
    }
}

fn json_is(row: &Row, value: &Value) {
    let finite = |number: f64| number.is_finite().then_some(number);
    assert_eq!(value["id"], row.id.as_str());
    assert_eq!(value["title"].as_str(), row.title.as_deref());
    let distance = value["distance"].as_number().map(|number| number.to_string().parse::<f32>().unwrap().to_bits());
    assert_eq!(distance, row.distance.filter(|number| number.is_finite()).map(f32::to_bits));
    assert_eq!(value["probability"].as_f64().map(f64::to_bits), row.probability.and_then(finite).map(f64::to_bits));
    assert_eq!(value["cluster"], row.cluster);
    assert_eq!((value["count"].as_i64(), value["kept"].as_bool()), (row.count, row.kept));
    let time = value["time"].as_str().map(|text| OffsetDateTime::parse(text, &Rfc3339).unwrap());
    assert_eq!(time, row.time.map(rfc3339));
    let keywords: Option<Vec<String>> = serde_json::from_value(value["keywords"].clone()).unwrap();
    assert_eq!(keywords, row.keywords);
    assert_eq!(value.as_object().unwrap().len(), 9, "what is missing is null, not absent");
}

fn csv_is(row: &Row, record: &csv::StringRecord) {
    let field = |at: usize| record.get(at).unwrap();
    assert_eq!(field(0), row.id);
    assert_eq!(field(1), row.title.as_deref().unwrap_or_default());
    match row.distance {
        None => assert_eq!(field(2), ""),
        Some(number) if number.is_nan() => assert_eq!(field(2), "NaN"),
        Some(number) => assert_eq!(field(2).parse::<f32>().unwrap().to_bits(), number.to_bits()),
    }
    assert!(same_number(field(3), row.probability), "{} is not {:?}", field(3), row.probability);
    assert_eq!(field(4), row.cluster.to_string());
    assert_eq!(field(5), row.count.map_or(String::new(), |count| count.to_string()));
    assert_eq!(field(6), row.kept.map_or(String::new(), |kept| kept.to_string()));
    let time = (!field(7).is_empty()).then(|| OffsetDateTime::parse(field(7), &Rfc3339).unwrap());
    assert_eq!(time, row.time.map(rfc3339));
    assert_eq!(field(8), row.keywords.as_ref().map_or(String::new(), |texts| texts.join("; ")));
}

fn row() -> impl Strategy<Value = Row> {
    let text = || "[a-zé\"',;\n\r\t =+@-]{0,12}";
    // Years 1 to 9999, to which RFC 3339 is bound.
    let time = -62_135_596_800_000_000_i64..253_402_300_800_000_000;
    let numbers = (
        proptest::option::of(any::<f32>()),
        proptest::option::of(any::<f64>()),
        any::<u32>(),
        proptest::option::of(any::<i64>()),
        proptest::option::of(any::<bool>()),
        proptest::option::of(time),
    );
    let texts = (text(), proptest::option::of(text()), proptest::option::of(proptest::collection::vec(text(), 0..3)));
    (texts, numbers).prop_map(|((id, title, keywords), (distance, probability, cluster, count, kept, time))| Row {
        id,
        title,
        distance,
        probability,
        cluster,
        count,
        kept,
        time,
        keywords,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_is_read_again(rows in proptest::collection::vec(row(), 0..8)) {
        let batch = table(&rows);
        let schema = batch.schema();
        let parquet = bytes_reader(&written(&rows, ResultFormat::Parquet));
        prop_assert_eq!(format!("{:?}", whole(parquet, &schema)), format!("{batch:?}"));
        let arrow = written(&rows, ResultFormat::Arrow);
        let stream = StreamReader::try_new(arrow.as_slice(), None).unwrap();
        prop_assert_eq!(stream.schema(), Arc::clone(&schema));
        prop_assert_eq!(format!("{:?}", whole(stream, &schema)), format!("{batch:?}"));

        let list: Vec<Value> = serde_json::from_slice(&written(&rows, ResultFormat::Json)).unwrap();
        prop_assert_eq!(list.len(), rows.len());
        rows.iter().zip(&list).for_each(|(row, value)| json_is(row, value));
        let lines = String::from_utf8(written(&rows, ResultFormat::JsonLines)).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        prop_assert_eq!(&lines, &list);

        let csv = written(&rows, ResultFormat::Csv);
        let mut reader = csv::Reader::from_reader(csv.as_slice());
        let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        prop_assert_eq!(header, names);
        let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        prop_assert_eq!(records.len(), rows.len());
        rows.iter().zip(&records).for_each(|(row, record)| csv_is(row, record));
    }
}

fn bytes_reader(bytes: &[u8]) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + use<> {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap()
}

#[test]
fn the_text_formats_look_as_documented() {
    let row = Row {
        id: "a".to_owned(),
        title: None,
        distance: Some(0.1),
        probability: Some(1.0 / 3.0),
        cluster: 4_000_000_000,
        count: Some(i64::MAX),
        kept: Some(true),
        time: Some(1_700_000_000_250_000),
        keywords: Some(vec!["red kettle".to_owned(), "lid".to_owned()]),
    };
    let none = Row { distance: Some(f32::NAN), probability: None, time: Some(0), keywords: None, ..row.clone() };
    assert_eq!(
        String::from_utf8(written(&[row.clone(), none], ResultFormat::Csv)).unwrap(),
        "id,title,distance,probability,cluster,count,kept,time,keywords\n\
         a,,0.1,0.3333333333333333,4000000000,9223372036854775807,true,2023-11-14T22:13:20.250Z,red kettle; lid\n\
         a,,NaN,,4000000000,9223372036854775807,true,1970-01-01T00:00:00Z,\n"
    );
    assert_eq!(
        String::from_utf8(written(&[row], ResultFormat::JsonLines)).unwrap(),
        "{\"id\":\"a\",\"title\":null,\"distance\":0.1,\"probability\":0.3333333333333333,\"cluster\":4000000000,\
         \"count\":9223372036854775807,\"kept\":true,\"time\":\"2023-11-14T22:13:20.250Z\",\
         \"keywords\":[\"red kettle\",\"lid\"]}\n"
    );
    assert_eq!(written(&[], ResultFormat::Json), b"[]");
    assert!(written(&[], ResultFormat::Csv).starts_with(b"id,title,"));
}

#[test]
fn a_format_is_known_by_its_name_and_by_that_of_a_file() {
    for (name, format) in [
        ("parquet", ResultFormat::Parquet),
        ("arrow", ResultFormat::Arrow),
        ("csv", ResultFormat::Csv),
        ("json", ResultFormat::Json),
        ("jsonl", ResultFormat::JsonLines),
        ("ndjson", ResultFormat::JsonLines),
    ] {
        assert_eq!(ResultFormat::named(name), Some(format));
        assert_eq!(ResultFormat::of(Path::new(&format!("a.b.{}", name.to_uppercase()))).unwrap(), format);
    }
    let error = ResultFormat::of(Path::new("rows.xlsx")).unwrap_err();
    assert!(error.to_string().contains(".parquet") && error.param() == Some("out"), "{error}");
}
