//! `anser doctor`: checks this machine and says how to mend what is wrong. Damaged collections are for [`repair`](super::repair).

use std::path::Path;
use std::process::{Command, Stdio};

use anser_core::storage::DataDir;
use anser_core::{Device, NoProgress};
use anser_generate::open_device;
use anser_kernels::InstructionSet;
use anser_models::ModelStatus;
use clap::Args;
use serde::Serialize;
use sysinfo::{Disks, System};

use super::repair::{self, RepairArgs};
use crate::compose;
use crate::config::{Settings, env};
use crate::failure::Failure;
use crate::holder::Holder;
use crate::terminal::{Terminal, bytes};

/// Free disk below which downloads and indexing are likely to fail.
const LOW_DISK: u64 = 2 << 30;
/// Free memory below which the default models do not fit comfortably.
const LOW_MEMORY: u64 = 2 << 30;

/// Arguments of `anser doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser doctor\n  anser doctor --json\n  anser doctor --repair\n  anser doctor --repair salvage --collection reviews --yes"
)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    repair: RepairArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, found: found.into(), mend: None }
    }

    fn bad(state: State, name: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name: name.into(), state, found: found.into(), mend: Some(mend.into()) }
    }
}

impl DoctorArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        if self.repair.is_wanted() {
            return self.repair.run(settings, terminal);
        }
        let mut checks = vec![data_folder(settings), disk(&settings.data_dir), memory(), processor(settings)];
        checks.extend(device(settings.device));
        checks.extend(collections(settings));
        checks.extend(models(settings)?);
        checks.push(engine(settings));
        checks.push(runtime(settings));
        checks.push(pip(settings));
        if terminal.is_json() {
            terminal.json(&checks)?;
        } else {
            let rows = checks.iter().map(|check| {
                let mark = match check.state {
                    State::Ok => "ok",
                    State::Warning => "warning",
                    State::Failed => "FAILED",
                };
                [mark.to_owned(), check.name.clone(), check.found.clone(), check.mend.clone().unwrap_or_default()]
            });
            terminal.table(["", "check", "found", "how to mend"], rows.collect())?;
        }
        let failed = checks.iter().filter(|c| c.state == State::Failed).count();
        if failed > 0 {
            return Err(Failure::failed(format!(
                "{failed} of {} checks failed; see how to mend them above",
                checks.len()
            )));
        }
        Ok(())
    }
}

fn data_folder(settings: &Settings) -> Check {
    match DataDir::open(&settings.data_dir) {
        Ok(data) => Check::ok("data folder", format!("{} can be written", data.root().display())),
        Err(error) => Check::bad(
            State::Failed,
            "data folder",
            error.to_string(),
            "choose a folder you may write to with --data-dir or ANSER_DATA_DIR",
        ),
    }
}

/// Whether every collection can be opened; no page more of it is read.
fn collections(settings: &Settings) -> Vec<Check> {
    // A folder that cannot be opened has been told already.
    let Ok(data) = DataDir::open(&settings.data_dir) else { return Vec::new() };
    let unreadable = match repair::unreadable(&data) {
        Ok(unreadable) => unreadable,
        Err(error) => vec![("collections".to_owned(), error.to_string())],
    };
    let told = unreadable
        .into_iter()
        .map(|(name, error)| Check::bad(State::Failed, format!("collection {name}"), error, "anser doctor --repair"));
    let mut checks: Vec<Check> = told.collect();
    if let Some(holder) = Holder::of(data.root()) {
        checks.push(Check::ok("server", format!("the data folder is served by {holder}")));
    }
    checks
}

fn disk(folder: &Path) -> Check {
    let disks = Disks::new_with_refreshed_list();
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let disk = disks
        .list()
        .iter()
        .filter(|d| folder.starts_with(d.mount_point()))
        .max_by_key(|d| d.mount_point().as_os_str().len());
    match disk.map(sysinfo::Disk::available_space) {
        None => Check::bad(State::Warning, "disk", "free space is unknown", "make sure that 2 GiB are free"),
        Some(free) if free < LOW_DISK => {
            Check::bad(State::Warning, "disk", format!("{} free", bytes(free)), "free at least 2 GiB or use --data-dir")
        }
        Some(free) => Check::ok("disk", format!("{} free", bytes(free))),
    }
}

fn memory() -> Check {
    let mut system = System::new();
    system.refresh_memory();
    let (free, total) = (system.available_memory(), system.total_memory());
    let found = format!("{} free of {}", bytes(free), bytes(total));
    if free < LOW_MEMORY {
        return Check::bad(
            State::Warning,
            "memory",
            found,
            "the default models need about 2 GiB; close other programs",
        );
    }
    Check::ok("memory", found)
}

