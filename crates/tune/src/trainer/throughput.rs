//! How fast runs were on this machine: a small JSON file, so that the next plan can say how long it will take.

use std::collections::BTreeMap;
use std::path::Path;

use anser_core::storage::write_atomic;
use anser_core::{Objective, TrainableParts, TrainingRequest};

/// Tokens a run must have read for its rate to say something.
const ENOUGH_TOKENS: u64 = 5_000;

/// What the rate depends on.
fn key(request: &TrainingRequest, by: &str) -> String {
    let parts = match &request.parts {
        TrainableParts::Lora(options) => format!("lora-{}-{}", options.rank, options.target_modules.len()),
        TrainableParts::LastBlocks { blocks } => format!("last-{blocks}"),
        TrainableParts::All => "all".to_owned(),
    };
    let objective = match request.objective {
        Objective::Supervised => "supervised",
        Objective::Preference { .. } => "preference",
    };
    let precision = request.hyperparameters.precision;
    let recompute = request.hyperparameters.recompute == Some(true);
    format!("{} {parts} {objective} {precision:?} recompute={recompute} {by}", request.base)
}

/// Training tokens a second of the last such run `by` these threads or this device; `None` when there was none.
pub(crate) fn measured(file: &Path, request: &TrainingRequest, by: &str) -> Option<f64> {
    read(file).get(&key(request, by)).copied().filter(|rate| rate.is_finite() && *rate > 0.0)
}

/// Keeps the rate of a run that read `tokens` tokens. A file that cannot be written costs only the next estimate.
pub(crate) fn remember(file: &Path, request: &TrainingRequest, by: &str, (tokens, rate): (u64, f64)) {
    if tokens < ENOUGH_TOKENS || !rate.is_finite() {
        return;
    }
    let mut rates = read(file);
    rates.insert(key(request, by), rate);
    let json = serde_json::to_vec_pretty(&rates).unwrap_or_default();
    if let Err(error) = write_atomic(file, &json) {
        tracing::warn!(%error, "the measured training speed was not kept");
    }
}

/// A file that is missing or damaged holds no measurement.
fn read(file: &Path) -> BTreeMap<String, f64> {
    std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use anser_core::{Hyperparameters, LoraOptions};

    use super::*;

    const TWO: &str = "threads=2";

    #[test]
    fn a_rate_is_found_again_for_the_same_kind_of_run_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("throughput.json");
        let request = TrainingRequest {
            base: "tiny".to_owned(),
            training_file: "a.jsonl".into(),
            validation_file: None,
            objective: Objective::Supervised,
            parts: TrainableParts::Lora(LoraOptions::default()),
            hyperparameters: Hyperparameters::default(),
            seed: 1,
            start_from: None,
        };
        assert_eq!(measured(&file, &request, TWO), None);
        remember(&file, &request, TWO, (100, 700.0));
        assert_eq!(measured(&file, &request, TWO), None);
        remember(&file, &request, TWO, (100_000, 700.0));
        assert_eq!(measured(&file, &TrainingRequest { seed: 2, ..request.clone() }, TWO), Some(700.0));
        assert_eq!(measured(&file, &request, "cuda:0"), None);
        assert_eq!(measured(&file, &TrainingRequest { parts: TrainableParts::All, ..request.clone() }, TWO), None);
        std::fs::write(&file, "{").unwrap();
        assert_eq!(measured(&file, &request, TWO), None);
    }
}
