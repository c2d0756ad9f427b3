//! Jobs of every kind, their events and results as HTTP callers see them, and the request that makes one.

use anser_engine::classify::ClassifierOptions;
use anser_engine::cluster::ClusterOptions;
use anser_engine::diversity::DiversityOptions;
use anser_engine::duplicates::DuplicateOptions;
use anser_engine::outliers::OutlierOptions;
use anser_engine::predictors::PredictOptions;
use anser_engine::projection::ProjectionOptions;
use anser_engine::reembed::{ReembedOptions, ReembedReport};
use anser_engine::regress::RegressorOptions;
use anser_engine::{
    Analysis, AnalysisFigures, AnalysisRequest, AnalysisSource, ClusterEvaluationOptions, Compaction, EventLevel,
    FieldMapping, FileFormat, Filter, JobFailure, JobFilter, JobProgress, JobState, JobWish, ResultFormat,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult, excerpt};
use crate::extract;
use crate::wire::json_type;
use crate::wire::list::{Identified, QueryPairs, parameter};

/// The kinds that can be asked for, in words.
fn kinds() -> String {
    [Analysis::kinds(), &["reembed", "compact"]].concat().join(", ")
}

/// What a job is asked for.
#[derive(Debug, PartialEq)]
pub(crate) enum JobRequest {
    Analysis(Box<AnalysisRequest>),
    /// To embed a collection anew.
    Reembed {
        collection: String,
        options: ReembedOptions,
    },
    /// To give the space of deleted documents back.
    Compact {
        collection: String,
    },
}

/// Reads the request for a job of any kind that is made here.
pub(crate) fn job_request(collection: Option<String>, body: Value) -> ApiResult<JobRequest> {
    let kind = body.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !matches!(kind.as_str(), "reembed" | "compact") {
        return Ok(JobRequest::Analysis(Box::new(analysis_request(collection, body)?)));
    }
    let mut body = object(body)?;
    body.remove("type");
    let named = match collection {
        Some(name) => Some(name),
        None => take::<String>(&mut body, "collection")?,
    };
    let missing = || ApiError::invalid("collection", "collection is missing; send the name of a collection".to_owned());
    let collection = named.ok_or_else(missing)?;
    if kind == "reembed" {
        return Ok(JobRequest::Reembed { collection, options: extract::from_value(body)? });
    }
    match body.keys().next() {
        None => Ok(JobRequest::Compact { collection }),
        Some(key) => {
            let message = format!("a job of the type compact has no option \"{}\"; leave it out", excerpt(key));
            Err(ApiError::malformed(message))
        }
    }
}

/// Reads the request for an analysis: `type`, where the documents come from (`collection`, unless the path says it, or `file`
/// with `fields` and `format`), `filter`, and the options of the type beside them.
fn analysis_request(collection: Option<String>, body: Value) -> ApiResult<AnalysisRequest> {
    let mut body = object(body)?;
    let source = source(collection, &mut body)?;
    let kind = take::<String>(&mut body, "type")?
        .ok_or_else(|| ApiError::invalid("type", format!("type is missing; send one of {}", kinds())))?;
    let analysis = match kind.as_str() {
        "cluster" => extract::from_value::<ClusterOptions>(body).map(Analysis::Cluster),
        "outliers" => extract::from_value::<OutlierOptions>(body).map(Analysis::Outliers),
        "duplicates" => extract::from_value::<DuplicateOptions>(body).map(Analysis::Duplicates),
        "diversity" => extract::from_value::<DiversityOptions>(body).map(Analysis::Diversity),
        "projection" => extract::from_value::<ProjectionOptions>(body).map(Analysis::Projection),
        "train_classifier" => extract::from_value::<ClassifierOptions>(body).map(Analysis::TrainClassifier),
        "train_regressor" => extract::from_value::<RegressorOptions>(body).map(Analysis::TrainRegressor),
        "fine_tuning" => {
            Err(ApiError::invalid("type", "fine-tuning jobs are made by POST /v1/fine_tuning/jobs; send them there"))
        }
        "predict" => extract::from_value::<PredictOptions>(body).map(Analysis::Predict),
        "evaluate_clusters" => extract::from_value::<ClusterEvaluationOptions>(body).map(Analysis::EvaluateClusters),
        other => {
            let message = format!("type is \"{}\"; send one of {}", excerpt(other), kinds());
            Err(ApiError::invalid("type", message))
        }
    };
    Ok(AnalysisRequest { source, analysis: analysis? })
}

