//! `anser eval retrieval`: how well vector, keyword and hybrid search find what is relevant, side by side.

use std::path::PathBuf;

use anser_engine::{
    Engine, Estimate, LabelledQuestion, MethodFigures, RetrievalEvaluation, RetrievalMethod, RetrievalOptions,
    RetrievalTestSet, replace_file,
};
use clap::Args;

use super::{QUESTIONS_HELP, SHOWN_MISSES};
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::Terminal;

/// How a file of queries looks.
const QUERIES_HELP: &str = "JSON lines with id (or _id), text (or question) and perhaps embedding, or lines of id, tab \
    and text. Goes with --qrels";

/// How a file of judgements looks.
const QRELS_HELP: &str = "Which document is how relevant to which query: TREC's four columns (query, iteration, \
    document, grade), three columns with tabs (query-id, corpus-id, score), or JSON lines with query_id, document_id and \
    relevance. A grade of 0 or less is not relevant";

/// Arguments of `anser eval retrieval`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("asked").args(["questions", "queries"]).required(true))]
pub(crate) struct RetrievalArgs {
    /// Collection to search
    #[arg(long, short)]
    collection: String,
    /// JSONL of questions with the documents that answer them, instead of --queries and --qrels
    #[arg(long, value_name = "FILE", long_help = QUESTIONS_HELP, conflicts_with_all = ["queries", "qrels"])]
    questions: Option<PathBuf>,
    /// Queries: JSON lines, or id, tab and text
    #[arg(long, value_name = "FILE", long_help = QUERIES_HELP, requires = "qrels")]
    queries: Option<PathBuf>,
    /// Judgements: TREC, BEIR or JSON lines
    #[arg(long, value_name = "FILE", long_help = QRELS_HELP, requires = "queries")]
    qrels: Option<PathBuf>,
    #[command(flatten)]
    how: MeasureArgs,
}

/// What is measured.
#[derive(Debug, Args)]
struct MeasureArgs {
    /// Documents that recall looks at
    #[arg(long, default_value_t = 10)]
    k: usize,
    /// What is compared: vector, keyword, hybrid, hybrid+rerank, divided by commas [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_method)]
    methods: Option<Vec<RetrievalMethod>>,
    /// Measure on so many queries, drawn at random [default: all]
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Choose the collection's fusion and rerank depth on one half of the queries, check them on the other half, and keep
    /// what is better beyond chance
    #[arg(long)]
    tune: bool,
    /// Draws samples, halves and resamples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also draw the figures into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Also list the queries whose documents the best way of searching missed
    #[arg(long)]
    misses: bool,
}

fn parse_method(text: &str) -> Result<RetrievalMethod, String> {
    let names = || RetrievalMethod::ALL.map(RetrievalMethod::name).join(", ");
    RetrievalMethod::parse(text.trim()).ok_or_else(|| format!("use some of {}", names()))
}

impl RetrievalArgs {
    pub(super) fn run(&self, engine: &Engine, terminal: &Terminal) -> Result<(), Failure> {
        let set = match (&self.questions, &self.queries, &self.qrels) {
            (Some(questions), ..) => RetrievalTestSet::of_questions(&LabelledQuestion::read_jsonl(questions)?),
            (None, Some(queries), Some(qrels)) => RetrievalTestSet::read(queries, qrels)?,
            _ => return Err(Failure::usage("give --queries with --qrels, or --questions")),
        };
        let how = &self.how;
        let options = RetrievalOptions {
            k: how.k,
            methods: how.methods.clone().unwrap_or_else(|| RetrievalMethod::ALL.to_vec()),
            sample: how.sample,
            tune: how.tune,
            seed: how.seed,
        };
        let (progress, cancel) = (terminal.progress(), interrupt::cancel_on_interrupt());
        let found = engine.evaluate_retrieval(&self.collection, &set, &options, progress.as_ref(), &cancel)?;
        if let Some(path) = &how.plot {
            replace_file(path, |out| std::io::Write::write_all(out, found.plot().as_bytes()))?;
        }
        if terminal.is_json() { terminal.json(&found) } else { print(terminal, &found, how.misses) }
    }
}

fn print(terminal: &Terminal, found: &RetrievalEvaluation, misses: bool) -> Result<(), Failure> {
    let recall = format!("recall@{}", found.k);
    let header = ["", "nDCG@10", &recall, "MRR@10", "MAP", "mean", "95 % within", "nDCG to the best"];
    let rows = found.methods.iter().map(|figures| {
        [
            figures.method.name().to_owned(),
            estimate(&figures.ndcg_at_10),
            estimate(&figures.recall_at_k),
            estimate(&figures.mrr_at_10),
            estimate(&figures.map),
            milliseconds(figures.mean_ms),
            milliseconds(figures.p95_ms),
            against_best(found, figures),
        ]
    });
    terminal.table(header, rows.collect())?;
    terminal.line(format!(
        "{} queries; ± is half of the 95 % interval. {}",
        found.queries,
        if found.tuning.is_some() { "None of them took part in the choice of settings." } else { "" }
    ))?;
    for sentence in found.tuning.iter().flat_map(anser_engine::RetrievalTuning::sentences) {
        terminal.line(sentence)?;
    }
    for remark in found.remarks.sentences().iter().chain(&found.left_out) {
        terminal.line(format!("note: {remark}"))?;
    }
    if misses { print_misses(terminal, found) } else { Ok(()) }
}

fn print_misses(terminal: &Terminal, found: &RetrievalEvaluation) -> Result<(), Failure> {
    let Some(best) = found.methods.iter().find(|figures| figures.method == found.best) else { return Ok(()) };
    for miss in best.misses.iter().take(SHOWN_MISSES) {
        let (missing, seen) = (miss.missing.join(", "), super::ids(&miss.found));
        terminal.line(format!("  missed {}: {}\n    wanted {missing}; found {seen}", miss.id, miss.query))?;
    }
    super::hidden(terminal, best.misses.len())
}

fn against_best(found: &RetrievalEvaluation, figures: &MethodFigures) -> String {
    let Some(comparison) = found.comparisons.iter().find(|comparison| comparison.method == figures.method) else {
        return "the best".to_owned();
    };
    let (difference, p) = (-comparison.test.difference.mean, comparison.test.p_value);
    match (comparison.within_noise, p < 0.001) {
        (true, _) => format!("{difference:+.3}, within noise"),
        (false, true) => format!("{difference:+.3}, p < 0.001"),
        (false, false) => format!("{difference:+.3}, p = {p:.3}"),
    }
}

fn estimate(value: &Estimate) -> String {
    format!("{:.3} ± {:.3}", value.mean, (value.high - value.low) / 2.0)
}

fn milliseconds(value: f64) -> String {
    if value < 10.0 { format!("{value:.1} ms") } else { format!("{value:.0} ms") }
}
