//! Vectors that rows bring along: ingested without a model, searched, refused row by row, and exported again.

use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_core::{
    CancelToken, Embedder, Embedding, Error, ErrorKind, Generator, NoProgress, Reranker, Result, StopSignal,
};
use anser_engine::{
    Analysis, AnalysisRequest, AnalysisSource, Engine, EngineError, EngineOptions, ExportOptions, ExportReport,
    ExternalVectors, FileFormat, Filter, IngestOptions, IngestReport, JobState, ModelLoader, ResultFormat,
    SearchRequest, ServedModels, TunedModel,
};
use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, FixedSizeListBuilder, Float16Array, Float32Array, Float32Builder,
    Float64Array, ListArray, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::check_counts;

/// Has no model at all.
struct NoModels;

impl ModelLoader for NoModels {
    fn embedder_name(&self) -> &'static str {
        "none"
    }
    fn reranker_name(&self) -> Option<&str> {
        None
    }
    fn generator_name(&self) -> &'static str {
        "none"
    }
    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        Err(Error::new(ErrorKind::Unavailable, "no model may be loaded"))
    }
    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Err(Error::new(ErrorKind::Unavailable, "no model may be loaded"))
    }
    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Err(Error::new(ErrorKind::Unavailable, "no model may be loaded"))
    }
    fn tuned(&self, _: &TunedModel) -> Result<Arc<dyn Generator>> {
        Err(Error::new(ErrorKind::Unavailable, "no model may be loaded"))
    }
}

struct Bench {
    engine: Engine,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path().join("data")).unwrap();
        let engine = Engine::open(&data, ServedModels::new(NoModels), None, EngineOptions::default()).unwrap();
        Self { engine, folder }
    }

    fn ingest(
        &self,
        collection: &str,
        format: FileFormat,
        bytes: impl AsRef<[u8]>,
        options: &IngestOptions,
    ) -> std::result::Result<IngestReport, EngineError> {
        let source = Box::new(std::io::Cursor::new(bytes.as_ref().to_vec()));
        self.engine.ingest_reader(collection, format, source, options, &NoProgress, &CancelToken::new())
    }

    fn export(&self, collection: &str, options: &ExportOptions) -> (Vec<u8>, ExportReport) {
        let mut bytes = Vec::new();
        let cancel = CancelToken::new();
        let export = self.engine.export_collection(collection, options, &NoProgress, &cancel).unwrap();
        export.write(&mut bytes, &NoProgress, &cancel).unwrap();
        (bytes, export.report().clone())
    }

    fn nearest(&self, collection: &str, vector: &[f32]) -> Vec<(String, f32)> {
        let request = SearchRequest { vector: Some(vector.to_vec()), limit: 3, ..SearchRequest::default() };
        let reply = self.engine.search(collection, &request, &CancelToken::new()).unwrap();
        reply.hits.iter().map(|hit| (hit.chunk.document_id.to_string(), hit.score)).collect()
    }
}

fn mine() -> IngestOptions {
    let external = Some(ExternalVectors { name: "mine".to_owned(), dimension: None });
    IngestOptions { external, ..IngestOptions::default() }
}

fn ids() -> (&'static str, ArrayRef) {
    ("id", Arc::new(StringArray::from(vec!["a", "b", "c"])))
}

fn texts() -> (&'static str, ArrayRef) {
    ("text", Arc::new(StringArray::from(vec!["red kettle", "blue kettle", "绿色的锅"])))
}

fn batch(embedding: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([ids(), texts(), ("embedding", embedding)]).unwrap()
}

