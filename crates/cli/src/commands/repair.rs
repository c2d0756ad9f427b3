//! `anser doctor --repair`: what is damaged in the collections, and what to do about it.

use std::io::IsTerminal;

use anser_core::storage::DataDir;
use anser_index::{IndexError, IndexOptions, Salvage, Store};
use clap::{Args, ValueEnum};
use dialoguer::Select;
use serde::Serialize;

use crate::config::Settings;
use crate::failure::Failure;
use crate::holder::Holder;
use crate::terminal::Terminal;

/// Faults of one collection that are shown to people; machines get them all.
const SHOWN_FAULTS: usize = 5;
/// Characters of a fault that are shown.
const FAULT_CHARS: usize = 120;

/// The part of `anser doctor` that looks into collections.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// Read every page of every collection's database and mend what is damaged: only report it, salvage the rows that can
    /// still be read, or delete the collection. Without a word it asks
    #[arg(long, value_name = "WHAT", num_args = 0..=1, default_missing_value = "ask")]
    repair: Option<Repair>,
    /// Look into this collection only
    #[arg(long, value_name = "NAME", requires = "repair")]
    collection: Option<String>,
    /// Do not ask before a collection is changed
    #[arg(long, requires = "repair")]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Repair {
    /// Ask for each damaged collection
    Ask,
    /// Change nothing
    Report,
    /// Write the rows that can still be read into a fresh database; the damaged file is kept beside it
    Salvage,
    /// Delete the collection, to ingest it again or to put a backup in its place
    Delete,
}

/// What was found in one collection and done about it.
#[derive(Debug, Serialize)]
struct Looked {
    collection: String,
    database: String,
    faults: Vec<String>,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    salvage: Option<Salvage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// Nothing was wrong.
    Sound,
    /// It is damaged and was left as it is.
    Left,
    Salvaged,
    Deleted,
}

impl RepairArgs {
    /// Whether repair was asked for at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.repair.is_some()
    }

    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let repair = self.repair.unwrap_or(Repair::Report);
        let data = DataDir::open(&settings.data_dir)?;
        // Nobody may write to what is being mended; looking at it disturbs no one.
        let _holder = (repair != Repair::Report).then(|| Holder::take(&data)).transpose()?;
        let store = Store::open(&data, IndexOptions::default()).map_err(failed)?;
        let names = match &self.collection {
            Some(name) => vec![name.clone()],
            None => store.names().map_err(failed)?,
        };
        let mut looked = Vec::with_capacity(names.len());
        for name in names {
            looked.push(self.look(&store, name, repair, terminal)?);
        }
        let left = looked.iter().filter(|l| l.action == Action::Left).count();
        if terminal.is_json() {
            terminal.json(&serde_json::json!({"collections": looked}))?;
        } else if looked.iter().all(|l| l.action == Action::Sound) {
            terminal.line(format!("nothing is damaged in {} collections", looked.len()))?;
        }
        if left == 0 {
            return Ok(());
        }
        let what = if left == 1 { "1 collection is".to_owned() } else { format!("{left} collections are") };
        Err(Failure::failed(format!(
            "{what} damaged; `anser doctor --repair salvage` saves the rows that can still be read, `--repair delete` \
             removes a damaged collection so that it can be ingested again or a backup be put in its place"
        )))
    }

    fn look(&self, store: &Store, name: String, repair: Repair, terminal: &Terminal) -> Result<Looked, Failure> {
        let found = store.check(&name).map_err(failed)?;
        let database = found.path.display().to_string();
        let mut looked =
            Looked { collection: name, database, faults: found.faults, action: Action::Sound, salvage: None };
        if looked.faults.is_empty() {
            return Ok(looked);
        }
        looked.action = Action::Left;
        if !terminal.is_json() {
            terminal.line(format!("{} is damaged: {}", terminal.bold(&looked.collection), looked.database))?;
            let faults = distinct_lines(&looked.faults);
            for fault in faults.iter().take(SHOWN_FAULTS) {
                terminal.line(format!("  {fault}"))?;
            }
            if faults.len() > SHOWN_FAULTS {
                terminal.line(format!("  and {} faults more; --json has all of them", faults.len() - SHOWN_FAULTS))?;
            }
        }
        match self.choose(&looked.collection, repair)? {
            Repair::Salvage => {
                let saved = store.salvage(&looked.collection, true).map_err(|e| unsaved(&looked.collection, e))?;
                if !terminal.is_json() {
                    terminal.line(told(&saved))?;
                }
                (looked.action, looked.salvage) = (Action::Salvaged, Some(saved));
            }
            Repair::Delete => {
                store.delete(&looked.collection).map_err(failed)?;
                if !terminal.is_json() {
                    terminal.line("  deleted")?;
                }
                looked.action = Action::Deleted;
            }
            Repair::Ask | Repair::Report => {}
        }
        Ok(looked)
    }

    /// What is done about one damaged collection. Where nobody can be asked and `--yes` was not given, nothing.
    fn choose(&self, name: &str, repair: Repair) -> Result<Repair, Failure> {
        if repair == Repair::Report || (self.yes && repair != Repair::Ask) {
            return Ok(repair);
        }
        if !std::io::stdin().is_terminal() {
            let word = if repair == Repair::Delete { "delete" } else { "salvage" };
            return Err(Failure::failed(format!(
                "{name} was left as it is, because nobody can be asked here; pass --repair {word} --yes"
            )));
        }
        let choices = [
            (Repair::Report, "leave it as it is"),
            (Repair::Salvage, "salvage the rows that can still be read; the damaged file is kept beside them"),
            (Repair::Delete, "delete the collection, to ingest it again or to put a backup in its place"),
        ];
        let wanted = choices.iter().position(|(choice, _)| *choice == repair).unwrap_or(0);
        let chosen = Select::new()
            .with_prompt(format!("What shall be done with {name}?"))
            .items(choices.map(|(_, text)| text))
            .default(wanted)
            .interact_opt()
            .map_err(|e| Failure::failed(format!("the question cannot be asked: {e}")))?;
        Ok(chosen.and_then(|at| choices.get(at)).map_or(Repair::Report, |(choice, _)| *choice))
    }
}