fn source(collection: Option<String>, body: &mut Map<String, Value>) -> ApiResult<AnalysisSource> {
    let filter = take::<Filter>(body, "filter")?;
    // The path names the collection; a file beside it is as unknown as any other key.
    if let Some(name) = collection {
        return Ok(AnalysisSource::Collection { name, filter });
    }
    let (name, file) = (take::<String>(body, "collection")?, take::<String>(body, "file")?);
    match (name, file) {
        (Some(name), None) => Ok(AnalysisSource::Collection { name, filter }),
        (None, Some(file)) => {
            let format = take::<FileFormat>(body, "format")?;
            let fields = take::<FieldMapping>(body, "fields")?.unwrap_or_default();
            Ok(AnalysisSource::Upload { file, format, fields, filter })
        }
        (Some(_), Some(_)) => Err(ApiError::invalid("file", "both collection and file are given; send one of the two")),
        (None, None) => Err(ApiError::invalid(
            "collection",
            "neither collection nor file is given; send the name of a collection or the id of an uploaded file",
        )),
    }
}

/// The object that a body must be.
pub(super) fn object(body: Value) -> ApiResult<Map<String, Value>> {
    match body {
        Value::Object(body) => Ok(body),
        other => Err(ApiError::malformed(format!("the body is {}; send an object", json_type(&other)))),
    }
}

/// Takes one key out of a body; `null` counts as absent.
pub(super) fn take<T: DeserializeOwned>(body: &mut Map<String, Value>, key: &'static str) -> ApiResult<Option<T>> {
    match body.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => extract::from_value_at(value, key).map(Some),
    }
}

/// What a list of jobs is narrowed to by `type` and `status`.
pub(crate) fn job_filter(query: &QueryPairs) -> ApiResult<JobFilter> {
    let state = parameter(query, "status").map(|text| {
        JobState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let all = JobState::ALL.map(JobState::as_str).join(", ");
            ApiError::invalid("status", format!("status is \"{}\"; use one of {all}", excerpt(text)))
        })
    });
    Ok(JobFilter { kind: parameter(query, "type").map(str::to_owned), state: state.transpose()? })
}

/// One job.
#[derive(Debug, Serialize)]
pub(crate) struct Job {
    id: String,
    /// Always `job`.
    object: &'static str,
    #[serde(rename = "type")]
    kind: String,
    /// `validating`, `queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`.
    status: &'static str,
    /// `pause` or `cancel` where that was asked for and has not happened yet.
    pending: Option<JobWish>,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    error: Option<JobFailure>,
    progress: Progress,
    /// Where the documents of an analysis come from.
    source: Option<Source>,
    /// The options of an analysis, those that were left out as they were filled in.
    options: Option<Value>,
    /// What an analysis that has succeeded took.
    figures: Option<AnalysisFigures>,
    /// What came of embedding a collection anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    reembedding: Option<ReembedReport>,
    /// What came of a compaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    compaction: Option<Compaction>,
}

/// How far a job is.
#[derive(Debug, Serialize)]
struct Progress {
    #[serde(flatten)]
    figures: JobProgress,
    /// The part of the total, of the stage where there is one, that is done: 0 to 1.
    fraction: Option<f64>,
}