/// The vectors (3, 4), (0, -2) and (1, 0) as a column of fixed-size lists of `values`.
fn fixed(values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    Arc::new(FixedSizeListArray::new(field, 2, values, None))
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn stream(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn file(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn every_kind_of_list_is_read_and_searched_without_a_model() {
    let numbers = [3.0_f64, 4.0, 0.0, -2.0, 1.0, 0.0];
    let wide: ArrayRef = Arc::new(Float64Array::from(numbers.to_vec()));
    let single: ArrayRef = Arc::new(Float32Array::from(numbers.map(|v| v as f32).to_vec()));
    let half: ArrayRef = Arc::new(arrow::compute::cast(&single, &DataType::Float16).unwrap());
    assert!(half.as_any().is::<Float16Array>());
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>(
        numbers.chunks(2).map(|vector| Some(vector.iter().copied().map(Some).collect::<Vec<_>>())),
    );
    let sources = [
        (FileFormat::Parquet, parquet(&batch(fixed(wide.clone())))),
        (FileFormat::Parquet, parquet(&batch(fixed(single.clone())))),
        (FileFormat::ArrowStream, stream(&batch(fixed(half)))),
        (FileFormat::ArrowStream, file(&batch(fixed(single)))),
        (FileFormat::ArrowStream, stream(&batch(Arc::new(lists)))),
        (FileFormat::Jsonl, JSON_LINES.as_bytes().to_vec()),
        (
            FileFormat::Csv,
            b"id,text,vector\na,red kettle,\"[3, 4]\"\nb,blue kettle,\"[0,-2]\"\nc,pan,\"[1,0]\"\n".to_vec(),
        ),
    ];
    for (at, (format, bytes)) in sources.into_iter().enumerate() {
        let bench = Bench::new();
        let report = bench.ingest("c", format, bytes, &mine()).unwrap();
        assert_eq!((report.inserted, report.rejected, report.chunks), (3, 0, 3), "source {at}: {report:?}");
        assert!(report.fields.embedding.as_ref().unwrap().guessed);
        let found = bench.nearest("c", &[0.6, 0.8]);
        assert_eq!(found[0].0, "a", "source {at}");
        assert!((found[0].1 - 1.0).abs() < 1e-3 && (found[2].1 + 0.8).abs() < 1e-3, "source {at}: {found:?}");
        let info = bench.engine.collection("c").unwrap().info().unwrap();
        assert!(info.embedder.is_external() && info.embedder.dimension == 2 && info.embedder.model == "mine");
    }
}

const JSON_LINES: &str = "{\"id\":\"a\",\"text\":\"red kettle\",\"embedding\":[3,4]}\n\
    {\"id\":\"b\",\"text\":\"blue kettle\",\"embedding\":[0,-2]}\n\
    {\"id\":\"c\",\"text\":\"绿色的锅\",\"embedding\":[1,0]}\n";

#[test]
fn a_bad_vector_costs_its_row_and_no_other() {
    let bench = Bench::new();
    bench.ingest("c", FileFormat::Jsonl, JSON_LINES, &mine()).unwrap();
    let lines = "{\"id\":\"d\",\"text\":\"good\",\"embedding\":[1,1]}\n\
        {\"id\":\"e\",\"text\":\"short\",\"embedding\":[1]}\n\
        {\"id\":\"f\",\"text\":\"nothing\",\"embedding\":[0,0]}\n\
        {\"id\":\"g\",\"text\":\"hole\",\"embedding\":[1,null]}\n\
        {\"id\":\"h\",\"text\":\"words\",\"embedding\":\"about 3\"}\n\
        {\"id\":\"i\",\"text\":\"only text\"}\n\
        {\"id\":\"j\",\"text\":\"too large\",\"embedding\":[1e300,1]}\n\
        {\"id\":\"k\",\"text\":\"good again\",\"embedding\":[-1,1]}\n";
    let report = bench.ingest("c", FileFormat::Jsonl, lines, &IngestOptions::default()).unwrap();
    check_counts(&report);
    assert_eq!((report.inserted, report.rejected), (2, 6), "{report:?}");
    let faults: Vec<(u64, &str)> = report.errors.iter().map(|e| (e.line.unwrap(), e.message.as_str())).collect();
    let expected = [
        (2, "1 numbers, but those of the collection have 2"),
        (3, "all-zero"),
        (4, "finite"),
        (5, "expected a list of numbers, found \"about 3\""),
        (6, "bring along (\"mine\", 2 numbers each)"),
        (7, ""),
    ];
    for ((line, message), (wanted_line, wanted)) in faults.iter().zip(expected) {
        assert!(*line == wanted_line && message.contains(wanted), "line {line}: {message}");
    }

    let values: ArrayRef = Arc::new(Float32Array::from(vec![1.0, f32::NAN, f32::INFINITY, 0.0, 0.5, 0.5]));
    let report = bench.ingest("c", FileFormat::Parquet, parquet(&batch(fixed(values))), &mine()).unwrap();
    assert_eq!((report.replaced, report.rejected), (1, 2), "{report:?}");
    let rows: Vec<_> = report.errors.iter().map(|error| (error.row, error.field.as_deref())).collect();
    assert_eq!(rows, [(Some(1), Some("embedding")), (Some(2), Some("embedding"))]);
}

#[test]
fn other_vectors_are_refused_as_a_whole() {
    let bench = Bench::new();
    bench.ingest("c", FileFormat::Jsonl, JSON_LINES, &mine()).unwrap();
    for (name, dimension) in [("other", None), ("mine", Some(3))] {
        let external = Some(ExternalVectors { name: name.to_owned(), dimension });
        let options = IngestOptions { external, ..IngestOptions::default() };
        let error = bench.ingest("c", FileFormat::Jsonl, JSON_LINES, &options).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::Conflict, Some("vectors")), "{error}");
    }
    let request = SearchRequest { vector: Some(vec![1.0, 0.0, 0.0]), ..SearchRequest::default() };
    assert_eq!(bench.engine.search("c", &request, &CancelToken::new()).unwrap_err().kind(), ErrorKind::InvalidInput);
    // Documents without vectors have no place in it.
    let document = |id: &str| serde_json::from_value(serde_json::json!({"id": id, "text": "words"})).unwrap();
    let report = bench.engine.ingest_documents("c", vec![document("x")], &NoProgress, &CancelToken::new()).unwrap();
    assert_eq!((report.inserted, report.rejected), (0, 1));

    let created = bench.engine.create_external_collection("made", "mine", 2).unwrap();
    assert!(created.embedder().is_external());
    assert_eq!(bench.ingest("made", FileFormat::Jsonl, JSON_LINES, &mine()).unwrap().inserted, 3);
    for (name, dimension) in [(" ", 2), ("mine", 0), ("mine", 1_000_000)] {
        let error = bench.engine.create_external_collection("refused", name, dimension).unwrap_err();
        assert_eq!(error.param(), Some("embedding"));
    }
    let nothing = bench.ingest("new", FileFormat::Jsonl, "{\"id\":1,\"text\":\"a b\"}", &mine()).unwrap_err();
    assert!(nothing.to_string().contains("hold no vectors"), "{nothing}");
    assert_eq!(bench.engine.collection("new").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_changed_vector_replaces_the_document_and_the_same_one_does_not() {
    let bench = Bench::new();
    bench.ingest("c", FileFormat::Jsonl, JSON_LINES, &mine()).unwrap();
    assert_eq!(bench.ingest("c", FileFormat::Jsonl, JSON_LINES, &mine()).unwrap().unchanged, 3);
    let turned = JSON_LINES.replace("[1,0]", "[-1,0]");
    let report = bench.ingest("c", FileFormat::Jsonl, turned, &mine()).unwrap();
    assert_eq!((report.unchanged, report.replaced), (2, 1));
    assert_eq!(bench.nearest("c", &[-1.0, 0.0])[0].0, "c");
}

#[test]
fn vectors_in_a_collection_that_makes_its_own_are_left_out_and_said_so() {
    let bench = super::Bench::new();
    let report = bench.reader(FileFormat::Jsonl, JSON_LINES).unwrap();
    assert_eq!((report.inserted, report.fields.ignored.as_slice()), (3, ["embedding".to_owned()].as_slice()));
    assert!(report.warnings[0].message.contains("\"embedding\" holds vectors and is left out"), "{report:?}");
    assert!(bench.documents()["a"].attributes.is_empty());
    let options = IngestOptions {
        fields: anser_engine::FieldMapping { embedding: Some("embedding".to_owned()), ..Default::default() },
        ..IngestOptions::default()
    };
    let error = bench.file_with("rows.jsonl", JSON_LINES, &options).unwrap_err();
    assert_eq!(error.param(), Some("embedding_field"));
    let error = bench.file_with("rows.jsonl", JSON_LINES, &mine()).unwrap_err();
    assert_eq!((error.kind(), error.param()), (ErrorKind::Conflict, Some("vectors")));
}

#[test]
fn analyses_read_vectors_whoever_made_them() {
    let bench = Bench::new();
    let line = |at: usize| {
        let (x, y) = if at < 20 { (1.0, 0.01 * at as f64) } else { (0.01 * at as f64, -1.0) };
        format!("{{\"id\":\"{at}\",\"text\":\"row {at}\",\"embedding\":[{x},{y}]}}\n")
    };
    bench.ingest("c", FileFormat::Jsonl, (0..40).map(line).collect::<String>(), &mine()).unwrap();
    let analysis: Analysis = serde_json::from_value(serde_json::json!({"type": "clustering", "k": 2}))
        .unwrap_or_else(|_| Analysis::Diversity(anser_engine::diversity::DiversityOptions::default()));
    let source = AnalysisSource::Collection { name: "c".to_owned(), filter: None };
    let job = bench.engine.create_analysis_job(&AnalysisRequest { source, analysis }).unwrap();
    let job = bench.engine.run_job_here(&job.id, &StopSignal::default(), &mut |_| {}, &NoProgress).unwrap();
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
}

const TYPED: &str = "{\"id\":\"1\",\"title\":\"One\",\"text\":\"first text\",\"n\":3,\"price\":2.5,\"ok\":true,\
    \"tags\":[\"a\",\"b\"],\"at\":\"2026-01-31T12:00:00.000001Z\",\"name\":\"x\",\"embedding\":[0.1,-0.7,0.3]}\n\
    {\"id\":\"2\",\"text\":\" zweiter Text\\nmit Zeile \",\"n\":-4,\"price\":3.0,\"tags\":[\"c; d\"],\"embedding\":[1e-3,2e4,7]}\n\
    {\"id\":\"3/ä\",\"text\":\"第三段, \\\"quoted\\\"\",\"ok\":false,\"embedding\":[0.2,0.2,0.2]}\n";

fn stored(bench: &Bench, collection: &str) -> Vec<(anser_core::Document, Embedding)> {
    let mut found = Vec::new();
    let collection = bench.engine.collection(collection).unwrap();
    collection
        .scan(None, &mut |scanned| {
            found.push((scanned.document, scanned.embedding));
            Ok(())
        })
        .unwrap();
    found
}

#[test]
fn what_is_exported_is_ingested_as_it_was() {
    let bench = Bench::new();
    bench.ingest("c", FileFormat::Jsonl, TYPED, &mine()).unwrap();
    let before = stored(&bench, "c");
    assert_eq!(before.len(), 3);
    for (format, read_as) in [
        (ResultFormat::Parquet, FileFormat::Parquet),
        (ResultFormat::Arrow, FileFormat::ArrowStream),
        (ResultFormat::JsonLines, FileFormat::Jsonl),
        (ResultFormat::Json, FileFormat::Json),
    ] {
        let (bytes, report) = bench.export("c", &ExportOptions { format, filter: None, vectors: true });
        assert_eq!((report.documents, report.dimension), (3, Some(3)));
        let name = format!("again-{}", format.extension());
        let report = bench.ingest(&name, read_as, &bytes, &mine()).unwrap();
        assert_eq!((report.inserted, report.rejected), (3, 0), "{format:?}: {report:?}");
        let after = stored(&bench, &name);
        for ((document, vector), (other, same)) in before.iter().zip(&after) {
            assert_eq!(document, other, "{format:?}");
            let bits = |vector: &Embedding| vector.as_slice().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(vector), bits(same), "{format:?}: {}", document.id);
        }
    }
    let error = bench.engine.export_collection(
        "c",
        &ExportOptions { format: ResultFormat::Csv, filter: None, vectors: true },
        &NoProgress,
        &CancelToken::new(),
    );
    assert_eq!(error.err().unwrap().param(), Some("vectors"));
}

#[test]
fn an_export_has_typed_columns_and_only_what_the_filter_lets_through() {
    let bench = Bench::new();
    bench.ingest("c", FileFormat::Jsonl, TYPED, &mine()).unwrap();
    let filter: Filter = "n > 0".parse().unwrap();
    let options = ExportOptions { format: ResultFormat::Parquet, filter: Some(filter), vectors: true };
    let (bytes, report) = bench.export("c", &options);
    assert_eq!(report.documents, 1);
    let path = bench.folder.path().join("out.parquet");
    std::fs::write(&path, bytes).unwrap();
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap());
    let batch = reader.unwrap().build().unwrap().next().unwrap().unwrap();
    let schema = batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "title", "text", "at", "n", "name", "ok", "price", "tags", "embedding"]);
    assert!(matches!(schema.field(8).data_type(), DataType::List(_)));
    let vectors = batch.column(9).as_fixed_size_list();
    assert_eq!(vectors.value_length(), 3);
    let first = vectors.value(0);
    let length: f32 = first.as_primitive::<Float32Type>().values().iter().map(|v| v * v).sum();
    assert!((length - 1.0).abs() < 1e-6);

    let csv = ExportOptions { format: ResultFormat::Csv, filter: None, vectors: false };
    let text = String::from_utf8(bench.export("c", &csv).0).unwrap();
    assert!(text.starts_with("id,title,text,at,n,name,ok,price,tags\n1,One,first text,"), "{text}");
    assert!(text.contains("a; b") && text.contains("第三段"));
}

