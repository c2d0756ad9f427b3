//! The request for a fine-tuning job: OpenAI's fields, and under `anser` the settings that only this service has.

use std::collections::BTreeMap;

use anser_core::{Hyperparameters, Objective, TrainableParts};
use anser_engine::FineTuningRequest;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult, excerpt};
use crate::wire::fine_tuning::extension::{check_ranges, extension};
use crate::wire::json_type;

/// Longest suffix, in characters.
const MAX_SUFFIX: usize = 64;

/// Largest seed.
const MAX_SEED: u64 = (1 << 31) - 1;

/// Most pairs of metadata, and the longest key and value in characters.
const METADATA: (usize, usize, usize) = (16, 64, 512);

/// `POST /v1/fine_tuning/jobs`. Unknown keys are tolerated.
#[derive(Debug, Deserialize)]
pub(crate) struct CreateJob {
    model: String,
    training_file: String,
    #[serde(default)]
    validation_file: Option<String>,
    #[serde(default)]
    suffix: Option<String>,
    #[serde(default)]
    seed: Option<Value>,
    #[serde(default)]
    hyperparameters: Option<Map<String, Value>>,
    #[serde(default)]
    method: Option<Map<String, Value>>,
    #[serde(default)]
    integrations: Option<Value>,
    #[serde(default)]
    metadata: Option<Value>,
    #[serde(default)]
    anser: Option<Map<String, Value>>,
}

impl CreateJob {
    /// The request in the engine's words, checked field by field.
    pub(crate) fn into_request(self) -> ApiResult<FineTuningRequest> {
        refuse_integrations(self.integrations.as_ref())?;
        let (method, objective) = method(self.method.as_ref())?;
        let mut hyperparameters = Hyperparameters::default();
        let mut parts = TrainableParts::default();
        if let Some(own) = &self.anser {
            (parts, hyperparameters) = extension(own)?;
        }
        for (path, given) in [(None, self.hyperparameters.as_ref()), (Some(method.name()), method.hyperparameters)] {
            if let Some(given) = given {
                let path =
                    path.map_or_else(|| "hyperparameters".to_owned(), |name| format!("method.{name}.hyperparameters"));
                merge(&mut hyperparameters, given, &path, method.kind)?;
            }
        }
        check_ranges(&hyperparameters)?;
        Ok(FineTuningRequest {
            model: self.model,
            training_file: self.training_file,
            validation_file: self.validation_file.filter(|id| !id.is_empty()),
            suffix: suffix(self.suffix)?,
            seed: seed(self.seed.as_ref())?,
            objective,
            parts,
            hyperparameters,
            metadata: metadata(self.metadata.as_ref())?,
        })
    }
}

/// Which of OpenAI's methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MethodKind {
    Supervised,
    Preference,
}

struct Method<'a> {
    kind: MethodKind,
    hyperparameters: Option<&'a Map<String, Value>>,
}

impl Method<'_> {
    fn name(&self) -> &'static str {
        match self.kind {
            MethodKind::Supervised => "supervised",
            MethodKind::Preference => "dpo",
        }
    }
}

/// The method and the objective that it stands for; supervised unless said otherwise.
fn method(given: Option<&Map<String, Value>>) -> ApiResult<(Method<'_>, Objective)> {
    let Some(given) = given else {
        return Ok((Method { kind: MethodKind::Supervised, hyperparameters: None }, Objective::Supervised));
    };
    let kind = match given.get("type").and_then(Value::as_str) {
        Some("supervised") => MethodKind::Supervised,
        Some("dpo") => MethodKind::Preference,
        Some("reinforcement") => {
            return Err(ApiError::unsupported(
                "method.type",
                "reinforcement fine-tuning is not offered here; use supervised, or dpo with pairs of preferred and other outputs",
            ));
        }
        Some(other) => {
            let message = format!("method.type is \"{}\"; use supervised or dpo", excerpt(other));
            return Err(ApiError::invalid("method.type", message));
        }
        None => return Err(ApiError::invalid("method.type", "method.type is missing; send supervised or dpo")),
    };
    let method = Method { kind, hyperparameters: None };
    let name = method.name();
    if let Some(stray) = given.keys().find(|key| *key != "type" && *key != name) {
        let param = format!("method.{}", excerpt(stray));
        let message = format!("{param} does not belong to the method {name}; send method.{name} or leave it out");
        return Err(ApiError::invalid(param, message));
    }
    let settings = object(&format!("method.{name}"), given.get(name))?;
    let path = format!("method.{name}.hyperparameters");
    let hyperparameters = object(&path, settings.and_then(|settings| settings.get("hyperparameters")))?;
    let objective = match kind {
        MethodKind::Supervised => Objective::Supervised,
        MethodKind::Preference => {
            let beta = hyperparameters.and_then(|given| given.get("beta"));
            Objective::Preference {
                beta: number(&format!("{path}.beta"), beta, "auto or a number above 0, at most 2", |beta| {
                    beta > 0.0 && beta <= 2.0
                })?,
            }
        }
    };
    Ok((Method { kind, hyperparameters }, objective))
}

