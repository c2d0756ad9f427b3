//! `POST /v1/collections/{name}/cluster`: a clustering job that is waited for.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anser_core::{CancelToken, ErrorKind, NoProgress, StopReason, StopSignal};
use anser_engine::{Analysis, AnalysisRequest, AnalysisSource, Engine, Job, JobState};
use axum::Json;
use serde_json::Value;

use crate::call::EngineCall;
use crate::error::{ApiError, ApiResult};
use crate::extract::{self, Path};
use crate::wire::cluster::{ClusterBody, ClusterReply};

/// How often a job that is waited for looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// Groups a collection's documents by meaning, and waits for it: the job runs in this call unless the runner of jobs takes
/// it up first. Its tables and pictures stay with the job. The request's time limit bounds how large a collection may be;
/// for more, make a job of type `cluster`. A client that goes away cancels the job.
pub(crate) async fn create(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> ApiResult<Json<ClusterReply>> {
    let ClusterBody { filter, options } = ClusterBody::read(body)?;
    let source = AnalysisSource::Collection { name, filter };
    let request = AnalysisRequest { source, analysis: Analysis::Cluster(options) };
    let reply = call.run(move |work| {
        let engine = work.engine();
        let job = engine.create_analysis_job(&request)?;
        let job = wait(engine, &job.id, &work.cancel)?;
        succeeded(&job)?;
        Ok(ClusterReply { report: engine.job_report(&job.id)?, job: job.id })
    });
    Ok(Json(reply.await?))
}

/// Runs a job in this call, or follows whoever runs it, until it has ended; cancels it when `cancel` is set.
fn wait(engine: &Engine, id: &str, cancel: &CancelToken) -> ApiResult<Job> {
    let stop = StopSignal::default();
    let job = std::thread::scope(|scope| {
        let (working, ended) = mpsc::channel::<()>();
        let watched = stop.clone();
        scope.spawn(move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if cancel.is_cancelled() {
                    watched.stop(StopReason::Cancel);
                    return;
                }
            }
        });
        let job = engine.run_job_here(id, &stop, &mut |_| {}, &NoProgress);
        drop(working);
        job
    })?;
    Ok(job)
}

/// What became of a job, as a reply to whoever waited for it.
fn succeeded(job: &Job) -> ApiResult<()> {
    let failed = |kind, message: &str| Err(ApiError::of_kind(kind, message));
    match (job.state, &job.failure) {
        (JobState::Succeeded, _) => Ok(()),
        (JobState::Failed, Some(failure)) => match (failure.code.as_str(), &failure.param) {
            ("invalid_request", Some(param)) => Err(ApiError::invalid(param.clone(), failure.message.clone())),
            ("invalid_request", None) => failed(ErrorKind::InvalidInput, &failure.message),
            ("out_of_memory", _) => failed(ErrorKind::TooLarge, &failure.message),
            ("unavailable", _) => failed(ErrorKind::Unavailable, &failure.message),
            _ => failed(ErrorKind::Internal, &failure.message),
        },
        (state, _) => {
            failed(ErrorKind::Cancelled, &format!("the job {} was {} before it was done", job.id, state.as_str()))
        }
    }
}
