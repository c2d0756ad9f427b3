//! `/v1/jobs`, what lies below it, and `/v1/collections/{name}/jobs`: long work of every kind, and what it made.

use std::io::{self, Read};

use anser_engine::duplicates::DeletedDuplicates;
use anser_engine::{Engine, EngineError};
use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use crate::call::{EngineCall, Work};
use crate::error::{ApiError, ApiResult};
use crate::extract::{self, Path, Query};
use crate::pieces::{Pieces, stream};
use crate::wire::collections::Deleted;
use crate::wire::files::disposition;
use crate::wire::jobs::{Event, Job, JobRequest, JobResult, Wanted, job_filter, job_request, wanted};
use crate::wire::list::{CursorList, List, PageSize, QueryPairs, page_request};

/// Jobs and events of one page unless the query says otherwise, and at most.
const PAGE: PageSize = PageSize { default: 20, most: 1000 };

/// A new job over a collection or an uploaded file; the job runner takes it up.
pub(crate) async fn create(
    call: EngineCall,
    extract::Json(body): extract::Json<Value>,
) -> ApiResult<(StatusCode, Json<Job>)> {
    make(call, None, body).await
}

/// A new job over the collection of the path.
pub(crate) async fn create_for_collection(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> ApiResult<(StatusCode, Json<Job>)> {
    make(call, Some(name), body).await
}

async fn make(call: EngineCall, collection: Option<String>, body: Value) -> ApiResult<(StatusCode, Json<Job>)> {
    let request = job_request(collection, body)?;
    let job = call.run(move |work| {
        let engine = work.engine();
        let job = match &request {
            JobRequest::Analysis(request) => engine.create_analysis_job(request)?,
            JobRequest::Reembed { collection, options } => engine.create_reembed_job(collection, options)?,
            JobRequest::Compact { collection } => engine.create_compaction_job(collection)?,
        };
        Ok(job.into())
    });
    Ok((StatusCode::ACCEPTED, Json(job.await?)))
}

/// Jobs of every kind, newest first; `type` and `status` narrow the list down.
pub(crate) async fn list(call: EngineCall, Query(query): Query<QueryPairs>) -> ApiResult<Json<CursorList<Job>>> {
    let (page, filter) = (page_request(&query, PAGE)?, job_filter(&query)?);
    let page = call.run(move |work| Ok(work.engine().jobs_where(&filter, &page)?)).await?;
    Ok(Json(CursorList::new(page.items.into_iter().map(Job::from).collect(), page.has_more)))
}

/// One job.
pub(crate) async fn get(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Job>> {
    on_job(call, id, Engine::job).await
}

/// Gives a job up.
pub(crate) async fn cancel(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Job>> {
    on_job(call, id, Engine::cancel_job).await
}

/// Puts a job aside.
pub(crate) async fn pause(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Job>> {
    on_job(call, id, Engine::pause_job).await
}

/// Goes on with a job that was put aside.
pub(crate) async fn resume(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Job>> {
    on_job(call, id, Engine::resume_job).await
}

/// Does something with one job, in the words of one of the two APIs that have jobs.
pub(super) async fn on_job<J, W: From<J> + Send + 'static>(
    call: EngineCall,
    id: String,
    action: impl FnOnce(&Engine, &str) -> Result<J, EngineError> + Send + 'static,
) -> ApiResult<Json<W>> {
    Ok(Json(call.run(move |work| Ok(action(work.engine(), &id)?.into())).await?))
}

/// Deletes a job that has ended, with all it made.
pub(crate) async fn delete(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Deleted>> {
    let deleted = call.run(move |work| {
        work.engine().delete_job(&id)?;
        Ok(Deleted::new("job", id))
    });
    Ok(Json(deleted.await?))
}

/// Deletes from its collection what a finished job of the kind `duplicates` found redundant, except what was changed since.
pub(crate) async fn delete_duplicates(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<DeletedDuplicates>> {
    Ok(Json(call.run(move |work| Ok(work.engine().delete_duplicates(&id)?)).await?))
}

/// What happened to a job, newest first.
pub(crate) async fn events(
    call: EngineCall,
    Path(id): Path<String>,
    Query(query): Query<QueryPairs>,
) -> ApiResult<Json<CursorList<Event>>> {
    let page = page_request(&query, PAGE)?;
    let page = call.run(move |work| Ok(work.engine().job_events(&id, &page)?)).await?;
    Ok(Json(CursorList::new(page.items.into_iter().map(Event::from).collect(), page.has_more)))
}

/// The files that a job made, the report first.
pub(crate) async fn results(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<List<JobResult>>> {
    let results = call.run(move |work| Ok(work.engine().job_results(&id)?)).await?;
    Ok(Json(List::all(results.into_iter().map(JobResult::from).collect())))
}

/// One of those files, or a table in the format asked for, piece by piece. A reader who is not done in time is cut off.
pub(crate) async fn result(
    call: EngineCall,
    Path(id): Path<String>,
    Query(query): Query<QueryPairs>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let open = move |work: &Work| {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let opened = Opened::open(work, id, &query, accept)?;
        let reply = opened.headers()?;
        Ok((opened, reply))
    };
    stream(call, open, Opened::write).await
}

/// A result that is about to be sent.
struct Opened {
    job: String,
    wanted: Wanted,
    /// The file and its length, where it is sent as it is.
    file: Option<(std::fs::File, u64)>,
}

impl Opened {
    fn open(work: &Work, job: String, query: &QueryPairs, accept: Option<&str>) -> ApiResult<Self> {
        let engine = work.engine();
        let results = engine.job_results(&job)?;
        if results.is_empty() {
            let state = engine.job(&job)?.state.as_str();
            let message = format!("the job {job} is {state} and has no results; GET /v1/jobs/{job} says how far it is");
            return Err(ApiError::not_found(message).with_code("no_results"));
        }
        let wanted = wanted(&results, query, accept)?;
        let file = match &wanted {
            Wanted::Table(..) => None,
            Wanted::File(name, _) => {
                let path = engine.job_result_path(&job, name)?;
                let failed = |error| anser_core::Error::io("open", &path, error);
                let file = std::fs::File::open(&path).map_err(failed)?;
                let length = file.metadata().map_err(failed)?.len();
                Some((file, length))
            }
        };
        Ok(Self { job, wanted, file })
    }

    fn headers(&self) -> ApiResult<HeaderMap> {
        let (content_type, filename) = match &self.wanted {
            Wanted::File(name, content_type) => (content_type.as_str(), format!("{}-{name}", self.job)),
            Wanted::Table(name, format) => {
                (format.content_type(), format!("{}-{name}.{}", self.job, format.extension()))
            }
        };
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| ApiError::panicked());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value(content_type)?);
        headers.insert(header::CONTENT_DISPOSITION, value(&disposition(&filename))?);
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        if let Some((_, length)) = &self.file {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(*length));
        }
        Ok(headers)
    }

    fn write(self, work: &Work, out: &mut Pieces) -> Result<(), EngineError> {
        match (self.wanted, self.file) {
            (Wanted::Table(name, format), _) => work.engine().write_job_table(&self.job, &name, format, out),
            (Wanted::File(name, _), Some((file, length))) => {
                let copied = io::copy(&mut file.take(length), out);
                copied.map(|_| ()).map_err(|error| EngineError::io("send", name, error))
            }
            (Wanted::File(..), None) => Ok(()),
        }
    }
}
