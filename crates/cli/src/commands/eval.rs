//! `anser eval`: how good retrieval and answers are, on questions whose answers are known.

use std::path::PathBuf;

use anser_engine::{AnswerEvaluation, LabelledQuestion, RetrievalEvaluation, read_questions};
use clap::{Args, Subcommand};

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::{Terminal, snippet};

/// Misses that are printed; all of them are in the JSON.
const SHOWN_MISSES: usize = 30;

/// Subcommands of `anser eval`.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  anser eval retrieval --collection shop-faq --questions examples/data/questions.jsonl\n  anser eval answers --collection shop-faq --questions examples/data/questions.jsonl --json"
)]
pub(crate) enum EvalCommand {
    /// Recall, MRR and nDCG of the passages found
    Retrieval(RetrievalArgs),
    /// Key facts, citations and abstentions of the answers written
    Answers(QuestionArgs),
}

/// Where questions come from and what they are asked of.
#[derive(Debug, Args)]
pub(crate) struct QuestionArgs {
    /// Collection to ask
    #[arg(long, short)]
    collection: String,
    /// JSONL of {"id", "question", "answers": [document ids], "key_fact": [texts]}; no answers means unanswerable
    #[arg(long, value_name = "FILE")]
    questions: PathBuf,
}

/// Arguments of `anser eval retrieval`.
#[derive(Debug, Args)]
pub(crate) struct RetrievalArgs {
    #[command(flatten)]
    from: QuestionArgs,
    /// Hits that count
    #[arg(long, default_value_t = 5)]
    k: usize,
    /// Reorder the hits with the cross-encoder first
    #[arg(long)]
    rerank: bool,
}

impl EvalCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let from = match self {
            Self::Retrieval(args) => &args.from,
            Self::Answers(args) => args,
        };
        let questions: Vec<LabelledQuestion> = read_questions(&from.questions)?;
        let progress = terminal.progress();
        let engine = compose::engine(settings, progress.clone())?;
        let cancel = interrupt::cancel_on_interrupt();
        match self {
            Self::Retrieval(args) => {
                let found = engine.evaluate_retrieval(
                    &from.collection,
                    &questions,
                    args.k,
                    args.rerank,
                    progress.as_ref(),
                    &cancel,
                )?;
                if terminal.is_json() { terminal.json(&found) } else { print_retrieval(terminal, &found) }
            }
            Self::Answers(_) => {
                let found = engine.evaluate_answers(&from.collection, &questions, progress.as_ref(), &cancel)?;
                if terminal.is_json() { terminal.json(&found) } else { print_answers(terminal, &found) }
            }
        }
    }
}
