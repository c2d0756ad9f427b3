//! `anser demo`: the whole road on bundled data, in one command.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anser_core::storage::DataDir;
use anser_core::{CancelToken, Progress, StopReason, StopSignal};
use anser_engine::cluster::{ClusterOptions, ClusterReport};
use anser_engine::{
    Analysis, AnalysisRequest, AnalysisSource, AnswerRequest, Engine, FileFormat, IngestOptions, JobState,
};
use anser_server::ServerOptions;
use clap::Args;
use serde_json::json;

use super::{ask, cluster, ingest, serve};
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::holder::Holder;
use crate::interrupt;
use crate::terminal::{Terminal, bytes};

const FAQ: &str = include_str!("../../../../examples/data/faq.jsonl");
const REVIEWS: &str = include_str!("../../../../examples/data/reviews.csv");
const FAQ_COLLECTION: &str = "shop-faq";
const REVIEWS_COLLECTION: &str = "shop-reviews";
/// The FAQ answers the first three; it says nothing about the last, which should be declined.
const QUESTIONS: [&str; 4] = [
    "how much do I have to order to get free postage?",
    "what number do I call to reach customer service?",
    "until when is a gift card valid?",
    "Who won the football world cup in 1998?",
];

/// Arguments of `anser demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  anser demo\n  anser demo --no-serve")]
pub(crate) struct DemoArgs {
    /// Stop after the last step instead of serving the page
    #[arg(long)]
    no_serve: bool,
    /// Address of the page; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", env = crate::config::env::LISTEN)]
    listen: Option<SocketAddr>,
}

impl DemoArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let started = Instant::now();
        // Known before the work of minutes, and not after it.
        let _holder = (!self.no_serve).then(|| Holder::take(&DataDir::open(&settings.data_dir)?)).transpose()?;
        let progress = terminal.progress();
        let engine = compose::engine(settings, progress.clone())?;
        let stop = StopSignal::default();
        interrupt::on_interrupt({
            let stop = stop.clone();
            move || stop.stop(StopReason::Cancel)
        });
        let demo = Demo { engine: &engine, terminal, progress: progress.as_ref(), cancel: &stop.token(), stop: &stop };

        demo.heading("1. Index the shop's FAQ and its reviews")?;
        let faq = demo.ingest(FAQ_COLLECTION, FileFormat::Jsonl, FAQ)?;
        let reviews = demo.ingest(REVIEWS_COLLECTION, FileFormat::Csv, REVIEWS)?;
        demo.heading("2. Ask the FAQ")?;
        let answers = demo.ask()?;
        demo.heading("3. Cluster the reviews")?;
        let clusters = demo.cluster()?;

        let seconds = started.elapsed().as_secs_f64();
        let (data, models) = (folder_bytes(&settings.data_dir), folder_bytes(&settings.models_dir));
        let nested = settings.models_dir.starts_with(&settings.data_dir);
        let data = if nested { data.saturating_sub(models) } else { data };
        if terminal.is_json() {
            terminal.json(&json!({
                "ingested": [faq, reviews], "answers": answers, "clusters": clusters,
                "seconds": seconds, "data_bytes": data, "models_bytes": models,
            }))?;
        } else {
            terminal.line(format!(
                "\nAll of it took {seconds:.0} s. Disk: {} of collections, {} of models.",
                bytes(data),
                bytes(models)
            ))?;
            let folder = if settings.data_dir_given {
                format!(" --data-dir {}", settings.data_dir.display())
            } else {
                String::new()
            };
            terminal.line(format!(
                "Next: anser{folder} ask {FAQ_COLLECTION} \"…\", anser{folder} search {REVIEWS_COLLECTION} \"…\", \
                 anser{folder} serve"
            ))?;
        }
        if self.no_serve {
            return Ok(());
        }
        let options = ServerOptions { listen: self.listen.unwrap_or(settings.listen), ..ServerOptions::default() };
        serve::run_server(engine, options, terminal)
    }
}

struct Demo<'a> {
    engine: &'a Engine,
    terminal: &'a Terminal,
    progress: &'a dyn Progress,
    cancel: &'a CancelToken,
    /// What `cancel` sees set.
    stop: &'a StopSignal,
}

impl Demo<'_> {
    fn heading(&self, text: &str) -> Result<(), Failure> {
        if self.terminal.is_json() { Ok(()) } else { self.terminal.line(format!("\n{}", self.terminal.bold(text))) }
    }

    fn ingest(&self, collection: &str, format: FileFormat, data: &'static str) -> Result<serde_json::Value, Failure> {
        let options = IngestOptions { name: Some(collection.to_owned()), ..IngestOptions::default() };
        let source = Box::new(data.as_bytes());
        let report = self.engine.ingest_reader(collection, format, source, &options, self.progress, self.cancel)?;
        if !self.terminal.is_json() {
            ingest::print_report(self.terminal, collection, &report)?;
        }
        Ok(serde_json::to_value(&report)?)
    }

    fn ask(&self) -> Result<Vec<serde_json::Value>, Failure> {
        let mut answers = Vec::new();
        for question in QUESTIONS {
            let request = AnswerRequest { question: question.to_owned(), ..AnswerRequest::default() };
            let answer = if self.terminal.is_json() {
                self.engine.answer(FAQ_COLLECTION, &request, self.cancel, &mut |_| {})?
            } else {
                self.terminal.line(format!("\nQ: {question}"))?;
                self.terminal.piece("A: ")?;
                ask::print_answer(self.engine, self.terminal, FAQ_COLLECTION, &request, self.cancel)?
            };
            answers.push(json!({"question": question, "answer": answer}));
        }
        Ok(answers)
    }

    fn cluster(&self) -> Result<serde_json::Value, Failure> {
        let options =
            ClusterOptions { k_min: Some(4), k_max: Some(16), examples: 1, keywords: 5, ..ClusterOptions::default() };
        let source = AnalysisSource::Collection { name: REVIEWS_COLLECTION.to_owned(), filter: None };
        let request = AnalysisRequest { source, analysis: Analysis::Cluster(options) };
        let job = self.engine.create_analysis_job(&request)?;
        let job = self.engine.run_job_here(&job.id, self.stop, &mut |_| {}, self.progress)?;
        if job.state != JobState::Succeeded {
            let why = job.failure.map_or_else(|| format!("it was {}", job.state.as_str()), |failure| failure.message);
            return Err(Failure::failed(format!("the reviews could not be clustered: {why}")));
        }
        let report: ClusterReport = self.engine.job_report(&job.id)?;
        if !self.terminal.is_json() {
            cluster::print_report(self.terminal, &report)?;
        }
        Ok(serde_json::to_value(&report.clusters)?)
    }
}

/// Bytes of all files below a folder; what cannot be read counts as nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => folder_bytes(&entry.path()),
            Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |m| m.len()),
            _ => 0,
        })
        .sum()
}
