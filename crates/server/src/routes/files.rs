//! `/v1/files` and what lies below it.

use std::io::{Read, Seek};

use anser_engine::{FileUpload, StoredFile};
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout_at;
use tokio_stream::wrappers::ReceiverStream;

use crate::call::{EngineCall, Work};
use crate::error::{ApiError, ApiResult, excerpt};
use crate::extract::{Path, Query};
use crate::state::AppState;
use crate::upload::{Piece, Upload};
use crate::wire::collections::Deleted;
use crate::wire::files::{self, File};
use crate::wire::list::{CursorList, PageSize, QueryPairs, page_request, parameter};

/// Files of one page unless the query says otherwise, and at most.
const PAGE: PageSize = PageSize { default: 10_000, most: 10_000 };

/// Bytes read from the disk at a time, and how many such pieces may wait for the network.
const PIECE: (usize, usize) = (64 << 10, 4);

/// Takes a file, straight to disk. Training data is checked line by line before it is kept.
pub(crate) async fn upload(State(app): State<AppState>, call: EngineCall, request: Request) -> ApiResult<Json<File>> {
    let upload = Upload::open(request, app.options.max_upload_bytes).await?;
    let (reading, pieces) = upload.read();
    let storing = call.run(move |work| {
        let stored = Form::default().store(work, pieces)?;
        work.metrics().uploaded(stored.bytes);
        Ok(stored)
    });
    // What is wrong with the body explains why nothing was stored, so it is told first.
    let (read, stored) = tokio::join!(reading, storing);
    read?;
    Ok(Json(stored?.into()))
}

/// The parts of an upload as they come, in any order.
#[derive(Default)]
struct Form {
    name: Option<String>,
    purpose: Option<String>,
    anchor: Option<String>,
    seconds: Option<String>,
}

impl Form {
    fn store(mut self, work: &Work, mut pieces: Receiver<Piece>) -> ApiResult<StoredFile> {
        let mut bytes = FileBytes::None;
        loop {
            match pieces.blocking_recv() {
                Some(Piece::Field { name, value }) => self.field(&name, value)?,
                Some(Piece::File { name }) => {
                    if !matches!(bytes, FileBytes::None) {
                        return Err(ApiError::invalid(
                            "file",
                            "the form holds two parts file; upload one file at a time",
                        ));
                    }
                    self.name = Some(name);
                    // OpenAI's clients send the purpose first. Where it is not known yet, the bytes wait beside.
                    bytes = match self.purpose {
                        Some(_) => FileBytes::Upload(self.begin(work)?),
                        None => FileBytes::Spool(tempfile::tempfile().map_err(spool_failed)?),
                    };
                }
                Some(Piece::Bytes(piece)) => bytes.append(&piece)?,
                Some(Piece::End) => return Ok(self.finish(work, bytes)?.finish()?),
                None => return Err(anser_core::Error::cancelled().into()),
            }
            work.cancel.check()?;
        }
    }

    fn field(&mut self, name: &str, value: String) -> ApiResult<()> {
        let slot = match name {
            "purpose" => &mut self.purpose,
            "expires_after[anchor]" => &mut self.anchor,
            "expires_after[seconds]" => &mut self.seconds,
            // OpenAI may add parts; they do not change what is stored.
            _ => return Ok(()),
        };
        if slot.replace(value).is_some() {
            let name = excerpt(name);
            return Err(ApiError::invalid(name.clone(), format!("the form holds two parts {name}; send it once")));
        }
        Ok(())
    }

    fn begin(&self, work: &Work) -> ApiResult<FileUpload> {
        let purpose = self.purpose.as_deref().ok_or_else(|| {
            ApiError::invalid(
                "purpose",
                "the part purpose is missing; send fine-tune, assistants, batch, vision, user_data or evals",
            )
        })?;
        let purpose = files::upload_purpose(purpose)?;
        let expiry = files::expiry(self.anchor.as_deref(), self.seconds.as_deref())?;
        Ok(work.engine().begin_upload(self.name.as_deref().unwrap_or_default(), purpose, expiry)?)
    }

