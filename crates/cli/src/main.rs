//! `anser`: embed, search, cluster and answer from your own text, on your own machine.

mod commands;
mod compose;
mod config;
mod failure;
mod holder;
mod interrupt;
mod logging;
mod plot;
mod sparkline;
mod terminal;
mod training_view;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;
use crate::config::{GlobalArgs, Settings};
use crate::terminal::Terminal;

/// Embed, search, cluster and answer from your own text, on your own machine.
#[derive(Debug, Parser)]
#[command(
    name = "anser",
    version,
    max_term_width = 110,
    after_help = "Examples:\n  anser demo\n  anser ingest reviews.csv --collection reviews\n  anser search reviews \"battery does not last\"\n  anser ask reviews \"do people like the kettle?\"\n  anser cluster reviews --k 8 --map map.svg --out clusters.parquet\n  anser tune create train.jsonl\n  anser serve\n\nExit codes: 0 done, 1 failed, 2 a command line that cannot be read."
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = Terminal::new(cli.global.json, cli.global.quiet || cli.global.json);
    logging::start(cli.global.log.as_deref(), matches!(cli.command, Command::Serve(_)));
    let outcome = Settings::resolve(&cli.global).and_then(|settings| cli.command.run(&settings, &terminal));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                eprintln!("error: {failure}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
