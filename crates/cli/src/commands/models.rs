//! `anser models`: which models there are, and which are here.

use anser_models::{Catalogue, ModelStatus};
use clap::Subcommand;
use serde_json::json;

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, bytes};

/// Subcommands of `anser models`.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  anser models list\n  anser models pull\n  anser models pull SmolLM2-135M-Instruct"
)]
pub(crate) enum ModelsCommand {
    /// All models of the catalogue and whether they are here
    List,
    /// Download models; all of the default ones when none is named
    Pull {
        /// Names from `anser models list`
        names: Vec<String>,
    },
    /// Delete a downloaded model
    Rm {
        /// Its name
        name: String,
    },
}

impl ModelsCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let store = compose::model_store(settings);
        match self {
            Self::List => list(settings, terminal),
            Self::Pull { names } => {
                let progress = terminal.progress();
                let mut pulled = Vec::new();
                let defaults = [&settings.embedder, &settings.chat].into_iter().chain(settings.reranker.as_ref());
                let names: Vec<String> = if names.is_empty() { defaults.cloned().collect() } else { names.clone() };
                for name in &names {
                    let files = store.ensure(name, progress.as_ref())?;
                    pulled.push(json!({"model": name, "path": files.dir}));
                    if !terminal.is_json() {
                        terminal.line(format!("{} is in {}", terminal.bold(name), files.dir.display()))?;
                    }
                }
                let runtime = store.ensure_runtime(progress.as_ref())?;
                if terminal.is_json() {
                    return terminal.json(&json!({"models": pulled, "runtime": runtime}));
                }
                terminal.line(format!("ONNX Runtime is {}", runtime.display()))
            }
            Self::Rm { name } => {
                let removed = store.remove(name)?;
                if terminal.is_json() {
                    return terminal.json(&json!({"model": name, "removed": removed}));
                }
                terminal.line(if removed { format!("removed {name}") } else { format!("{name} was not here") })
            }
        }
    }
}

fn list(settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
    let store = compose::model_store(settings);
    let mut listed = Vec::new();
    for spec in Catalogue::builtin().models() {
        let (state, path) = match store.status(&spec.name)? {
            ModelStatus::Present { path, bytes } => ((format!("here, {}", self::bytes(bytes))), Some(path)),
            ModelStatus::Missing => ("not downloaded".to_owned(), None),
            ModelStatus::Damaged { reason } => (format!("damaged: {reason}"), None),
        };
        listed.push((spec, state, path));
    }
    if terminal.is_json() {
        let models = listed.iter().map(|(spec, state, path)| {
            json!({
                "name": spec.name, "role": format!("{:?}", spec.role).to_lowercase(), "licence": spec.licence,
                "dimension": spec.dimension, "max_tokens": spec.max_tokens, "state": state, "path": path,
            })
        });
        return terminal.json(&models.collect::<Vec<_>>());
    }
    let rows = listed.iter().map(|(spec, state, _)| {
        [
            spec.name.clone(),
            format!("{:?}", spec.role).to_lowercase(),
            state.clone(),
            spec.licence.clone(),
            spec.description.clone(),
        ]
    });
    terminal.table(["name", "role", "state", "licence", "what it is"], rows.collect())
}