#[test]
fn an_attribute_does_not_become_the_title_that_no_document_has() {
    let bench = Bench::new();
    // Nested attributes are never taken for titles.
    let lines = "{\"id\":\"1\",\"text\":\"first\",\"attributes\":{\"summary\":\"short\"},\"embedding\":[1,2]}\n";
    bench.ingest("c", FileFormat::Jsonl, lines, &mine()).unwrap();
    assert_eq!(stored(&bench, "c")[0].0.title, None);
    for format in [ResultFormat::Parquet, ResultFormat::Json] {
        let filter: Filter = "summary = \"short\"".parse().unwrap();
        let (bytes, _) = bench.export("c", &ExportOptions { format, filter: Some(filter), vectors: true });
        let read_as = if format == ResultFormat::Parquet { FileFormat::Parquet } else { FileFormat::Json };
        let name = format!("again-{}", format.extension());
        bench.ingest(&name, read_as, &bytes, &mine()).unwrap();
        assert_eq!(stored(&bench, &name), stored(&bench, "c"), "{format:?}");
    }
}

#[test]
fn an_empty_collection_is_an_empty_table() {
    let bench = Bench::new();
    bench.engine.create_external_collection("c", "mine", 3).unwrap();
    for format in [ResultFormat::Parquet, ResultFormat::Arrow, ResultFormat::JsonLines, ResultFormat::Json] {
        let (bytes, report) = bench.export("c", &ExportOptions { format, filter: None, vectors: true });
        assert_eq!(report.documents, 0);
        assert!(format == ResultFormat::JsonLines || !bytes.is_empty());
    }
    let mut builder = FixedSizeListBuilder::new(Float32Builder::new(), 3);
    assert_eq!(builder.finish().len(), 0);
}
