//! `/v1/fine_tuning/jobs` and what lies below it.

use std::collections::BTreeMap;

use anser_engine::Engine;
use axum::Json;

use super::jobs::on_job;
use crate::call::EngineCall;
use crate::error::ApiResult;
use crate::extract::{self, Path, Query};
use crate::wire::fine_tuning::request::CreateJob;
use crate::wire::fine_tuning::{Checkpoint, Event, Job};
use crate::wire::list::{CursorList, PageSize, QueryPairs, page_request};

/// Jobs and events of one page, and checkpoints of one page, unless the query says otherwise.
const PAGE: PageSize = PageSize { default: 20, most: 1000 };
const CHECKPOINT_PAGE: PageSize = PageSize { default: 10, most: 1000 };

/// A new job; it is validated and run by the job runner.
pub(crate) async fn create(call: EngineCall, extract::Json(body): extract::Json<CreateJob>) -> ApiResult<Json<Job>> {
    let request = body.into_request()?;
    let job = call.run(move |work| Ok(work.engine().create_fine_tuning_job(&request)?.into()));
    Ok(Json(job.await?))
}

/// Jobs, newest first; `metadata[key]=value` narrows the list down.
pub(crate) async fn list(call: EngineCall, Query(query): Query<QueryPairs>) -> ApiResult<Json<CursorList<Job>>> {
    let page = page_request(&query, PAGE)?;
    let metadata: BTreeMap<String, String> = query
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned(), value.clone())))
        .collect();
    let page = call.run(move |work| Ok(work.engine().fine_tuning_jobs(&page, &metadata)?)).await?;
    Ok(Json(CursorList::new(page.items.into_iter().map(Job::from).collect(), page.has_more)))
}

/// One job.
pub(crate) async fn get(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Job>> {
    on_job(call, id, Engine::fine_tuning_job).await
}

/// Gives a job up.
pub(crate) async fn cancel(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Job>> {
    on_job(call, id, Engine::cancel_fine_tuning_job).await
}

/// Puts a job aside.
pub(crate) async fn pause(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Job>> {
    on_job(call, id, Engine::pause_fine_tuning_job).await
}

/// Goes on with a job that was put aside.
pub(crate) async fn resume(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Job>> {
    on_job(call, id, Engine::resume_fine_tuning_job).await
}

/// What happened to a job, newest first.
pub(crate) async fn events(
    call: EngineCall,
    Path(id): Path<String>,
    Query(query): Query<QueryPairs>,
) -> ApiResult<Json<CursorList<Event>>> {
    let page = page_request(&query, PAGE)?;
    let page = call.run(move |work| Ok(work.engine().fine_tuning_events(&id, &page)?)).await?;
    Ok(Json(CursorList::new(page.items.into_iter().map(Event::from).collect(), page.has_more)))
}

/// The checkpoints of a job, newest first.
pub(crate) async fn checkpoints(
    call: EngineCall,
    Path(id): Path<String>,
    Query(query): Query<QueryPairs>,
) -> ApiResult<Json<CursorList<Checkpoint>>> {
    let page = page_request(&query, CHECKPOINT_PAGE)?;
    let page = call.run(move |work| Ok(work.engine().fine_tuning_checkpoints(&id, &page)?)).await?;
    Ok(Json(CursorList::new(page.items.into_iter().map(Checkpoint::from).collect(), page.has_more)))
}