/// What was saved, for people.
fn told(saved: &Salvage) -> String {
    let mut parts = vec![format!("  saved {} whole documents with {} chunks", saved.documents, saved.chunks)];
    if saved.incomplete > 0 {
        parts.push(format!("{} documents lack a part, ingest them again", saved.incomplete));
    }
    let (documents, chunks) = (saved.unreadable_documents, saved.unreadable_chunks);
    if documents + chunks > 0 {
        parts.push(format!("{documents} documents and {chunks} chunks could not be read"));
    }
    if let Some(path) = &saved.damaged {
        parts.push(format!("the damaged file is kept as {}", path.display()));
    }
    parts.join("; ")
}

/// The collections that cannot be opened, each with the reason.
pub(crate) fn unreadable(data: &DataDir) -> Result<Vec<(String, String)>, Failure> {
    if !data.collections().is_dir() {
        return Ok(Vec::new());
    }
    let store = Store::open(data, IndexOptions::default()).map_err(failed)?;
    let listed = store.list().map_err(failed)?;
    let mut found = Vec::new();
    for name in store.names().map_err(failed)? {
        if !listed.iter().any(|info| info.name == name)
            && let Err(error) = store.get(&name)
            && !matches!(error, IndexError::NotFound { .. })
        {
            found.push((name, error.to_string()));
        }
    }
    Ok(found)
}

/// Every fault once and on one line: the database tells of a damaged page in as many lines as it has cells.
fn distinct_lines(faults: &[String]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let lines = faults.iter().flat_map(|fault| fault.lines()).map(|line| anser_core::excerpt(line.trim(), FAULT_CHARS));
    lines.filter(|line| !line.is_empty() && seen.insert(line.clone())).collect()
}

/// Why nothing was saved, and what is left to do where nothing can be.
fn unsaved(collection: &str, error: IndexError) -> Failure {
    match error {
        IndexError::Damaged { .. } | IndexError::Corrupt { .. } => Failure::failed(format!(
            "nothing of \"{collection}\" can be read any more; `anser doctor --repair delete --collection {collection}` removes \
             it, so that it can be ingested again or a backup be put in its place"
        )),
        other => failed(other),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: IndexError) -> Failure {
    Failure::failed(error.to_string())
}
