//! The events of a streamed response, in the order that OpenAI's clients insist on: the response before its items, an
//! item before its parts, a part before its text, and every beginning with its end before the response is complete.
//!
//! A response that is not streamed goes the same way with nobody listening.

use anser_core::TokenUsage;
use serde_json::{Value, json};

use crate::error::{ApiError, ApiResult};
use crate::wire::responses::{ContentPart, Ending, OutputItem, Response, ResponseHeader, SearchResult, new_id, plain};

/// Takes one event: its name and its data.
pub(crate) type Emit<'a> = dyn FnMut(&'static str, &Value) -> ApiResult<()> + 'a;

/// Writes one response, event by event.
pub(crate) struct ResponseWriter<'a> {
    header: ResponseHeader,
    emit: &'a mut Emit<'a>,
    sequence: u64,
    /// The items that are finished.
    output: Vec<OutputItem>,
    /// The id of the message that is being written; always the last item.
    message: Option<String>,
}

/// A search that is being made.
pub(crate) struct OpenSearch {
    id: String,
    query: String,
}

impl<'a> ResponseWriter<'a> {
    pub(crate) fn new(header: ResponseHeader, emit: &'a mut Emit<'a>) -> Self {
        Self { header, emit, sequence: 0, output: Vec::new(), message: None }
    }

    /// The response is there, without content.
    pub(crate) fn begin(&mut self) -> ApiResult<()> {
        let response = value(&self.header.in_progress())?;
        self.send("response.created", json!({ "response": response }))?;
        self.send("response.in_progress", json!({ "response": response }))
    }

    /// A search is under way.
    pub(crate) fn search(&mut self, query: &str) -> ApiResult<OpenSearch> {
        let search = OpenSearch { id: new_id("fs"), query: query.to_owned() };
        let item = value(&search.item("in_progress", None))?;
        let (at, id) = (self.output.len(), search.id.clone());
        self.send("response.output_item.added", json!({"output_index": at, "item": item}))?;
        self.send("response.file_search_call.in_progress", json!({"output_index": at, "item_id": id}))?;
        self.send("response.file_search_call.searching", json!({"output_index": at, "item_id": id}))?;
        Ok(search)
    }

    /// The search has ended; `results` are listed when they were asked for.
    pub(crate) fn found(&mut self, search: &OpenSearch, results: Option<Vec<SearchResult>>) -> ApiResult<()> {
        let at = self.output.len();
        self.send("response.file_search_call.completed", json!({"output_index": at, "item_id": search.id}))?;
        let item = search.item("completed", results);
        self.send("response.output_item.done", json!({"output_index": at, "item": value(&item)?}))?;
        self.output.push(item);
        Ok(())
    }

    /// The next piece of the message's text; the first one begins the message.
    pub(crate) fn text(&mut self, delta: &str) -> ApiResult<()> {
        let at = self.output.len();
        let id = self.begin_part(&plain(String::new()))?;
        self.send(
            "response.output_text.delta",
            json!({"item_id": id, "output_index": at, "content_index": 0, "delta": delta, "logprobs": []}),
        )
    }

    /// The message is `part`, and with it the response is finished, at `now` (seconds since 1970).
    pub(crate) fn finish(
        &mut self,
        part: ContentPart,
        ending: Ending,
        usage: TokenUsage,
        now: i64,
    ) -> ApiResult<Response> {
        let at = self.output.len();
        let empty = match &part {
            ContentPart::OutputText { .. } => plain(String::new()),
            ContentPart::Refusal { .. } => ContentPart::Refusal { refusal: String::new() },
        };
        let id = self.begin_part(&empty)?;
        let place = |mut data: Value| {
            if let Some(data) = data.as_object_mut() {
                data.extend([
                    ("item_id".to_owned(), id.clone().into()),
                    ("output_index".to_owned(), at.into()),
                    ("content_index".to_owned(), 0.into()),
                ]);
            }
            data
        };
        match &part {
            ContentPart::OutputText { text, annotations, .. } => {
                for (index, annotation) in annotations.iter().enumerate() {
                    let data = json!({"annotation_index": index, "annotation": value(annotation)?});
                    self.send("response.output_text.annotation.added", place(data))?;
                }
                self.send("response.output_text.done", place(json!({"text": text, "logprobs": []})))?;
            }
            ContentPart::Refusal { refusal } => {
                self.send("response.refusal.delta", place(json!({ "delta": refusal })))?;
                self.send("response.refusal.done", place(json!({ "refusal": refusal })))?;
            }
        }
        self.send("response.content_part.done", place(json!({ "part": value(&part)? })))?;
        let item = message(id.clone(), ending.status(), vec![part]);
        self.send("response.output_item.done", json!({"output_index": at, "item": value(&item)?}))?;
        self.output.push(item);
        let response = self.header.ended(self.output.clone(), ending, usage, now);
        let name = if ending.status() == "completed" { "response.completed" } else { "response.incomplete" };
        self.send(name, json!({ "response": value(&response)? }))?;
        Ok(response)
    }

    /// Begins the message and its one part unless that was done; returns the message's id.
    fn begin_part(&mut self, part: &ContentPart) -> ApiResult<String> {
        if let Some(id) = &self.message {
            return Ok(id.clone());
        }
        let (at, id) = (self.output.len(), new_id("msg"));
        self.message = Some(id.clone());
        let item = value(&message(id.clone(), "in_progress", Vec::new()))?;
        self.send("response.output_item.added", json!({"output_index": at, "item": item}))?;
        let data = json!({"item_id": id, "output_index": at, "content_index": 0, "part": value(part)?});
        self.send("response.content_part.added", data)?;
        Ok(id)
    }

    fn send(&mut self, name: &'static str, data: Value) -> ApiResult<()> {
        let mut event = json!({"type": name, "sequence_number": self.sequence});
        self.sequence += 1;
        if let (Some(event), Value::Object(data)) = (event.as_object_mut(), data) {
            event.extend(data);
        }
        (self.emit)(name, &event)
    }
}

impl OpenSearch {
    fn item(&self, status: &'static str, results: Option<Vec<SearchResult>>) -> OutputItem {
        OutputItem::FileSearchCall { id: self.id.clone(), status, queries: vec![self.query.clone()], results }
    }
}

fn message(id: String, status: &'static str, content: Vec<ContentPart>) -> OutputItem {
    OutputItem::Message { id, status, role: "assistant", content }
}

fn value(data: &impl serde::Serialize) -> ApiResult<Value> {
    serde_json::to_value(data).map_err(|error| {
        ApiError::of_kind(anser_core::ErrorKind::Internal, format!("an event could not be written: {error}"))
    })
}
