//! Files for people and other programs: a table of assignments, written whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;

use super::report::{Assignment, ClusterReport};
use super::table::{AssignmentTable, FIXED_COLUMNS};
use crate::EngineError;
use crate::replace::replace_file;

/// Rows turned into one Arrow batch at a time.
const BATCH_ROWS: usize = 8192;

/// A format of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// Apache Parquet, zstd-compressed, with typed columns.
    Parquet,
    /// Comma-separated values with a header, UTF-8; a missing value is an empty field.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    JsonLines,
}

impl TableFormat {
    /// The format that a file's name asks for: `.parquet`, `.csv`, `.json` or `.jsonl` (also `.ndjson`), in any case.
    pub fn of(path: &Path) -> Result<Self, EngineError> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        match extension.as_str() {
            "parquet" => Ok(Self::Parquet),
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            _ => Err(EngineError::invalid(
                "out",
                format!(
                    "cannot tell what kind of table {} should be; end its name in .parquet, .csv, .json or .jsonl",
                    path.display()
                ),
            )),
        }
    }
}

/// Writes where each document went as a table, in the format that the name of `path` asks for: columns `id`, `cluster`,
/// `label`, `similarity`, `x`, `y`, `title`, `text`, then each attribute that has one type in all documents (in JSON: all
/// attributes, in an object). An attribute named like one of these columns becomes `attribute.NAME`. The file is replaced
/// in one step: a failure leaves what was there.
pub fn write_assignments(report: &ClusterReport, path: &Path) -> Result<(), EngineError> {
    let format = TableFormat::of(path)?;
    let table = AssignmentTable::new(report);
    replace_file(path, |out| match format {
        TableFormat::Parquet => write_parquet(&table, out),
        TableFormat::Csv => write_csv(&table, out),
        TableFormat::Json => write_json(&table, out),
        TableFormat::JsonLines => write_json_lines(&table, out),
    })
}

fn write_parquet(table: &AssignmentTable<'_>, out: &mut BufWriter<File>) -> std::io::Result<()> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(out, table.schema(), Some(properties)).map_err(std::io::Error::other)?;
    for rows in table.report.assignments.chunks(BATCH_ROWS) {
        let batch = table.batch(rows).map_err(std::io::Error::other)?;
        writer.write(&batch).map_err(std::io::Error::other)?;
    }
    writer.close().map_err(std::io::Error::other)?;
    Ok(())
}

fn write_csv(table: &AssignmentTable<'_>, out: &mut BufWriter<File>) -> std::io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    let attributes = table.attributes.iter().map(|column| column.column.as_str());
    writer.write_record(FIXED_COLUMNS.into_iter().chain(attributes))?;
    for row in &table.report.assignments {
        let fixed = [
            row.document_id.to_string(),
            row.cluster.to_string(),
            table.label(row).to_owned(),
            row.similarity.to_string(),
            row.x.to_string(),
            row.y.to_string(),
            row.title.clone().unwrap_or_default(),
            row.text.clone(),
        ];
        let attributes = table.attributes.iter().map(|column| {
            row.attributes.get(&column.attribute).map(anser_core::AttributeValue::display).unwrap_or_default()
        });
        writer.write_record(fixed.into_iter().chain(attributes))?;
    }
    writer.flush()
}

/// One row as JSON.
#[derive(Serialize)]
struct JsonRow<'a> {
    id: &'a str,
    cluster: u32,
    label: &'a str,
    similarity: f32,
    x: f32,
    y: f32,
    title: Option<&'a str>,
    text: &'a str,
    attributes: &'a anser_core::Attributes,
}

impl<'a> JsonRow<'a> {
    fn new(table: &AssignmentTable<'a>, row: &'a Assignment) -> Self {
        Self {
            id: row.document_id.as_str(),
            cluster: row.cluster,
            label: table.label(row),
            similarity: row.similarity,
            x: row.x,
            y: row.y,
            title: row.title.as_deref(),
            text: &row.text,
            attributes: &row.attributes,
        }
    }
}

fn write_json(table: &AssignmentTable<'_>, out: &mut BufWriter<File>) -> std::io::Result<()> {
    out.write_all(b"[")?;
    for (at, row) in table.report.assignments.iter().enumerate() {
        out.write_all(if at == 0 { b"\n  " } else { b",\n  " })?;
        serde_json::to_writer(&mut *out, &JsonRow::new(table, row))?;
    }
    out.write_all(b"\n]\n")
}

