//! `POST /v1/collections/{name}/cluster`.

use anser_engine::Filter;
use anser_engine::cluster::{ClusterOptions, ClusterReport};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The request; everything in it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub(crate) struct ClusterBody {
    /// Only documents that this lets through.
    pub(crate) filter: Option<Filter>,
    /// Every other field.
    pub(crate) options: ClusterOptions,
}

impl TryFrom<Map<String, Value>> for ClusterBody {
    type Error = String;

    fn try_from(mut body: Map<String, Value>) -> Result<Self, Self::Error> {
        let filter = match body.remove("filter") {
            None | Some(Value::Null) => None,
            Some(filter) => Some(serde_json::from_value(filter).map_err(|error| format!("filter: {error}"))?),
        };
        let options = serde_path_to_error::deserialize(Value::Object(body)).map_err(|error| {
            let (path, text) = (error.path().to_string(), error.inner().to_string());
            // A field that is named already is left where others look for it, at the beginning.
            if text.starts_with("unknown field") { text } else { format!("{path}: {text}") }
        })?;
        Ok(Self { filter, options })
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