/// Takes the three hyperparameters of OpenAI's over; one that is set twice must be set alike.
fn merge(into: &mut Hyperparameters, given: &Map<String, Value>, path: &str, kind: MethodKind) -> ApiResult<()> {
    const KNOWN: [&str; 3] = ["batch_size", "learning_rate_multiplier", "n_epochs"];
    let own_beta = kind == MethodKind::Preference && path != "hyperparameters";
    let known = |key: &str| KNOWN.contains(&key) || own_beta && key == "beta";
    if let Some(stray) = given.keys().find(|key| !known(key)) {
        let param = format!("{path}.{}", excerpt(stray));
        let beta = if own_beta { " and beta" } else { "" };
        let message = format!(
            "{param} is not a hyperparameter of this method, which are batch_size, learning_rate_multiplier, n_epochs{beta}; others go into anser.hyperparameters"
        );
        return Err(ApiError::invalid(param, message).with_code("unknown_parameter"));
    }
    let param = |name: &str| format!("{path}.{name}");
    let value = whole(&param("batch_size"), given.get("batch_size"), 1, 256)?;
    set(&mut into.batch_size, value, &param("batch_size"))?;
    let value = whole(&param("n_epochs"), given.get("n_epochs"), 1, 50)?;
    set(&mut into.n_epochs, value, &param("n_epochs"))?;
    let name = param("learning_rate_multiplier");
    let value = number(&name, given.get("learning_rate_multiplier"), "auto or a number above 0", |value| value > 0.0)?;
    set(&mut into.learning_rate_multiplier, value, &name)
}

fn set<T: PartialEq + Copy + std::fmt::Display>(slot: &mut Option<T>, value: Option<T>, param: &str) -> ApiResult<()> {
    match (*slot, value) {
        (_, None) => Ok(()),
        (Some(before), Some(value)) if before != value => {
            let message = format!("{param} is {value}, but the same setting is {before} elsewhere; send it once");
            Err(ApiError::invalid(param, message))
        }
        (_, value) => {
            *slot = value;
            Ok(())
        }
    }
}

/// `"auto"`, null and nothing leave a whole number to the service.
fn whole(param: &str, value: Option<&Value>, least: u64, most: u64) -> ApiResult<Option<usize>> {
    match open(value) {
        None => Ok(None),
        Some(value) => {
            let number = value.as_u64().filter(|number| (least..=most).contains(number));
            number
                .and_then(|number| usize::try_from(number).ok())
                .map(Some)
                .ok_or_else(|| wrong(param, value, &format!("auto or a whole number from {least} to {most}")))
        }
    }
}

fn number(param: &str, value: Option<&Value>, wanted: &str, fits: impl Fn(f64) -> bool) -> ApiResult<Option<f64>> {
    match open(value) {
        None => Ok(None),
        Some(value) => {
            value.as_f64().filter(|number| fits(*number)).map(Some).ok_or_else(|| wrong(param, value, wanted))
        }
    }
}

/// The value, unless it says that the service may choose.
pub(super) fn open(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null() && *value != "auto")
}

fn wrong(param: &str, value: &Value, wanted: &str) -> ApiError {
    ApiError::invalid(param, format!("{param} is {}; send {wanted}", excerpt(&value.to_string())))
}

pub(super) fn object<'a>(param: &str, value: Option<&'a Value>) -> ApiResult<Option<&'a Map<String, Value>>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(other) => Err(ApiError::invalid(param, format!("{param} must be an object, not {}", json_type(other)))),
    }
}

fn suffix(given: Option<String>) -> ApiResult<Option<String>> {
    match given {
        Some(suffix) if suffix.is_empty() || suffix.chars().count() > MAX_SUFFIX => {
            let count = suffix.chars().count();
            let message = format!("suffix has {count} characters; send 1 to {MAX_SUFFIX}, or leave it out");
            Err(ApiError::invalid("suffix", message))
        }
        other => Ok(other),
    }
}