fn write_json_lines(table: &AssignmentTable<'_>, out: &mut BufWriter<File>) -> std::io::Result<()> {
    for row in &table.report.assignments {
        serde_json::to_writer(&mut *out, &JsonRow::new(table, row))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anser_core::{AttributeValue, ErrorKind};
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float32Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::cluster::fixtures::sample_report;

    /// A report whose attributes have every type, a missing value, a list, and a name that a column has.
    fn report() -> ClusterReport {
        let mut report = sample_report(4);
        for (at, row) in report.assignments.iter_mut().enumerate() {
            let whole = i64::try_from(at).unwrap();
            let value = if at % 2 == 0 { AttributeValue::Integer(whole) } else { AttributeValue::Float(0.5) };
            row.attributes.insert("price".to_owned(), value);
            row.attributes.insert("label".to_owned(), AttributeValue::Bool(at > 5));
            row.attributes.insert("tags".to_owned(), AttributeValue::StringList(vec!["a".to_owned(), "b".to_owned()]));
            let seen = time::OffsetDateTime::from_unix_timestamp(1_700_000_000 + whole).unwrap();
            row.attributes.insert("seen".to_owned(), AttributeValue::Time(seen));
        }
        report.assignments[1].attributes.remove("score");
        report.assignments[2].text = "quotes \" commas, and\nlines 咖啡".to_owned();
        report
    }

    #[test]
    fn parquet_reads_back_what_the_report_holds() {
        let (folder, report) = (tempfile::tempdir().unwrap(), report());
        let path = folder.path().join("clusters.parquet");
        write_assignments(&report, &path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        assert_eq!(batches.len(), 1);
        let batch = &batches[0];
        let names: Vec<&String> = batch.schema_ref().fields().iter().map(|f| f.name()).collect();
        let expected = [&FIXED_COLUMNS[..], &["attribute.label", "price", "score", "seen"]].concat();
        assert_eq!(names, expected);
        let column = |name: &str| batch.column_by_name(name).unwrap();
        for (at, row) in report.assignments.iter().enumerate() {
            assert_eq!(column("id").as_string::<i32>().value(at), row.document_id.as_str());
            assert_eq!(column("cluster").as_primitive::<UInt32Type>().value(at), row.cluster);
            let label = &report.clusters[row.cluster as usize].label;
            assert_eq!(column("label").as_string::<i32>().value(at), label);
            let float = |name| column(name).as_primitive::<Float32Type>().value(at).to_bits();
            assert_eq!([float("similarity"), float("x"), float("y")], [row.similarity, row.x, row.y].map(f32::to_bits));
            let title = column("title").as_string::<i32>();
            assert_eq!(title.is_valid(at).then(|| title.value(at)), row.title.as_deref());
            assert_eq!(column("text").as_string::<i32>().value(at), row.text);
            assert_eq!(column("attribute.label").as_boolean().value(at), at > 5);
            let price = column("price").as_primitive::<Float64Type>().value(at);
            assert!((price - if at % 2 == 0 { at as f64 } else { 0.5 }).abs() < 1e-12);
            let score = column("score").as_primitive::<Int64Type>();
            assert_eq!(score.is_valid(at).then(|| score.value(at)), (at != 1).then_some(1 + (at % 5) as i64));
            let seen = column("seen").as_primitive::<TimestampMicrosecondType>().value(at);
            assert_eq!(seen, (1_700_000_000 + at as i64) * 1_000_000);
        }
    }

    #[test]
    fn csv_reads_back_what_the_report_holds() {
        let (folder, report) = (tempfile::tempdir().unwrap(), report());
        let path = folder.path().join("clusters.CSV");
        write_assignments(&report, &path).unwrap();
        let mut reader = csv::Reader::from_path(&path).unwrap();
        let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(header[8..], ["attribute.label", "price", "score", "seen"]);
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), report.assignments.len());
        for (row, expected) in rows.iter().zip(&report.assignments) {
            assert_eq!((&row[0], &row[1]), (expected.document_id.as_str(), expected.cluster.to_string().as_str()));
            assert_eq!(row[3].parse::<f32>().unwrap().to_bits(), expected.similarity.to_bits());
            assert_eq!((&row[6], &row[7]), (expected.title.as_deref().unwrap_or(""), expected.text.as_str()));
        }
        assert_eq!((&rows[1][10], &rows[0][10], &rows[1][11]), ("", "1", "2023-11-14T22:13:21Z"));
    }

    #[test]
    fn json_and_json_lines_hold_the_same_rows_with_every_attribute() {
        let (folder, report) = (tempfile::tempdir().unwrap(), report());
        let (array, lines) = (folder.path().join("c.json"), folder.path().join("c.jsonl"));
        write_assignments(&report, &array).unwrap();
        write_assignments(&report, &lines).unwrap();
        let array: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(array).unwrap()).unwrap();
        let lines: Vec<serde_json::Value> =
            std::fs::read_to_string(lines).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!((array.len(), &array), (12, &lines));
        assert_eq!(array[2]["text"], report.assignments[2].text);
        assert_eq!(array[0]["attributes"]["tags"], serde_json::json!(["a", "b"]));
        assert_eq!(array[1]["title"], serde_json::Value::Null);
    }

    #[test]
    fn an_unknown_format_names_the_known_ones_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["clusters.xlsx", "clusters"] {
            let path = folder.path().join(name);
            let error = write_assignments(&report(), &path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(".parquet, .csv, .json or .jsonl"), "{error}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.csv");
        std::fs::write(&path, "old").unwrap();
        let failed = replace_file(&path, |out| {
            out.write_all(b"half")?;
            Err(std::io::Error::other("the disk is full"))
        });
        assert!(failed.unwrap_err().to_string().contains("the disk is full"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let missing = write_assignments(&report(), &folder.path().join("nowhere/c.csv")).unwrap_err();
        assert!(missing.to_string().contains("nowhere"), "{missing}");
    }
}
