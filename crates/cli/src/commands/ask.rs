//! `anser ask`: an answer from a collection, with citations.

use anser_core::Answer;
use anser_core::CancelToken;
use anser_engine::{AnswerEvent, AnswerRequest, Engine, EngineError};
use clap::Args;

use super::analysis::parse_condition;
use super::search::note_unknown_keys;
use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::Terminal;

/// Arguments of `anser ask`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser ask faq \"how long can I take to return something?\"\n  anser ask reviews \"do people like the coffee pods?\" --where 'score >= 4' --passages 4 --json\n  anser ask faq --model ft:SmolLM2-135M-Instruct:anser:faq:0198… \"do you ship abroad?\""
)]
pub(crate) struct AskArgs {
    /// Collection to answer from
    collection: String,
    /// The question
    question: String,
    /// Chat model that answers, e.g. a tuned one, `ft:…` [default: the promoted model, else the chat model]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Most passages to show the model
    #[arg(long, value_name = "N")]
    passages: Option<usize>,
    /// Most tokens to write
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// 0 always takes the likeliest word; up to 2
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Repeats a random draw
    #[arg(long)]
    seed: Option<u64>,
    /// Answer only from documents for which this holds, such as `product = "tea"`
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Also show the passages that the model was given
    #[arg(long)]
    show_passages: bool,
}

impl AskArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let request = AnswerRequest {
            question: self.question.clone(),
            model: self.model.clone(),
            passages: self.passages,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            seed: self.seed,
            filter: self.condition.as_deref().map(parse_condition).transpose()?,
            ..AnswerRequest::default()
        };
        let engine = compose::engine(settings, terminal.progress())?;
        if let Some(filter) = &request.filter {
            let explain = engine.collection(&self.collection)?.explain_filter(filter).map_err(EngineError::from)?;
            note_unknown_keys(terminal, Some(&explain));
        }
        let cancel = interrupt::cancel_on_interrupt();
        if terminal.is_json() {
            let answer = engine.answer(&self.collection, &request, &cancel, &mut |_| {})?;
            return terminal.json(&answer);
        }
        let answer = print_answer(&engine, terminal, &self.collection, &request, &cancel)?;
        if self.show_passages {
            terminal.line(terminal.bold("\nPassages"))?;
            for passage in &answer.passages {
                let title = passage.title.as_deref().unwrap_or_default();
                terminal.line(format!("[{}] {} {title}\n    {}", passage.number, passage.document_id, passage.text))?;
            }
        }
        Ok(())
    }
}

/// Asks, prints the answer while it is written, then its citations.
pub(crate) fn print_answer(
    engine: &Engine,
    terminal: &Terminal,
    collection: &str,
    request: &AnswerRequest,
    cancel: &CancelToken,
) -> Result<Answer, Failure> {
    let mut broken = None;
    let answer = engine.answer(collection, request, cancel, &mut |event| {
        if let AnswerEvent::Delta(text) = event
            && let Err(failure) = terminal.piece(text)
        {
            // Nobody reads any more: stop writing.
            cancel.cancel();
            broken.get_or_insert(failure);
        }
    })?;
    if let Some(failure) = broken {
        return Err(failure);
    }
    terminal.line("")?;
    for citation in &answer.citations {
        let title = citation.title.as_deref().map(|t| format!(" {t}")).unwrap_or_default();
        terminal.line(
            terminal.dim(&format!("  [{}] {}{title}: “{}”", citation.number, citation.document_id, citation.quote)),
        )?;
    }
    Ok(answer)
}
