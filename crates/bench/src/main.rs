//! `anser-bench`: replays workloads on Anser and on peers, in one run, on this machine.
//!
//! A workload is a small file that says what to do (`workload`). Each kind of it has a room (`clustering`,
//! `duplicates`, `embedding`, `search`, `scale`, `generation`, `training`) that lines up contenders; `contest` lets them run in
//! turns; `report` shows what came out, beside what the machine can do (`limits`) and is (`machine`). Peers are Python
//! programs that speak JSON lines (`peer`). `plot` draws curves.

mod clustering;
mod contest;
mod corpus;
mod duplicates;
mod embedding;
mod error;
mod generation;
mod glosses;
mod limits;
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
    /// Smaller sizes and fewer repeats: minutes become seconds, and spreads wider
    #[arg(long)]
    quick: bool,
    /// Python that has the packages of crates/bench/peers/requirements.txt; without it peers are left out
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Also write everything that was measured as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw what grows as SVG files in this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
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
    let workloads = selected(workload::read_all(&cli.workloads)?, &cli.only)?;
    if cli.list {
        println!("{}", table::list(&workloads));
        return Ok(());
    }
    let scale = if cli.quick { Scale::Quick } else { Scale::Full };
    let run = Run::new(scale, cli.python.as_deref())?;
    let mut report = Report { machine: Machine::here(), quick: cli.quick, workloads: Vec::new() };
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
    }
    if let Some(path) = &cli.json {
        let mut json = serde_json::to_vec_pretty(&report).map_err(BenchError::Json)?;
        json.push(b'\n');
        write_atomic(path, &json)?;
    }
    Ok(())
}

/// The workloads called for, in the order of their files.
fn selected(all: Vec<Workload>, only: &[String]) -> Result<Vec<Workload>, BenchError> {
    if let Some(unknown) = only.iter().find(|name| all.iter().all(|w| w.name != **name)) {
        let known = all.iter().map(|w| w.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(BenchError::NoSuchWorkload { name: unknown.clone(), known });
    }
    Ok(all.into_iter().filter(|w| only.is_empty() || only.contains(&w.name)).collect())
}
