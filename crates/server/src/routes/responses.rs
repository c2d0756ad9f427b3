//! `POST /v1/responses`: the next turn of a conversation, or an answer grounded in a collection.

use anser_core::{ChatMessage, ErrorKind, FinishReason, Prompt, Role};
use anser_engine::{AnswerEvent, AnswerRequest, abstention_text};
use axum::Json;
use axum::response::{IntoResponse, Response};

use crate::call::{EngineCall, Work};
use crate::error::{ApiError, ApiResult};
use crate::extract::{self, Path};
use crate::filter::ReplyFilter;
use crate::generation::{self, Wanted, chat_model, refuse_cancelled};
use crate::sse::responses_failure;
use crate::state::unix_now;
use crate::wire::responses::events::{Emit, ResponseWriter};
use crate::wire::responses::request::{FileSearch, ResponsesRequest};
use crate::wire::responses::{self as wire, ContentPart, Ending, ResponseHeader, SearchResult};

/// A response, whole or as events.
pub(crate) async fn create(
    call: EngineCall,
    extract::Json(request): extract::Json<ResponsesRequest>,
) -> ApiResult<Response> {
    if request.streams() {
        return call
            .stream(responses_failure, move |work, sink| {
                respond(work, &request, &mut |name, event| sink.named(name, event)).map(|_| ())
            })
            .await;
    }
    let response = call.run(move |work| respond(work, &request, &mut |_, _| Ok(())));
    Ok(Json(response.await?).into_response())
}

/// Nothing is kept, so nothing can be asked for later.
pub(crate) async fn not_kept(Path(id): Path<String>) -> ApiError {
    let id = crate::error::excerpt(&id);
    ApiError::not_found(format!(
        "the response \"{id}\" is not there: responses are not kept; use the reply of POST /v1/responses and send earlier turns in input"
    ))
}

fn respond(work: &Work, request: &ResponsesRequest, emit: &mut Emit<'_>) -> ApiResult<wire::Response> {
    request.check()?;
    let (messages, options, search) = (request.conversation()?, request.decoding()?, request.file_search()?);
    let model = match request.model.as_deref().filter(|model| !model.is_empty()) {
        Some(model) => model.to_owned(),
        None => work.engine().default_chat_model()?,
    };
    let generator = chat_model(work, &model)?;
    let mut writer = ResponseWriter::new(ResponseHeader::new(request, model.clone(), unix_now()), emit);
    if let Some(search) = search {
        let question = Grounded { work, request, model, search, question: question(request, &messages)? };
        return question.answer(&mut writer);
    }
    // The beginning is sent with the first text, so that a prompt that is refused can still be answered with a status.
    let mut begun = false;
    let wanted = Wanted::only("input", Prompt::Chat(&messages), &options);
    let written = generation::write(work, generator.as_ref(), &wanted, &mut |piece| {
        if !std::mem::replace(&mut begun, true) {
            writer.begin()?;
        }
        if piece.is_empty() { Ok(()) } else { writer.text(piece) }
    })?;
    if !begun {
        writer.begin()?;
    }
    writer.finish(wire::plain(written.text), Ending::of(written.finish_reason), written.usage, unix_now())
}

/// The one question of a request that is answered from a collection.
fn question(request: &ResponsesRequest, messages: &[ChatMessage]) -> ApiResult<String> {
    if request.instructions.as_deref().is_some_and(|text| !text.is_empty()) {
        return Err(ApiError::unsupported(
            "instructions",
            "instructions are not supported beside file_search, whose answers follow the prompt for grounded answers alone; leave them out, or leave the tool out",
        ));
    }
    match messages {
        [ChatMessage { role: Role::User, content }] => Ok(content.clone()),
        _ => Err(ApiError::unsupported(
            "input",
            "file_search answers one question at a time; send it as the only message, in words that need no earlier turn",
        )),
    }
}

/// A question to a collection.
struct Grounded<'a> {
    work: &'a Work,
    request: &'a ResponsesRequest,
    model: String,
    search: FileSearch,
    question: String,
}

impl Grounded<'_> {
    fn answer(self, writer: &mut ResponseWriter<'_>) -> ApiResult<wire::Response> {
        let Self { work, request, model, search, question } = self;
        work.engine().collection(&search.collection).map_err(|error| {
            let missing = error.kind() == ErrorKind::NotFound;
            let error = ApiError::from(error);
            if missing { error.with_param("tools[0].vector_store_ids") } else { error }
        })?;
        let asked = AnswerRequest {
            question,
            passages: search.passages,
            max_tokens: request.max_output_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX)),
            temperature: request.temperature.unwrap_or_default(),
            model: Some(model),
            filter: search.filter,
            min_score: search.ranking.min_score,
            fusion: search.ranking.fusion,
            ..AnswerRequest::default()
        };
        let mut stream = GroundedStream {
            writer,
            filter: ReplyFilter::new(work),
            abstention: abstention_text(&asked.question),
            held: false,
        };
        let mut outcome = Ok(());
        let answer = work.engine().answer(&search.collection, &asked, &work.cancel, &mut |event| {
            if outcome.is_ok() && !stream.filter.flagged() {
                outcome = match event {
                    AnswerEvent::Passages(passages) => {
                        let results = search.results.then(|| passages.iter().map(SearchResult::from).collect());
                        stream.found(&asked.question, results)
                    }
                    AnswerEvent::Delta(text) => stream.delta(text),
                };
                if outcome.is_err() || stream.filter.flagged() {
                    work.cancel.cancel();
                }
            }
        })?;
        work.metrics().answered(&answer);
        outcome?;
        stream.end(answer.abstained)?;
        let withheld = stream.filter.flagged();
        if withheld {
            work.metrics().withheld();
        }
        let reason =
            if withheld { FinishReason::ContentFilter } else { answer.finish_reason.unwrap_or(FinishReason::Stop) };
        refuse_cancelled(reason)?;
        let part = if withheld {
            wire::plain(String::new())
        } else if answer.abstained {
            ContentPart::Refusal { refusal: answer.text.clone() }
        } else {
            ContentPart::OutputText { text: answer.text.clone(), annotations: wire::citations(&answer), logprobs: [] }
        };
        let ending = if answer.abstained { Ending::of(FinishReason::Stop) } else { Ending::of(reason) };
        writer.finish(part, ending, answer.usage, unix_now())
    }
}

/// The events of a grounded answer. The sentence with which the engine abstains is held back: a refusal is written
/// otherwise than a text.
struct GroundedStream<'a, 'w, 'e> {
    writer: &'a mut ResponseWriter<'e>,
    filter: ReplyFilter<'w>,
    abstention: &'static str,
    held: bool,
}

impl GroundedStream<'_, '_, '_> {
    fn found(&mut self, question: &str, results: Option<Vec<SearchResult>>) -> ApiResult<()> {
        self.writer.begin()?;
        let search = self.writer.search(question)?;
        self.writer.found(&search, results)
    }

    fn delta(&mut self, text: &str) -> ApiResult<()> {
        if text == self.abstention {
            self.held = true;
            return Ok(());
        }
        self.filter.push(text, &mut |piece| self.writer.text(piece))
    }

    fn end(&mut self, abstained: bool) -> ApiResult<()> {
        if abstained {
            return Ok(());
        }
        if std::mem::take(&mut self.held) {
            self.filter.push(self.abstention, &mut |piece| self.writer.text(piece))?;
        }
        self.filter.finish(&mut |piece| self.writer.text(piece))
    }
}
