//! `GET /v1/collections/{name}/export`: a collection's documents as one file.

use anser_core::NoProgress;
use anser_engine::{EngineError, ExportOptions, Filter, ResultFormat};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::call::{EngineCall, Work};
use crate::error::{ApiError, ApiResult, excerpt};
use crate::extract::{Path, Query};
use crate::pieces::stream;
use crate::wire::collections::ExportQuery;
use crate::wire::files::disposition;

/// All documents of a collection as they are at one moment, or those that a condition lets through.
pub(crate) async fn export(
    call: EngineCall,
    Path(name): Path<String>,
    Query(query): Query<ExportQuery>,
) -> ApiResult<Response> {
    let options = options(&query)?;
    let format = options.format;
    let open = move |work: &Work| {
        let export = work.engine().export_collection(&name, &options, &NoProgress, &work.cancel)?;
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| ApiError::panicked());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value(format.content_type())?);
        let filename = format!("{name}.{}", format.extension());
        headers.insert(header::CONTENT_DISPOSITION, value(&disposition(&filename))?);
        Ok((export, headers))
    };
    stream(call, open, |export, work, out| export.write(out, &NoProgress, &work.cancel)).await
}

fn options(query: &ExportQuery) -> ApiResult<ExportOptions> {
    let name = query.format.as_deref().unwrap_or("jsonl");
    let format = ResultFormat::named(name).ok_or_else(|| {
        let message = format!("the format is \"{}\"; use parquet, arrow, csv, json or jsonl", excerpt(name));
        ApiError::invalid("format", message)
    })?;
    let filter = query.condition.as_deref().map(str::parse::<Filter>).transpose().map_err(EngineError::from)?;
    Ok(ExportOptions { format, filter, vectors: query.vectors.unwrap_or(false) })
}
