//! `POST /v1/collections/{name}/cluster`.

use anser_engine::ClusterCount;
use anser_engine::cluster::ClusterOptions;
use serde::Deserialize;

use crate::error::{ApiError, ApiResult};

/// The request; everything in it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClusterBody {
    /// How many clusters; without it, the best number between `k_min` and `k_max` is looked for.
    k: Option<usize>,
    k_min: Option<usize>,
    k_max: Option<usize>,
    seed: Option<u64>,
    examples: Option<usize>,
    keywords: Option<usize>,
}

impl ClusterBody {
    /// The engine's request.
    pub(crate) fn into_request(self) -> ApiResult<ClusterOptions> {
        let defaults = ClusterOptions::default();
        let count = match (self.k, self.k_min, self.k_max, defaults.count) {
            (Some(k), None, None, _) => ClusterCount::Fixed(k),
            (Some(_), ..) => {
                return Err(ApiError::invalid(
                    "k",
                    "k fixes the number of clusters; leave out either it or k_min and k_max",
                ));
            }
            (None, min, max, ClusterCount::Auto { min: lowest, max: highest }) => {
                ClusterCount::Auto { min: min.unwrap_or(lowest), max: max.unwrap_or(highest) }
            }
            (None, .., fixed @ ClusterCount::Fixed(_)) => fixed,
        };
        Ok(ClusterOptions {
            count,
            seed: self.seed.unwrap_or(defaults.seed),
            examples: self.examples.unwrap_or(defaults.examples),
            keywords: self.keywords.unwrap_or(defaults.keywords),
        })
    }
}
