//! `anser eval`: how good retrieval and answers are, on questions whose answers are known.

mod clusters;
mod few_shot;
mod moderation;
mod retrieval;
pub(crate) mod tuned;

use std::path::PathBuf;

use anser_engine::{AnswerEvaluation, LabelledQuestion};
use clap::{Args, Subcommand};

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::{Terminal, snippet};

/// How a file of questions looks.
const QUESTIONS_HELP: &str = "JSONL, one question a line: {\"id\": \"q-1\", \"question\": \"…\", \"answers\": [ids of \
    documents that answer it], \"key_fact\": [texts, one of which an answer must hold]}. A question without answers is \
    one that the collection cannot answer";

/// Misses that are printed; all of them are in the JSON.
const SHOWN_MISSES: usize = 30;

/// Subcommands of `anser eval`.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  anser eval retrieval --collection shop-faq --questions examples/data/questions.jsonl\n  anser eval retrieval --collection wiki --queries queries.jsonl --qrels qrels.tsv --tune\n  anser eval answers --collection shop-faq --questions examples/data/questions.jsonl --json\n  anser eval answers --tuned ft:… --heldout heldout.jsonl\n  anser eval answers --tuned ft:… --heldout heldout.jsonl --collection shop-faq --each\n  anser eval moderation --examples examples/data/moderation/held_out.jsonl\n  anser eval clusters labelled.csv --truth category\n  anser eval few-shot train.csv test.csv --label category"
)]
pub(crate) enum EvalCommand {
    /// Recall, MRR, nDCG and MAP of vector, keyword and hybrid search, with and without the reranker
    Retrieval(retrieval::RetrievalArgs),
    /// Key facts, citations and abstentions of the answers written; with --tuned, a tuned model against its base
    Answers(AnswerArgs),
    /// Agreement of clusters with known labels, over several seeds
    Clusters(clusters::ClustersArgs),
    /// Accuracy of a classifier that has seen a few examples of each class
    FewShot(few_shot::FewShotArgs),
    /// Precision and recall of the content filter
    Moderation(moderation::ModerationArgs),
}

/// Arguments of `anser eval answers`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("asked").args(["questions", "heldout"]).required(true))]
pub(crate) struct AnswerArgs {
    /// Collection to ask; with --tuned it adds the two arms with retrieval
    #[arg(long, short, required_unless_present = "tuned")]
    collection: Option<String>,
    /// JSONL of questions; a question without answers is one that the collection cannot answer
    #[arg(long, value_name = "FILE", long_help = QUESTIONS_HELP, conflicts_with = "tuned")]
    questions: Option<PathBuf>,
    #[command(flatten)]
    tuned: tuned::TunedArgs,
}

impl EvalCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let progress = terminal.progress();
        let engine = || compose::engine(settings, progress.clone());
        match self {
            Self::Retrieval(args) => args.run(engine()?.as_ref(), terminal),
            Self::Answers(AnswerArgs { collection: Some(collection), questions: Some(questions), .. }) => {
                let questions = LabelledQuestion::read_jsonl(questions)?;
                let cancel = interrupt::cancel_on_interrupt();
                let found = engine()?.evaluate_answers(collection, &questions, progress.as_ref(), &cancel)?;
                if terminal.is_json() { terminal.json(&found) } else { print_answers(terminal, &found) }
            }
            Self::Answers(args) => args.tuned.run(engine()?.as_ref(), args.collection.as_deref(), terminal),
            Self::Moderation(args) => args.run(engine()?.as_ref(), terminal),
            Self::Clusters(args) => args.run(settings, terminal),
            Self::FewShot(args) => args.run(settings, terminal),
        }
    }
}

fn print_answers(terminal: &Terminal, found: &AnswerEvaluation) -> Result<(), Failure> {
    let unanswerable = found.questions - found.answerable;
    let rows = vec![
        [
            "answers with the key fact".to_owned(),
            format!("{} of {} ({:.1} %)", found.with_key_fact, found.key_facts, found.key_fact_rate * 100.0),
        ],
        ["answerable, but declined".to_owned(), format!("{} of {}", found.abstained_answerable, found.answerable)],
        ["unanswerable and declined".to_owned(), format!("{} of {unanswerable}", found.abstained_unanswerable)],
        ["answers with a citation".to_owned(), format!("{} of {}", found.answered_with_citation, found.answered)],
        ["citations outside the context".to_owned(), found.invalid_citations.to_string()],
        ["cited from a right document".to_owned(), format!("{} of {}", found.cited_right_document, found.answered)],
        ["time per answer".to_owned(), format!("{:.1} s, at most {:.1} s", found.mean_seconds, found.max_seconds)],
    ];
    terminal.table(["measure", "value"], rows)?;
    if let Some(text) = &found.text {
        terminal.line(format!(
            "against {} reference answers: exact match {:.2}, token F1 {:.2}, BLEU {:.1}, ROUGE-1 {:.2}, ROUGE-2 {:.2}, \
             ROUGE-L {:.2}",
            text.questions, text.exact_match, text.token_f1, text.bleu, text.rouge_1, text.rouge_2, text.rouge_l
        ))?;
    }
    for miss in found.misses.iter().take(SHOWN_MISSES) {
        terminal.line(format!(
            "  missed {} ({:?}): {}\n    wanted {} from {}; got: {}",
            miss.id,
            miss.kind,
            miss.question,
            miss.key_fact.first().map_or("a refusal", String::as_str),
            ids(&miss.expected),
            snippet(&miss.answer, 200)
        ))?;
    }
    hidden(terminal, found.misses.len())
}

fn ids(documents: &[anser_core::DocumentId]) -> String {
    documents.iter().map(anser_core::DocumentId::as_str).collect::<Vec<_>>().join(", ")
}

fn hidden(terminal: &Terminal, misses: usize) -> Result<(), Failure> {
    match misses.saturating_sub(SHOWN_MISSES) {
        0 => Ok(()),
        more => terminal.line(format!("  … and {more} more misses; --json lists them all")),
    }
}