fn seed(given: Option<&Value>) -> ApiResult<Option<u32>> {
    match given {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let seed = value.as_u64().filter(|seed| *seed <= MAX_SEED).and_then(|seed| u32::try_from(seed).ok());
            seed.map(Some).ok_or_else(|| wrong("seed", value, &format!("a whole number from 0 to {MAX_SEED}")))
        }
    }
}

fn metadata(given: Option<&Value>) -> ApiResult<BTreeMap<String, String>> {
    let (most, longest_key, longest_value) = METADATA;
    let Some(given) = object("metadata", given)? else { return Ok(BTreeMap::new()) };
    if given.len() > most {
        let message = format!("metadata holds {} pairs; at most {most} are kept", given.len());
        return Err(ApiError::invalid("metadata", message));
    }
    let pair = |(key, value): (&String, &Value)| {
        let param = format!("metadata.{}", excerpt(key));
        let text = value.as_str().filter(|text| text.chars().count() <= longest_value);
        match text {
            Some(text) if key.chars().count() <= longest_key => Ok((key.clone(), text.to_owned())),
            _ => {
                let message = format!(
                    "{param} cannot be kept; keys have at most {longest_key} characters, values are strings of at most {longest_value}"
                );
                Err(ApiError::invalid(param, message))
            }
        }
    };
    given.iter().map(pair).collect()
}

