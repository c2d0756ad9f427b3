//! `POST /v1/collections/{name}/classify`, `…/regress`, and `/v1/predictors`: what was learnt, and what it says.

use axum::Json;

use crate::call::EngineCall;
use crate::error::{ApiError, ApiResult, excerpt};
use crate::extract::{self, Path, Query};
use crate::wire::collections::Deleted;
use crate::wire::list::{List, QueryPairs, parameter};
use crate::wire::predictors::{PredictBody, PredictInput, PredictReply, WirePredictor};

/// Labels of texts or documents, by a saved classifier.
pub(crate) async fn classify(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<PredictBody>,
) -> ApiResult<Json<PredictReply>> {
    predict(call, name, body, true).await
}

/// Numbers for texts or documents, by a saved regression.
pub(crate) async fn regress(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<PredictBody>,
) -> ApiResult<Json<PredictReply>> {
    predict(call, name, body, false).await
}

async fn predict(
    call: EngineCall,
    collection: String,
    body: PredictBody,
    classify: bool,
) -> ApiResult<Json<PredictReply>> {
    let (model, version) = body.predictor()?;
    let input = body.input()?;
    let reply = call.run(move |work| {
        let engine = work.engine();
        let found = match &input {
            PredictInput::Documents(ids) => {
                engine.predict_documents(&collection, (&model, version), ids, classify, &work.cancel)
            }
            PredictInput::Texts(texts) => {
                engine.collection(&collection)?;
                if classify {
                    engine.classify_texts(&model, version, texts, &work.cancel)
                } else {
                    engine.regress_texts(&model, version, texts, &work.cancel)
                }
            }
        };
        Ok(found.map_err(wire_names)?.into())
    });
    Ok(Json(reply.await?))
}

/// The wire calls a predictor `model`, and texts `input`.
fn wire_names(error: anser_engine::EngineError) -> ApiError {
    let param = match error.param() {
        Some("predictor") => Some("model"),
        Some("texts") => Some("input"),
        _ => None,
    };
    let error = ApiError::from(error);
    match param {
        Some(param) => error.with_param(param),
        None => error,
    }
}

/// All versions of all predictors.
pub(crate) async fn list(call: EngineCall) -> ApiResult<Json<List<WirePredictor>>> {
    let saved = call.run(|work| Ok(work.engine().predictors()?)).await?;
    Ok(Json(List::all(saved.into_iter().map(WirePredictor::from).collect())))
}

/// One predictor, the latest version unless `?version=` says otherwise.
pub(crate) async fn get(
    call: EngineCall,
    Path(name): Path<String>,
    Query(query): Query<QueryPairs>,
) -> ApiResult<Json<WirePredictor>> {
    let version = version(&query)?;
    Ok(Json(call.run(move |work| Ok(work.engine().predictor(&name, version)?.into())).await?))
}

/// Deletes one version of a predictor, or all.
pub(crate) async fn delete(
    call: EngineCall,
    Path(name): Path<String>,
    Query(query): Query<QueryPairs>,
) -> ApiResult<Json<Deleted>> {
    let version = version(&query)?;
    let deleted = call.run(move |work| {
        if work.engine().delete_predictor(&name, version)? {
            return Ok(Deleted::new("predictor", name));
        }
        Err(ApiError::not_found(format!("there is no predictor \"{}\" of that version", excerpt(&name))))
    });
    Ok(Json(deleted.await?))
}

fn version(query: &QueryPairs) -> ApiResult<Option<u32>> {
    let Some(text) = parameter(query, "version") else { return Ok(None) };
    let version = text.parse().ok().filter(|version| *version > 0).ok_or_else(|| {
        ApiError::invalid("version", format!("version is \"{}\"; give a whole number from 1 on", excerpt(text)))
    })?;
    Ok(Some(version))
}
