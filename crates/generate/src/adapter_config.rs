//! PEFT's `adapter_config.json`: the shape of an adapter.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adapter::{LoraPair, split_name};
use crate::config::PROJECTIONS;

/// How a LoRA adapter is shaped, and for which model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdapterConfig {
    /// Rank of every update that `rank_pattern` does not name.
    pub rank: usize,
    /// Updates are scaled by `alpha / rank`.
    pub alpha: f64,
    /// Share of inputs that was dropped in training.
    pub dropout: f64,
    /// Projections with an update: the last part of their name (`q_proj`) or the whole.
    pub target_modules: Vec<String>,
    /// Name of the model that the adapter was made for.
    pub base_model: String,
    /// Ranks that differ, by a projection's name or the end of it.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas that differ, likewise.
    pub alpha_pattern: BTreeMap<String, f64>,
}

impl Default for AdapterConfig {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            target_modules: PROJECTIONS.map(str::to_owned).to_vec(),
            base_model: String::new(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        }
    }
}

impl AdapterConfig {
    /// Rank of the update of the projection `name`.
    pub fn rank_of(&self, name: &str) -> usize {
        matching(&self.rank_pattern, name).copied().unwrap_or(self.rank)
    }

    /// Alpha of the update of the projection `name`.
    pub fn alpha_of(&self, name: &str) -> f64 {
        matching(&self.alpha_pattern, name).copied().unwrap_or(self.alpha)
    }

    /// Reads `adapter_config.json`; the error says what of it is not supported.
    pub(crate) fn from_json(value: &Value) -> Result<Self, String> {
        let kind = value["peft_type"].as_str().unwrap_or("unnamed");
        if kind != "LORA" {
            return Err(format!("it is of the type {kind}, and only LORA is known"));
        }
        for field in ["use_dora", "use_rslora", "fan_in_fan_out", "use_qalora", "lora_bias"] {
            if value[field].as_bool() == Some(true) {
                return Err(format!("its configuration sets {field}, which is not known"));
            }
        }
        for field in ["modules_to_save", "trainable_token_indices", "layer_replication", "target_parameters"] {
            let set = &value[field];
            if !set.is_null() && set.as_array().is_none_or(|list| !list.is_empty()) {
                return Err(format!("its configuration sets {field}, which is not known"));
            }
        }
        if value["bias"].as_str().is_some_and(|bias| bias != "none") {
            return Err("it trains biases, and the decoder has none".to_owned());
        }
        let rank = value["r"].as_u64().filter(|rank| *rank > 0).ok_or("its configuration has no rank r above 0")?;
        let alpha = finite(&value["lora_alpha"]).ok_or("its configuration has no lora_alpha")?;
        let targets = match &value["target_modules"] {
            Value::String(name) => vec![name.clone()],
            Value::Array(names) => names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            _ => return Err("its configuration has no target_modules".to_owned()),
        };
        for target in &targets {
            let last = target.rsplit('.').next().unwrap_or_default();
            // PEFT takes one text for a pattern; what it meant stands in the tensors' names anyway.
            let pattern = value["target_modules"].is_string();
            if !pattern && !PROJECTIONS.contains(&last) {
                return Err(format!("it updates {target}, which is not a projection of a llama block"));
            }
        }
        Ok(Self {
            rank: usize::try_from(rank).map_err(|_| "its rank is absurd")?,
            alpha,
            dropout: finite(&value["lora_dropout"]).unwrap_or(0.0),
            target_modules: targets,
            base_model: value["base_model_name_or_path"].as_str().unwrap_or_default().to_owned(),
            rank_pattern: pattern(&value["rank_pattern"], |rank| usize::try_from(rank.as_u64()?).ok())?,
            alpha_pattern: pattern(&value["alpha_pattern"], finite)?,
        })
    }

    /// The text of `adapter_config.json` for `updates`: their own ranks and scales decide the patterns.
    pub(crate) fn to_json(&self, updates: &BTreeMap<String, LoraPair>) -> String {
        let mut ranks = BTreeMap::new();
        let mut alphas = BTreeMap::new();
        for (name, pair) in updates {
            if pair.rank != self.rank {
                ranks.insert(name, pair.rank);
            }
            let alpha = f64::from(pair.scale) * pair.rank as f64;
            if (alpha - self.alpha).abs() > 1e-6 * self.alpha.abs() {
                alphas.insert(name, alpha);
            }
        }
        let value = json!({
            "alpha_pattern": alphas,
            "auto_mapping": null,
            "base_model_name_or_path": self.base_model,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.rank,
            "rank_pattern": ranks,
            "revision": null,
            "target_modules": targets(updates),
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": false,
        });
        format!("{value:#}\n")
    }
}

/// What PEFT is told to update: the projections' short names where every block has them, whole names otherwise (or PEFT
/// would make updates that the file does not hold).
fn targets(updates: &BTreeMap<String, LoraPair>) -> Vec<String> {
    let places: BTreeSet<(usize, &str)> = updates.keys().filter_map(|name| split_name(name)).collect();
    let blocks = places.iter().map(|(block, _)| block + 1).max().unwrap_or(0);
    let used: Vec<&str> =
        PROJECTIONS.into_iter().filter(|name| places.iter().any(|(_, projection)| projection == name)).collect();
    if places.len() == blocks * used.len() {
        return used.into_iter().map(str::to_owned).collect();
    }
    updates.keys().cloned().collect()
}

/// The entry of a pattern that names `name` or the end of it after a dot, as PEFT matches them.
fn matching<'a, T>(pattern: &'a BTreeMap<String, T>, name: &str) -> Option<&'a T> {
    pattern.get(name).or_else(|| {
        let mut entries = pattern.iter();
        entries.find(|(key, _)| name.strip_suffix(key.as_str()).is_some_and(|rest| rest.ends_with('.'))).map(|(_, v)| v)
    })
}

/// Reads a pattern. PEFT takes its keys for regular expressions; plain names are, and others are refused.
fn pattern<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Result<BTreeMap<String, T>, String> {
    let Some(entries) = value.as_object() else { return Ok(BTreeMap::new()) };
    let plain = |key: &str| key.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_'));
    entries
        .iter()
        .map(|(key, value)| {
            let key = key.replace("\\.", ".");
            let number = read(value).ok_or_else(|| format!("{key} of its configuration is {value}"))?;
            if plain(&key) {
                Ok((key, number))
            } else {
                Err(format!("the pattern {key} in its configuration is not known"))
            }
        })
        .collect()
}

fn finite(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}