/// Where documents come from. A file on the server's disk, which only commands can analyse, is told by its name alone.
#[derive(Debug, Serialize)]
struct Source {
    collection: Option<String>,
    file: Option<String>,
    fields: Option<FieldMapping>,
    filter: Option<Filter>,
}

impl From<AnalysisSource> for Source {
    fn from(source: AnalysisSource) -> Self {
        let name = source.name();
        match source {
            AnalysisSource::Collection { filter, .. } => {
                Self { collection: Some(name), file: None, fields: None, filter }
            }
            AnalysisSource::Path { fields, filter, .. } | AnalysisSource::Upload { fields, filter, .. } => {
                Self { collection: None, file: Some(name), fields: Some(fields), filter }
            }
        }
    }
}

impl From<anser_engine::Job> for Job {
    fn from(job: anser_engine::Job) -> Self {
        let (of_collection, own_options) = of_collection(&job);
        let request = serde_json::from_value::<AnalysisRequest>(job.request).ok();
        let options = request.as_ref().and_then(|request| {
            let mut options = serde_json::to_value(&request.analysis).ok()?;
            // The object has it as its own `type`.
            options.as_object_mut()?.remove("type");
            Some(options)
        });
        let fraction = job.progress.total.filter(|total| *total > 0).map(|total| {
            let fraction = job.progress.done as f64 / total as f64;
            fraction.min(1.0)
        });
        Self {
            id: job.id,
            object: "job",
            kind: job.kind,
            status: job.state.as_str(),
            pending: job.wish,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            error: job.failure,
            progress: Progress { figures: job.progress, fraction },
            source: request.map(|request| request.source.into()).or(of_collection),
            options: options.or(own_options),
            reembedding: serde_json::from_value(job.detail.clone()).ok(),
            compaction: serde_json::from_value(job.detail.clone()).ok(),
            figures: serde_json::from_value(job.detail).ok(),
        }
    }
}

/// The collection and the options of a job that is no analysis of one.
fn of_collection(job: &anser_engine::Job) -> (Option<Source>, Option<Value>) {
    if !matches!(job.kind.as_str(), "reembed" | "compact") {
        return (None, None);
    }
    let collection = job.request.get("collection").and_then(Value::as_str).map(str::to_owned);
    let source = Source { collection, file: None, fields: None, filter: None };
    (Some(source), job.request.get("options").cloned())
}

impl Identified for Job {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Something that happened to a job.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    id: String,
    /// Always `job.event`.
    object: &'static str,
    created_at: i64,
    level: EventLevel,
    message: String,
}

impl From<anser_engine::JobEvent> for Event {
    fn from(event: anser_engine::JobEvent) -> Self {
        let anser_engine::JobEvent { id, created_at, level, message, .. } = event;
        Self { id, object: "job.event", created_at, level, message }
    }
}

impl Identified for Event {
    fn id(&self) -> &str {
        &self.id
    }
}

/// One file that a job made.
#[derive(Debug, Serialize)]
pub(crate) struct JobResult {
    name: String,
    /// Always `job.result`.
    object: &'static str,
    content_type: String,
    bytes: u64,
    /// For a table, the formats in which it can be had.
    formats: Vec<&'static str>,
}

impl From<anser_engine::JobResult> for JobResult {
    fn from(result: anser_engine::JobResult) -> Self {
        let table = result.content_type == ResultFormat::Parquet.content_type();
        let formats = if table { vec!["json", "jsonl", "csv", "arrow", "parquet"] } else { Vec::new() };
        let anser_engine::JobResult { name, content_type, bytes } = result;
        Self { name, object: "job.result", content_type, bytes, formats }
    }
}

/// Which result is asked for, and as what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A file as it lies there: its name and content type.
    File(String, String),
    /// A table in a format.
    Table(String, ResultFormat),
}

