//! `POST /v1/collections/{name}/answers`: one JSON reply, or the events `passages`, `delta` … and `answer`.

use anser_engine::{AnswerEvent, AnswerRequest};
use axum::Json;
use axum::response::{IntoResponse, Response};

use crate::call::{EngineCall, Work};
use crate::error::ApiResult;
use crate::extract::{self, Path};
use crate::sse::{EventSink, native_failure};
use crate::wire::answers::{AnswerBody, DeltaEvent, PassagesEvent};

/// An answer with citations, or an abstention.
pub(crate) async fn create(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<AnswerBody>,
) -> ApiResult<Response> {
    let streams = body.stream;
    let request = AnswerRequest::from(body);
    if streams {
        return call.stream(native_failure, move |work, sink| stream(work, sink, &name, &request)).await;
    }
    let answer = call.run(move |work| {
        let answer = work.engine().answer(&name, &request, &work.cancel, &mut |_| {})?;
        work.metrics().answered(&answer);
        Ok(answer)
    });
    Ok(Json(answer.await?).into_response())
}

fn stream(work: &Work, sink: &EventSink<'_>, name: &str, request: &AnswerRequest) -> ApiResult<()> {
    let mut written = Ok(());
    let answer = work.engine().answer(name, request, &work.cancel, &mut |event| {
        if written.is_ok() {
            written = match event {
                AnswerEvent::Passages(passages) => sink.named("passages", &PassagesEvent { passages }),
                AnswerEvent::Delta(text) => sink.named("delta", &DeltaEvent { text }),
            };
        }
    })?;
    work.metrics().answered(&answer);
    written?;
    sink.named("answer", &answer)
}
