//! `anser-bench`: replays workloads on Anser and on peers, in one run, on this machine.
//!
//! A workload is a small file that says what to do (`workload`). Each kind of it has a room (`clustering`,
//! `duplicates`, `embedding`, `search`, `scale`, `generation`, `training`) that lines up contenders; `contest` lets them run in
//! turns; `report` is what came out, beside what the machine can do (`limits`) and is (`machine`), shown on a terminal
//! (`table`) and as a page (`html`) with drawings (`bars`, `plot`). Peers are Python programs that speak JSON lines (`peer`).

mod bars;
mod clustering;
mod contest;
mod corpus;
mod drawing;
mod duplicates;
mod embedding;
mod error;
mod generation;
mod glosses;
mod html;
mod limits;
mod loader;
mod machine;
mod memory;
mod peer;
mod plot;
mod report;
mod run;
mod scale;
mod search;
mod stats;
mod table;
mod training;
mod wording;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use anser_core::storage::write_atomic;
use clap::Parser;

use crate::error::BenchError;
use crate::machine::Machine;
use crate::report::Report;
use crate::run::Run;
use crate::workload::{Scale, Workload};

/// Measure Anser beside peers on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "anser-bench",
    version,
    max_term_width = 110,
    after_help = "Examples:\n  anser-bench --list\n  anser-bench --quick --python target/bench-venv/bin/python\n  anser-bench --only search --json search.json\n\nEach number is the median of several runs that alternate with the peer's, with the lowest and the highest.\nNo number passes or fails anything. Exit codes: 0 done, 1 failed, 2 asked for wrongly."
)]
struct Cli {
    /// Print the workloads and end
    #[arg(long)]
    list: bool,
    /// Run this workload only; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Every workload at its full size, which takes hours; otherwise the essential ones, in some minutes
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// The smallest sizes and fewer repeats: minutes become seconds, and spreads wider
    #[arg(long)]
    quick: bool,
    /// Python that has the packages of crates/bench/peers/requirements.txt; without it peers are left out
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Also write everything that was measured as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write everything as one HTML page with drawings, which needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also draw what grows as SVG files in this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// What this process does for another of its kind: see `embedding::ingest`
    #[arg(long, hide = true, exclusive = true)]
    ingest_errand: Option<String>,
    /// Folder of workload files
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads"))]
    workloads: PathBuf,
}

fn main() -> ExitCode {
    match bench(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn bench(cli: &Cli) -> Result<(), BenchError> {
    if let Some(errand) = &cli.ingest_errand {
        println!("{}", embedding::ingest_here(errand)?);
        return Ok(());
    }
    let all = workload::read_all(&cli.workloads)?;
    if cli.list {
        println!("{}", table::list(&all));
        return Ok(());
    }
    let workloads = selected(all, cli)?;
    let scale = match (cli.full, cli.quick) {
        (true, _) => Scale::Full,
        (false, true) => Scale::Quick,
        (false, false) => Scale::Essential,
    };
    let run = Run::new(scale, cli.python.as_deref())?;
    let mut report = Report { machine: Machine::here(), scale, workloads: Vec::new() };
    println!("{}", table::machine(&report.machine));
    if let Some(warning) = report.machine.busy() {
        println!("{warning}");
    }
    if cli.python.is_none() {
        println!("Peers are left out: no --python was given.");
    }
    for workload in workloads {
        let measured = run.workload(workload)?;
        println!("\n{}", table::workload(&measured));
        if let Some(folder) = &cli.plots {
            measured.plots.iter().try_for_each(|plot| plot.write(folder))?;
        }
        report.workloads.push(measured);
        write(&report, cli)?;
    }
    Ok(())
}

/// Writes what there is so far, so that a later failure costs nothing of it.
fn write(report: &Report, cli: &Cli) -> Result<(), BenchError> {
    if let Some(path) = &cli.json {
        let mut json = serde_json::to_vec_pretty(report).map_err(BenchError::Json)?;
        json.push(b'\n');
        write_atomic(path, &json)?;
    }
    if let Some(path) = &cli.html {
        write_atomic(path, html::page(report).as_bytes())?;
    }
    Ok(())
}

/// The workloads called for, in the order of their files: those named, else all or the essential ones.
fn selected(all: Vec<Workload>, cli: &Cli) -> Result<Vec<Workload>, BenchError> {
    let only = &cli.only;
    if let Some(unknown) = only.iter().find(|name| all.iter().all(|w| w.name != **name)) {
        let known = all.iter().map(|w| w.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(BenchError::NoSuchWorkload { name: unknown.clone(), known });
    }
    Ok(all
        .into_iter()
        .filter(|w| if only.is_empty() { cli.full || w.essential } else { only.contains(&w.name) })
        .collect())
}