    /// The upload with all its bytes.
    fn finish(&self, work: &Work, bytes: FileBytes) -> ApiResult<FileUpload> {
        match bytes {
            FileBytes::None => Err(ApiError::invalid("file", "the part file is missing; send the file's bytes in it")),
            FileBytes::Upload(upload) => Ok(upload),
            FileBytes::Spool(mut spool) => {
                let mut upload = self.begin(work)?;
                spool.rewind().map_err(spool_failed)?;
                let mut buffer = vec![0; PIECE.0];
                loop {
                    match spool.read(&mut buffer).map_err(spool_failed)? {
                        0 => return Ok(upload),
                        count => upload.append(buffer.get(..count).unwrap_or_default())?,
                    }
                    work.cancel.check()?;
                }
            }
        }
    }
}

/// Where a file's bytes go.
enum FileBytes {
    None,
    Upload(FileUpload),
    /// A nameless file, which is gone when it is closed.
    Spool(std::fs::File),
}

impl FileBytes {
    fn append(&mut self, piece: &[u8]) -> ApiResult<()> {
        match self {
            Self::None => Ok(()),
            Self::Upload(upload) => Ok(upload.append(piece)?),
            Self::Spool(spool) => std::io::Write::write_all(spool, piece).map_err(spool_failed),
        }
    }
}

fn spool_failed(error: std::io::Error) -> ApiError {
    anser_core::Error::io("keep an upload in", &std::env::temp_dir(), error).into()
}

/// Files, newest first unless the query says otherwise.
pub(crate) async fn list(call: EngineCall, Query(query): Query<QueryPairs>) -> ApiResult<Json<CursorList<File>>> {
    let page = page_request(&query, PAGE)?;
    let purpose = parameter(&query, "purpose").map(files::listed_purpose).transpose()?;
    let page = call.run(move |work| Ok(work.engine().files(purpose, &page)?)).await?;
    Ok(Json(CursorList::new(page.items.into_iter().map(File::from).collect(), page.has_more)))
}

/// One file.
pub(crate) async fn get(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<File>> {
    Ok(Json(call.run(move |work| Ok(work.engine().file(&id)?.into())).await?))
}

/// Deletes a file.
pub(crate) async fn delete(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Deleted>> {
    let deleted = call.run(move |work| {
        work.engine().delete_file(&id)?;
        Ok(Deleted::new("file", id))
    });
    Ok(Json(deleted.await?))
}

/// A file's bytes, from the disk to the network piece by piece. A reader who is not done in time is cut off.
pub(crate) async fn content(call: EngineCall, Path(id): Path<String>) -> ApiResult<Response> {
    let EngineCall { work, admission, guard, running } = call;
    let opening = tokio::task::spawn_blocking(move || open(&work, &id)).await;
    let (stored, mut file) = opening.unwrap_or_else(|_| Err(ApiError::panicked()))?;
    let (sender, pieces) = channel(PIECE.1);
    let runtime = tokio::runtime::Handle::current();
    let length = stored.bytes;
    tokio::task::spawn_blocking(move || {
        let _held = (admission.permit, running, guard);
        let mut buffer = vec![0; PIECE.0];
        loop {
            let piece = match file.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(axum::body::Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default())),
                Err(error) => Err(error),
            };
            let sending = async { timeout_at(admission.deadline, sender.send(piece)).await };
            if !matches!(runtime.block_on(sending), Ok(Ok(()))) {
                return;
            }
        }
    });
    // A body that ends before its length is a broken connection to the client, not a shorter file.
    let headers = [
        (header::CONTENT_TYPE, files::media_type(&stored.filename).to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, files::disposition(&stored.filename)),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(pieces))).into_response())
}

fn open(work: &Work, id: &str) -> ApiResult<(StoredFile, std::fs::File)> {
    let stored = work.engine().file(id)?;
    let path = work.engine().file_path(id)?;
    let file = std::fs::File::open(&path).map_err(|error| anser_core::Error::io("open", &path, error))?;
    Ok((stored, file))
}
