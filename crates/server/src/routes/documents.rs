//! `/v1/collections/{name}/documents` and what lies below it.

use std::io::Cursor;

use anser_core::{Document, DocumentId, NoProgress};
use anser_engine::{FieldMapping, FileFormat, IngestOptions, IngestReport};
use axum::Json;
use axum::body::Bytes;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::call::{EngineCall, Work};
use crate::error::{ApiError, ApiResult, excerpt};
use crate::extract::{self, LargeBody, Path, Query, content_type, parse_json};
use crate::routes::collections::engine_error;
use crate::wire::collections::{DeleteDocuments, Deleted, DocumentsDeleted, IngestQuery, PageQuery};
use crate::wire::list::List;

/// Documents of one page unless the query says otherwise, and at most.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// The media types that documents may come in.
const FORMATS: &str = "application/json, application/x-ndjson, text/csv, text/tab-separated-values or application/vnd.apache.arrow.stream";

/// A JSON body that is an object: the list is its only member.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentsBody<'a> {
    #[serde(borrow)]
    documents: &'a RawValue,
}

/// Takes documents into a collection: new ones are added, those with a known id replaced. Bad rows are listed in the
/// reply, good ones are kept.
pub(crate) async fn ingest(
    call: EngineCall,
    Path(name): Path<String>,
    Query(query): Query<IngestQuery>,
    headers: HeaderMap,
    LargeBody(body): LargeBody,
) -> ApiResult<Json<IngestReport>> {
    let format = format(&headers)?;
    let report = call.run(move |work| {
        // A mistyped name is an error here, not a new collection.
        work.engine().collection(&name)?;
        let body = if format == FileFormat::Json { json_rows(&body)? } else { body };
        let options = IngestOptions {
            format: Some(format),
            fields: FieldMapping {
                id: query.id_field,
                title: query.title_field,
                text: query.text_field,
                embedding: query.embedding_field,
            },
            name: Some("the request body".to_owned()),
            ..IngestOptions::default()
        };
        let source = Box::new(Cursor::new(body));
        let report = work.engine().ingest_reader(&name, format, source, &options, &NoProgress, &work.cancel)?;
        work.metrics().ingested(&report);
        Ok(report)
    });
    Ok(Json(report.await?))
}

fn format(headers: &HeaderMap) -> ApiResult<FileFormat> {
    let essence = content_type(headers);
    let known = essence.as_deref().and_then(FileFormat::from_content_type);
    // Plain text is what a foreign page's form may send without asking, and prose needs an id of its own.
    known.filter(|format| !format.is_prose()).ok_or_else(|| {
        let sent = essence.map_or_else(|| "missing".to_owned(), |sent| format!("\"{}\"", excerpt(&sent)));
        ApiError::unsupported_media_type(format!("the Content-Type is {sent}; send documents as {FORMATS}"))
    })
}

/// The list of documents in a JSON body: the body itself, or its member `documents`. Nothing is stored when the body
/// as a whole is not valid JSON.
fn json_rows(body: &Bytes) -> ApiResult<Bytes> {
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let rows: &RawValue = if is_object { parse_json::<DocumentsBody<'_>>(body)?.documents } else { parse_json(body)? };
    if !rows.get().starts_with('[') {
        return Err(ApiError::invalid(
            "documents",
            "documents must be a list of objects: send {\"documents\":[…]} or the list alone",
        ));
    }
    Ok(body.slice_ref(rows.get().as_bytes()))
}

/// One page of documents, in the order of their ids.
pub(crate) async fn list(
    call: EngineCall,
    Path(name): Path<String>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<List<Document>>> {
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let message = format!("limit is {limit}, but must lie between 1 and {MAX_PAGE}");
        return Err(ApiError::invalid("limit", message));
    }
    let page = call.run(move |work| {
        let collection = work.engine().collection(&name)?;
        let mut documents = collection.documents(query.after.as_ref(), limit + 1).map_err(engine_error)?;
        let has_more = documents.len() > limit;
        documents.truncate(limit);
        Ok(List::page(documents, has_more))
    });
    Ok(Json(page.await?))
}

/// One document. Its id may hold slashes, as they are or percent-encoded.
pub(crate) async fn get(call: EngineCall, Path((name, id)): Path<(String, String)>) -> ApiResult<Json<Document>> {
    Ok(Json(call.run(move |work| find(work, &name, id)).await?))
}

/// The document whose id is the name of the route beside it.
pub(crate) async fn get_named_delete(call: EngineCall, Path(name): Path<String>) -> ApiResult<Json<Document>> {
    get(call, Path((name, "delete".to_owned()))).await
}

/// Deletes one document.
pub(crate) async fn delete(call: EngineCall, Path((name, id)): Path<(String, String)>) -> ApiResult<Json<Deleted>> {
    let deleted = call.run(move |work| {
        let collection = work.engine().collection(&name)?;
        let id = DocumentId::new(id)?;
        if collection.delete(std::slice::from_ref(&id)).map_err(engine_error)? == 0 {
            return Err(missing(&name, &id));
        }
        Ok(Deleted::new("document", id))
    });
    Ok(Json(deleted.await?))
}

/// Deletes the document whose id is the name of the route beside it.
pub(crate) async fn delete_named_delete(call: EngineCall, Path(name): Path<String>) -> ApiResult<Json<Deleted>> {
    delete(call, Path((name, "delete".to_owned()))).await
}

/// Deletes the documents with the ids given, of which unknown ones are not counted, or those that a filter lets through.
pub(crate) async fn delete_many(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<DeleteDocuments>,
) -> ApiResult<Json<DocumentsDeleted>> {
    let deleted = call.run(move |work| match (&body.ids, &body.filter) {
        (Some(ids), None) => {
            let collection = work.engine().collection(&name)?;
            Ok(collection.delete(ids).map_err(engine_error)?)
        }
        (None, Some(filter)) => Ok(work.engine().delete_where(&name, &filter.0, &work.cancel)?),
        (None, None) => Err(ApiError::invalid("ids", "ids is missing; send ids, or a filter")),
        (Some(_), Some(_)) => Err(ApiError::invalid("filter", "ids and filter are both given; send one of them")),
    });
    Ok(Json(DocumentsDeleted { deleted: deleted.await? }))
}

fn find(work: &Work, name: &str, id: String) -> ApiResult<Document> {
    let collection = work.engine().collection(name)?;
    let id = DocumentId::new(id)?;
    collection.document(&id).map_err(engine_error)?.ok_or_else(|| missing(name, &id))
}

fn missing(collection: &str, id: &DocumentId) -> ApiError {
    let message = format!("the collection \"{}\" has no document \"{}\"", excerpt(collection), excerpt(id.as_str()));
    ApiError::not_found(message).with_param("id")
}