fn refuse_integrations(given: Option<&Value>) -> ApiResult<()> {
    match given {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(list)) if list.is_empty() => Ok(()),
        Some(_) => Err(ApiError::unsupported(
            "integrations",
            "integrations are not offered here, nothing is sent to other services; leave them out and read the figures from the job's events or its result file",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(extra: Value) -> Result<FineTuningRequest, (String, String)> {
        let mut body = json!({"model": "m", "training_file": "file-1"});
        if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra) {
            body.extend(extra);
        }
        let request: CreateJob = serde_json::from_value(body).unwrap();
        request.into_request().map_err(|error| {
            let error = error.body().error;
            (error.param.unwrap_or_default(), error.message)
        })
    }

    #[test]
    fn the_least_request_leaves_everything_to_the_service() {
        let request = parse(json!({})).unwrap();
        assert_eq!((request.model.as_str(), request.training_file.as_str()), ("m", "file-1"));
        assert_eq!(request.hyperparameters, Hyperparameters::default());
        assert_eq!((request.objective, request.parts), (Objective::Supervised, TrainableParts::default()));
        assert_eq!((request.seed, request.suffix, request.validation_file), (None, None, None));
    }

    #[test]
    fn hyperparameters_come_from_both_places_and_auto_means_open() {
        let request = parse(json!({"hyperparameters": {"n_epochs": 3, "batch_size": "auto"}})).unwrap();
        assert_eq!((request.hyperparameters.n_epochs, request.hyperparameters.batch_size), (Some(3), None));
        let request = parse(json!({
            "hyperparameters": {"n_epochs": 2},
            "method": {"type": "supervised", "supervised": {"hyperparameters": {
                "n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}}},
            "seed": 0, "suffix": "shop", "validation_file": "file-2", "metadata": {"a": "b"}, "integrations": [],
            "something_new": 1
        }))
        .unwrap();
        let given = &request.hyperparameters;
        assert_eq!((given.n_epochs, given.batch_size, given.learning_rate_multiplier), (Some(2), Some(4), Some(0.5)));
        assert_eq!((request.seed, request.suffix.as_deref()), (Some(0), Some("shop")));
        assert_eq!(request.metadata.get("a").map(String::as_str), Some("b"));
    }

    #[test]
    fn preferences_have_a_beta() {
        let dpo = |beta: Value| parse(json!({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": beta}}}}));
        assert_eq!(dpo(json!(0.2)).unwrap().objective, Objective::Preference { beta: Some(0.2) });
        assert_eq!(dpo(json!("auto")).unwrap().objective, Objective::Preference { beta: None });
        for wrong in [json!(0), json!(2.1), json!("x")] {
            assert_eq!(dpo(wrong).unwrap_err().0, "method.dpo.hyperparameters.beta");
        }
    }

    #[test]
    fn our_own_settings_reach_the_trainer() {
        let request = parse(json!({"anser": {
            "parts": {"type": "lora", "rank": 4, "adaptive": true, "target_modules": ["q_proj", "v_proj"]},
            "hyperparameters": {"learning_rate": 1e-3, "schedule": "linear", "max_tokens": "auto", "precision": "bf16"}
        }}))
        .unwrap();
        let TrainableParts::Lora(lora) = &request.parts else { panic!("{:?}", request.parts) };
        assert_eq!((lora.rank, lora.adaptive, lora.target_modules.len()), (4, true, 2));
        assert_eq!((request.hyperparameters.learning_rate, request.hyperparameters.max_tokens), (Some(1e-3), None));
        let last = parse(json!({"anser": {"parts": {"type": "last_blocks", "blocks": 2}}})).unwrap();
        assert_eq!(last.parts, TrainableParts::LastBlocks { blocks: 2 });
        assert_eq!(parse(json!({"anser": {"parts": {"type": "all"}}})).unwrap().parts, TrainableParts::All);
    }

    #[test]
    fn every_fault_is_named() {
        let supervised =
            |given: Value| json!({"method": {"type": "supervised", "supervised": {"hyperparameters": given}}});
        let anser = |given: Value| json!({ "anser": given });
        for (extra, param) in [
            (json!({"hyperparameters": {"n_epochs": 0}}), "hyperparameters.n_epochs"),
            (json!({"hyperparameters": {"n_epochs": 51}}), "hyperparameters.n_epochs"),
            (json!({"hyperparameters": {"n_epochs": "three"}}), "hyperparameters.n_epochs"),
            (json!({"hyperparameters": {"n_epoch": 3}}), "hyperparameters.n_epoch"),
            (supervised(json!({"batch_size": 257})), "method.supervised.hyperparameters.batch_size"),
            (supervised(json!({"beta": 0.1})), "method.supervised.hyperparameters.beta"),
            (
                supervised(json!({"learning_rate_multiplier": 0})),
                "method.supervised.hyperparameters.learning_rate_multiplier",
            ),
            (
                json!({"hyperparameters": {"n_epochs": 1}, "method": {"type": "supervised",
                    "supervised": {"hyperparameters": {"n_epochs": 2}}}}),
                "method.supervised.hyperparameters.n_epochs",
            ),
            (json!({"method": {}}), "method.type"),
            (json!({"method": {"type": "magic"}}), "method.type"),
            (json!({"method": {"type": "reinforcement", "reinforcement": {}}}), "method.type"),
            (json!({"method": {"type": "supervised", "dpo": {}}}), "method.dpo"),
            (json!({"method": {"type": "dpo", "dpo": 5}}), "method.dpo"),
            (json!({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}), "integrations"),
            (json!({"seed": -1}), "seed"),
            (json!({"seed": 2_147_483_648_u64}), "seed"),
            (json!({"suffix": ""}), "suffix"),
            (json!({"suffix": "x".repeat(65)}), "suffix"),
            (json!({"metadata": {"a": 1}}), "metadata.a"),
            (json!({"metadata": []}), "metadata"),
            (anser(json!({"part": {}})), "anser.part"),
            (anser(json!({"parts": {"type": "half"}})), "anser.parts.type"),
            (anser(json!({"parts": {"type": "lora", "rnk": 2}})), "anser.parts.rnk"),
            (anser(json!({"parts": {"type": "lora", "rank": 0}})), "anser.parts.rank"),
            (anser(json!({"parts": {"type": "lora", "dropout": 1.0}})), "anser.parts.dropout"),
            (anser(json!({"parts": {"type": "lora", "target_modules": ["lm"]}})), "anser.parts.target_modules"),
            (anser(json!({"hyperparameters": {"lr": 1}})), "anser.hyperparameters.lr"),
            (anser(json!({"hyperparameters": {"schedule": "wavy"}})), "anser.hyperparameters.schedule"),
            (anser(json!({"hyperparameters": {"warmup_ratio": 1.0}})), "anser.hyperparameters.warmup_ratio"),
            (anser(json!({"hyperparameters": {"batch_size": 0}})), "anser.hyperparameters.batch_size"),
        ] {
            let (at, message) = parse(extra.clone()).err().unwrap_or_else(|| panic!("accepted: {extra}"));
            assert_eq!(at, param, "{extra}: {message}");
            assert!(message.len() > 20, "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_values_make_it_panic(keys in proptest::collection::vec(("[a-z_]{1,12}", "\\PC{0,12}", any::<f64>()), 0..6)) {
            let map: Map<String, Value> =
                keys.into_iter().map(|(key, text, number)| (key, if text.is_empty() { json!(number) } else { json!(text) })).collect();
            let map = Value::Object(map);
            for extra in [
                json!({"hyperparameters": map}), json!({"method": map}), json!({"metadata": map}), json!({"anser": map}),
                json!({"anser": {"parts": map, "hyperparameters": map}}),
            ] {
                let _ = parse(extra);
            }
        }
    }
}
