//! `anser collections`: what is stored.

mod settings;

use anser_core::NoProgress;
use anser_engine::{Compaction, EngineError};
use clap::Subcommand;
use std::sync::Arc;

use super::analysis::run_job;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, bytes, confirm};

/// Subcommands of `anser collections`.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  anser collections list\n  anser collections settings reviews --mode hybrid --vector-weight 0.7\n  anser collections compact reviews\n  anser collections delete reviews --yes"
)]
pub(crate) enum CollectionsCommand {
    /// All collections
    List,
    /// Make an empty collection, for texts that the embedder reads or for vectors of your own
    Create {
        /// Its name
        name: String,
        /// Its documents bring vectors along, made by this model of yours
        #[arg(long, value_name = "MODEL", requires = "dimension")]
        vectors: Option<String>,
        /// Numbers of each of those vectors
        #[arg(long, value_name = "N", requires = "vectors")]
        dimension: Option<usize>,
    },
    /// One collection
    Show {
        /// Its name
        name: String,
    },
    /// Show or change how a collection is searched unless a search says otherwise
    Settings(settings::SettingsArgs),
    /// Give the space of deleted documents back and erase them from every file
    Compact {
        /// Its name
        name: String,
    },
    /// Delete a collection with all it holds
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

impl CollectionsCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let engine = compose::engine(settings, Arc::new(NoProgress))?;
        match self {
            Self::List => {
                let collections = engine.collections()?;
                if terminal.is_json() {
                    return terminal.json(&collections);
                }
                if collections.is_empty() {
                    return terminal.line("no collections yet; make one with `anser ingest FILE --collection NAME`");
                }
                let rows = collections.iter().map(|c| {
                    [
                        c.name.clone(),
                        c.documents.to_string(),
                        c.chunks.to_string(),
                        bytes(c.disk_bytes),
                        format!("{} ({} dimensions)", c.embedder.model, c.embedder.dimension),
                    ]
                });
                terminal.table(["name", "documents", "chunks", "disk", "embedder"], rows.collect())
            }
            Self::Create { name, vectors, dimension } => {
                let collection = match (vectors, dimension) {
                    (Some(vectors), Some(dimension)) => engine.create_external_collection(name, vectors, *dimension)?,
                    _ => engine.create_collection(name)?,
                };
                let info = collection.info().map_err(EngineError::from)?;
                if terminal.is_json() {
                    return terminal.json(&info);
                }
                let (model, dimension) = (&info.embedder.model, info.embedder.dimension);
                terminal.line(format!("made {name} for vectors of {model} ({dimension} dimensions)"))
            }
            Self::Show { name } => {
                let info = engine.collection(name)?.info().map_err(EngineError::from)?;
                if terminal.is_json() {
                    return terminal.json(&info);
                }
                terminal.line(format!(
                    "{}\n  documents {}\n  chunks    {}\n  disk      {}\n  embedder  {} ({} dimensions)",
                    terminal.bold(&info.name),
                    info.documents,
                    info.chunks,
                    bytes(info.disk_bytes),
                    info.embedder.model,
                    info.embedder.dimension
                ))
            }
            Self::Settings(args) => args.run(&engine, terminal),
            Self::Compact { name } => {
                let id = engine.create_compaction_job(name)?.id;
                let finished = run_job(engine, terminal, &id, &format!("{id}: compacting {name}"))?;
                let done: Compaction = serde_json::from_value(finished.job.detail)?;
                if terminal.is_json() {
                    return terminal.json(&done);
                }
                let (before, after) = (bytes(done.bytes_before), bytes(done.bytes_after));
                terminal.line(format!("{name} takes {after} instead of {before}"))?;
                if done.erased {
                    return Ok(());
                }
                terminal.line("somebody still reads an older state; what was deleted is erased once they are done")
            }
            Self::Delete { name, yes } => {
                let info = engine.collection(name)?.info().map_err(EngineError::from)?;
                if !yes && !confirm(&format!("delete {name} with its {} documents?", info.documents))? {
                    return Err(Failure::failed(format!("{name} was kept; pass --yes to delete without a question")));
                }
                engine.delete_collection(name)?;
                if terminal.is_json() {
                    return terminal.json(&serde_json::json!({"name": name, "deleted": true}));
                }
                terminal.line(format!("deleted {name}"))
            }
        }
    }
}