/// Finds the result that `name` and `format` of a query, and an `Accept` header, ask for. Without a name it is the report,
/// or the table of documents when the format is one of tables only. Without a format, `Accept` decides, and JSON is
/// the default; a table asked for by its file's name comes in the format of that name's ending.
pub(crate) fn wanted(
    results: &[anser_engine::JobResult],
    query: &QueryPairs,
    accept: Option<&str>,
) -> ApiResult<Wanted> {
    let table = |name: &str| results.iter().any(|result| result.name.strip_suffix(".parquet") == Some(name));
    let format = match parameter(query, "format") {
        None => None,
        Some(text) => Some(ResultFormat::named(text).ok_or_else(|| {
            let text = excerpt(text);
            ApiError::invalid("format", format!("format is \"{text}\"; use json, jsonl, csv, arrow or parquet"))
        })?),
    };
    let accepted = accept.and_then(accepted);
    let name = match parameter(query, "name") {
        Some(name) => name,
        None if format.or(accepted).is_some_and(|format| format != ResultFormat::Json) => "documents",
        None => "report.json",
    };
    if table(name) {
        return Ok(Wanted::Table(name.to_owned(), format.or(accepted).unwrap_or(ResultFormat::Json)));
    }
    if let Some((stem, ending)) = name.rsplit_once('.')
        && let Some(of_name) = ResultFormat::named(ending)
        && table(stem)
    {
        return Ok(Wanted::Table(stem.to_owned(), format.unwrap_or(of_name)));
    }
    let Some(file) = results.iter().find(|result| result.name == name) else {
        let names: Vec<&str> = results.iter().map(|result| result.name.as_str()).collect();
        let message = format!("the job has no result \"{}\"; it has {}", excerpt(name), names.join(", "));
        return Err(ApiError::not_found(message).with_param("name"));
    };
    if format.is_some_and(|format| format != ResultFormat::Json || file.content_type != format.content_type()) {
        let message = format!("{} is not a table, so it comes only as it is; leave format out", file.name);
        return Err(ApiError::invalid("format", message));
    }
    Ok(Wanted::File(file.name.clone(), file.content_type.clone()))
}

/// The format of tables that an `Accept` header prefers; `None` when it names none, or takes anything.
fn accepted(header: &str) -> Option<ResultFormat> {
    let ranges = header.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let format = match parts.next()?.to_ascii_lowercase().as_str() {
            "application/json" => ResultFormat::Json,
            "application/x-ndjson" | "application/jsonl" => ResultFormat::JsonLines,
            "text/csv" => ResultFormat::Csv,
            "application/vnd.apache.arrow.stream" => ResultFormat::Arrow,
            "application/vnd.apache.parquet" => ResultFormat::Parquet,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok()).unwrap_or(1.0);
        (weight > 0.0).then_some((weight, format))
    });
    // The first of those with the highest weight.
    ranges.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, format)| format)
}

#[cfg(test)]
mod tests {
    use anser_engine::JobResult;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn results() -> Vec<JobResult> {
        let file = |name: &str, content_type: &str| JobResult {
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            bytes: 1,
        };
        vec![
            file("report.json", "application/json"),
            file("documents.parquet", ResultFormat::Parquet.content_type()),
            file("map.svg", "image/svg+xml"),
        ]
    }

    fn find(query: &[(&str, &str)], accept: Option<&str>) -> ApiResult<Wanted> {
        let query = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        wanted(&results(), &query, accept)
    }