fn processor(settings: &Settings) -> Check {
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let best = InstructionSet::best();
    let found = format!("{} threads of {available}, {}", settings.threads, best.name());
    if let Err(reason) = InstructionSet::requested() {
        let mend = format!("mend or unset {}", env::INSTRUCTIONS);
        return Check::bad(State::Warning, "processor", format!("{found}; {reason}"), mend);
    }
    if settings.threads > available {
        return Check::bad(State::Warning, "processor", found, format!("set --threads {available} or fewer"));
    }
    if best == InstructionSet::portable() {
        let mend = "a processor with AVX2 or NEON is several times faster";
        return Check::bad(State::Warning, "processor", format!("{found}: no vector instructions"), mend);
    }
    Check::ok("processor", found)
}

/// Whether the device asked for can be used; nothing where it is the processor.
fn device(device: Device) -> Option<Check> {
    if device.is_cpu() {
        return None;
    }
    Some(match open_device(device) {
        Ok(_) => Check::ok("device", device.to_string()),
        Err(error) => Check::bad(State::Failed, "device", error.to_string(), "choose --device cpu until then"),
    })
}

fn models(settings: &Settings) -> Result<Vec<Check>, Failure> {
    let store = compose::model_store(settings);
    let wanted = [Some(&settings.embedder), settings.reranker.as_ref(), Some(&settings.chat)];
    let mut checks = Vec::new();
    for name in wanted.into_iter().flatten() {
        let pull = format!("anser models pull {name}");
        let status = if *name == settings.embedder { store.embedder_status(name)? } else { store.status(name)? };
        checks.push(match status {
            ModelStatus::Present { path, bytes: size } => {
                Check::ok(format!("model {name}"), format!("{} in {}", bytes(size), path.display()))
            }
            ModelStatus::Missing => {
                Check::bad(State::Warning, format!("model {name}"), "not downloaded; it will be when first used", pull)
            }
            ModelStatus::Damaged { reason } => {
                Check::bad(State::Failed, format!("model {name}"), format!("damaged: {reason}"), pull)
            }
        });
    }
    Ok(checks)
}

/// What runs the embedder, and why.
fn engine(settings: &Settings) -> Check {
    let asked = [settings.embed_engine.map(|e| e.to_string()), settings.embed_format.map(|f| f.to_string())];
    let asked: Vec<String> = asked.into_iter().flatten().collect();
    let measured = compose::measured_engines(settings, &settings.embedder);
    let found = match measured {
        Some(choice) => {
            let figures: Vec<String> = choice.measured.iter().map(ToString::to_string).collect();
            format!("{}, the fastest correct one of {}", choice.backend, figures.join(", "))
        }
        None if asked.is_empty() => "measured when the embedder is first used, unless only one can run it".to_owned(),
        None => format!("{}, as asked for", asked.join(" ")),
    };
    Check::ok("embedding engine", found)
}

/// Loads the runtime library as the models would, without downloading it.
fn runtime(settings: &Settings) -> Check {
    let store = compose::model_store(&Settings { offline: true, ..settings.clone() });
    let status = store.catalogue().runtime().and_then(|spec| store.status(&spec.name));
    let present = matches!(status, Ok(ModelStatus::Present { .. }));
    let mend = "anser models pull";
    if !present {
        return Check::bad(State::Warning, "ONNX Runtime", "not downloaded; it will be when first used", mend);
    }
    let loaded = store
        .ensure_runtime(&NoProgress)
        .map_err(|e| e.to_string())
        .and_then(|path| anser_embed::load_runtime(&path).map(|_| path).map_err(|e| e.to_string()));
    match loaded {
        Ok(path) => Check::ok("ONNX Runtime", format!("{} loads", path.display())),
        Err(error) => Check::bad(State::Failed, "ONNX Runtime", error, mend),
    }
}

/// Whether the package client that fetches models is there; only a warning, because a full cache needs none.
fn pip(settings: &Settings) -> Check {
    let candidates = match &settings.python {
        Some(python) => vec![python.clone()],
        None => vec!["python3".into(), "python".into()],
    };
    let version = candidates.iter().find_map(|python| {
        let output = Command::new(python).args(["-m", "pip", "--version"]).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    match version {
        Some(version) => Check::ok("pip", version),
        None => Check::bad(
            State::Warning,
            "pip",
            "no Python with pip was found; models can then come from the hub or a local folder only",
            "install Python 3 with pip, or name an interpreter with --python",
        ),
    }
}
