//! `POST /v1/collections/{name}/cluster`.

use anser_engine::Filter;
use anser_engine::cluster::{ClusterOptions, ClusterReport};
use serde::Serialize;
use serde_json::Value;

use super::jobs::{object, take};
use crate::error::ApiResult;
use crate::extract;

/// The request; everything in it may be left out.
#[derive(Debug, Default)]
pub(crate) struct ClusterBody {
    /// Only documents that this lets through.
    pub(crate) filter: Option<Filter>,
    /// Every other field.
    pub(crate) options: ClusterOptions,
}

impl ClusterBody {
    /// Reads a body; errors name the field at fault.
    pub(crate) fn read(body: Value) -> ApiResult<Self> {
        let mut body = object(body)?;
        Ok(Self { filter: take(&mut body, "filter")?, options: extract::from_value(body)? })
    }
}

/// The reply.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterReply {
    /// The job, which has the tables and pictures.
    pub(crate) job: String,
    #[serde(flatten)]
    pub(crate) report: ClusterReport,
}
