//! The settings of a fine-tuning job that only this service has: which weights learn, and how, in detail.

use anser_core::{Hyperparameters, LoraOptions, TrainableParts};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult, excerpt};
use crate::wire::fine_tuning::request::{object, open};

/// `anser.parts` and `anser.hyperparameters`. Ours, so unknown keys are refused.
pub(super) fn extension(own: &Map<String, Value>) -> ApiResult<(TrainableParts, Hyperparameters)> {
    refuse_unknown("anser", own, &["parts", "hyperparameters"])?;
    let parts = match object("anser.parts", own.get("parts"))? {
        None => TrainableParts::default(),
        Some(parts) => {
            let known = known_parts(parts)?;
            refuse_unknown("anser.parts", parts, &known)?;
            let parts = read("anser.parts", parts)?;
            check_parts(&parts)?;
            parts
        }
    };
    let hyperparameters = match object("anser.hyperparameters", own.get("hyperparameters"))? {
        None => Hyperparameters::default(),
        Some(given) => {
            refuse_unknown("anser.hyperparameters", given, &keys_of(&Hyperparameters::default()))?;
            let chosen = given.iter().filter(|(_, value)| open(Some(value)).is_some());
            read("anser.hyperparameters", &chosen.map(|(key, value)| (key.clone(), value.clone())).collect())?
        }
    };
    Ok((parts, hyperparameters))
}

fn known_parts(parts: &Map<String, Value>) -> ApiResult<Vec<String>> {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    match parts.get("type").and_then(Value::as_str) {
        Some("lora") => Ok([own(&["type"]), keys_of(&LoraOptions::default())].concat()),
        Some("last_blocks") => Ok(own(&["type", "blocks"])),
        Some("all") => Ok(own(&["type"])),
        _ => Err(ApiError::invalid(
            "anser.parts.type",
            "anser.parts.type must be lora, last_blocks (with blocks) or all",
        )),
    }
}

fn check_parts(parts: &TrainableParts) -> ApiResult<()> {
    let wrong = |name: &str, wanted: &str| {
        let param = format!("anser.parts.{name}");
        Err(ApiError::invalid(param.clone(), format!("{param} must be {wanted}")))
    };
    match parts {
        TrainableParts::Lora(lora) => match lora {
            LoraOptions { rank: 0, .. } => wrong("rank", "at least 1"),
            lora if lora.alpha <= 0.0 => wrong("alpha", "above 0"),
            lora if !(0.0..1.0).contains(&lora.dropout) => wrong("dropout", "at least 0 and below 1"),
            lora if lora.target_modules.is_empty() => wrong("target_modules", "a list of at least one matrix"),
            lora => {
                let known = LoraOptions::default().target_modules;
                match lora.target_modules.iter().find(|name| !known.contains(name)) {
                    Some(_) => wrong("target_modules", &format!("some of {}", known.join(", "))),
                    None => Ok(()),
                }
            }
        },
        TrainableParts::LastBlocks { blocks: 0 } => wrong("blocks", "at least 1"),
        TrainableParts::LastBlocks { .. } | TrainableParts::All => Ok(()),
    }
}

/// The ranges of every setting, wherever it was given.
pub(super) fn check_ranges(given: &Hyperparameters) -> ApiResult<()> {
    let within = |value: Option<f64>, fits: fn(f64) -> bool| value.is_none_or(fits);
    let count = |value: Option<usize>| value.map(|value| value as f64);
    let checks = [
        ("batch_size", within(count(given.batch_size), |v| (1.0..=256.0).contains(&v)), "from 1 to 256"),
        ("n_epochs", within(count(given.n_epochs), |v| (1.0..=50.0).contains(&v)), "from 1 to 50"),
        ("learning_rate_multiplier", within(given.learning_rate_multiplier, |v| v > 0.0), "above 0"),
        ("learning_rate", within(given.learning_rate, |v| v > 0.0), "above 0"),
        ("warmup_ratio", within(given.warmup_ratio, |v| (0.0..1.0).contains(&v)), "at least 0 and below 1"),
        ("weight_decay", within(given.weight_decay, |v| v >= 0.0), "at least 0"),
        ("max_grad_norm", within(given.max_grad_norm, |v| v > 0.0), "above 0"),
        ("eval_interval", within(count(given.eval_interval), |v| v >= 1.0), "at least 1"),
        ("max_tokens", within(count(given.max_tokens), |v| v >= 1.0), "at least 1"),
    ];
    if let Some((name, _, wanted)) = checks.into_iter().find(|(_, fits, _)| !fits) {
        let param = format!("anser.hyperparameters.{name}");
        return Err(ApiError::invalid(param.clone(), format!("{param} must be {wanted}")));
    }
    if given.learning_rate.is_some() && given.learning_rate_multiplier.is_some() {
        return Err(ApiError::invalid(
            "anser.hyperparameters.learning_rate",
            "learning_rate and learning_rate_multiplier say the same thing twice; send one of them",
        ));
    }
    Ok(())
}

/// The names of a type's fields.
fn keys_of(value: &impl serde::Serialize) -> Vec<String> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map.into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
}

fn refuse_unknown<S: AsRef<str>>(path: &str, given: &Map<String, Value>, known: &[S]) -> ApiResult<()> {
    match given.keys().find(|key| !known.iter().any(|known| known.as_ref() == *key)) {
        None => Ok(()),
        Some(stray) => {
            let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
            let param = format!("{path}.{}", excerpt(stray));
            let message = format!("{param} is not known; {path} may hold {}", known.join(", "));
            Err(ApiError::invalid(param, message).with_code("unknown_parameter"))
        }
    }
}

fn read<T: DeserializeOwned>(path: &str, given: &Map<String, Value>) -> ApiResult<T> {
    serde_path_to_error::deserialize(Value::Object(given.clone())).map_err(|error| {
        let inner = error.path().to_string();
        let param = if inner == "." { path.to_owned() } else { format!("{path}.{inner}") };
        let message = format!("{param} cannot be used: {}", error.inner());
        ApiError::invalid(param, message)
    })
}