    #[test]
    fn a_result_is_found_by_name_format_and_accept() {
        let documents = |format| Wanted::Table("documents".to_owned(), format);
        let report = || Wanted::File("report.json".to_owned(), "application/json".to_owned());
        for (query, accept, expected) in [
            (vec![], None, report()),
            (vec![], Some("*/*"), report()),
            (vec![], Some("application/json"), report()),
            (vec![("format", "json")], None, report()),
            (vec![("name", "report.json"), ("format", "json")], None, report()),
            (vec![], Some("text/csv"), documents(ResultFormat::Csv)),
            (vec![("format", "arrow")], None, documents(ResultFormat::Arrow)),
            (vec![("name", "documents")], None, documents(ResultFormat::Json)),
            (
                vec![("name", "documents")],
                Some("text/csv;q=0.5, application/x-ndjson"),
                documents(ResultFormat::JsonLines),
            ),
            (vec![("name", "documents"), ("format", "csv")], Some("application/json"), documents(ResultFormat::Csv)),
            (vec![("name", "documents.parquet")], None, documents(ResultFormat::Parquet)),
            (vec![("name", "documents.csv")], None, documents(ResultFormat::Csv)),
            (
                vec![("name", "map.svg")],
                Some("text/csv"),
                Wanted::File("map.svg".to_owned(), "image/svg+xml".to_owned()),
            ),
        ] {
            assert_eq!(find(&query, accept).unwrap(), expected, "{query:?} {accept:?}");
        }
        for (query, param) in [
            (vec![("format", "xlsx")], "format"),
            (vec![("name", "map.svg"), ("format", "csv")], "format"),
            (vec![("name", "../control.sqlite")], "name"),
        ] {
            assert_eq!(find(&query, None).unwrap_err().body().error.param.as_deref(), Some(param), "{query:?}");
        }
    }

    #[test]
    fn a_request_names_its_source_and_the_fault_in_it() {
        let request = analysis_request(Some("shop".to_owned()), json!({"type": "diversity"})).unwrap();
        assert_eq!((request.source.name(), request.analysis.kind()), ("shop".to_owned(), "diversity"));
        let body = json!({"type": "outliers", "file": "file-1", "format": "csv", "fields": {"text": "Text"}});
        let Ok(AnalysisRequest { source: AnalysisSource::Upload { file, fields, .. }, .. }) =
            analysis_request(None, body)
        else {
            panic!("a file is analysed")
        };
        assert_eq!((file.as_str(), fields.text.as_deref()), ("file-1", Some("Text")));
        for (body, param) in [
            (json!({"type": "diversity"}), "collection"),
            (json!({"type": "diversity", "collection": "a", "file": "b"}), "file"),
            (json!({"collection": "a"}), "type"),
            (json!({"collection": "a", "type": "fine_tuning"}), "type"),
            (json!({"collection": "a", "type": "magic"}), "type"),
            (json!({"collection": "a", "type": "cluster", "kay": 3}), "kay"),
            (json!({"collection": "a", "type": "cluster", "seed": "x"}), "seed"),
            (json!({"collection": "a", "type": "cluster", "path": "/etc/passwd"}), "path"),
            (json!({"collection": "a", "type": "cluster", "k": "five"}), "k"),
            (json!({"collection": "a", "type": "cluster", "attributes": ["b", 3]}), "attributes[1]"),
            (json!({"collection": "a", "type": "predict", "predictor": "p", "version": "x"}), "version"),
            (json!({"collection": "a", "type": "evaluate_clusters", "truth": "t", "seeds": -1}), "seeds"),
            (json!({"collection": "a", "type": "cluster", "filter": 3}), "filter"),
            (json!({"collection": 3, "type": "cluster"}), "collection"),
            (json!({"file": "f", "type": "cluster", "fields": {"txt": "a"}}), "fields.txt"),
        ] {
            let error = analysis_request(None, body.clone()).unwrap_err().body().error;
            assert_eq!(error.param.as_deref(), Some(param), "{body}: {}", error.message);
        }
        for kind in Analysis::kinds() {
            let body = json!({"collection": "a", "type": kind, "no_such_option": 1});
            let error = analysis_request(None, body).unwrap_err().body().error;
            assert_eq!(error.param.as_deref(), Some("no_such_option"), "{kind}: {}", error.message);
        }
        assert!(analysis_request(None, json!([])).is_err());
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(header in "[a-z/*;=,.0-9 q-]{0,60}") {
            let _ = accepted(&header);
        }
    }
}
