//! `anser tune prepare`: from a file that somebody has to a file that a model can be tuned on.

use std::cell::RefCell;
use std::io::{IsTerminal, stderr, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::{
    CancelToken, ChatMessage, ContextPassage, Embedder, ErrorKind, Hyperparameters, Objective, Progress, ProgressUnit,
    TrainableParts, Trainer, TrainingRequest,
};
use anser_engine::{Engine, abstention_text, grounded_messages, numbered_passages};
use anser_generate::{BaseModel, ChatCodec};
use anser_tune::data::{
    ColumnNames, Finding, GroundOptions, GroundedContext, OutputShape, PrepareOptions, PrepareTools, PreparedDataset,
    PreparedFiles, ProposedMend, RunEstimate, prepare,
};
use clap::Args;
use dialoguer::Confirm;

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::{Terminal, snippet};

/// Characters shown of a text before and after a mend.
const SNIPPET: usize = 100;
/// Longest name of a prepared file.
const MAX_NAME: usize = 48;

/// Arguments of `anser tune prepare`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anser tune prepare examples/data/legacy_prompts.jsonl\n  anser tune prepare questions.xlsx --question-field Question --answer-field Answer --yes --out prepared\n  anser tune prepare pairs.csv --with-context shop-faq --missing-share 0.2 --yes\n\nReads JSONL, JSON, CSV, TSV and spreadsheets: prompts with completions, chats, preferences, or columns of questions\nand answers. Each mend is proposed before it is made; --yes accepts them all."
)]
pub(crate) struct PrepareArgs {
    /// The data that you have
    file: PathBuf,
    /// Folder for the prepared files and report.json
    #[arg(long, value_name = "DIR", default_value = "prepared")]
    out: PathBuf,
    /// Accept every mend without asking
    #[arg(long, short)]
    yes: bool,
    /// Data to measure on, of any format; without it a part of the data is held out
    #[arg(long, value_name = "FILE")]
    validation_file: Option<PathBuf>,
    /// Share to hold out, 0 to 0.5 [default: 0.2, from 500 examples on 0.1]
    #[arg(long, value_name = "SHARE", conflicts_with = "validation_file")]
    validation_share: Option<f64>,
    /// Column of the question [default: recognised by its name]
    #[arg(long, value_name = "NAME")]
    question_field: Option<String>,
    /// Column of the answer [default: recognised by its name]
    #[arg(long, value_name = "NAME")]
    answer_field: Option<String>,
    /// System message for examples that have none
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Keep prompts with completions as they are instead of making chats of them
    #[arg(long)]
    keep_prompts: bool,
    /// Model that the data are for: its tokenizer counts, its size decides time and memory [default: the chat model]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Longest example in tokens
    #[arg(long, value_name = "N", default_value_t = 2048)]
    max_tokens: usize,
    /// Draws the validation part
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    context: ContextArgs,
}

/// How questions get passages to read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Grounded examples")]
struct ContextArgs {
    /// Show each question with passages of this collection, as answers are asked for
    #[arg(long, value_name = "COLLECTION")]
    with_context: Option<String>,
    /// Share of the examples whose supporting passage is left out and whose answer declines
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, requires = "with_context")]
    missing_share: f64,
    /// Passages beside the supporting one
    #[arg(long, value_name = "N", default_value_t = 1, requires = "with_context")]
    distractors: usize,
}

impl PrepareArgs {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let progress = terminal.progress();
        let cancel = interrupt::cancel_on_interrupt();
        let engine = compose::engine(settings, progress.clone())?;
        let model = self.model.as_deref().unwrap_or(&settings.chat);
        let codec =
            BaseModel::open(&compose::locate(&compose::model_store(settings), model, progress.as_ref())?)?.codec();
        let mut prepared = self.prepared(&engine, &codec, progress.as_ref(), &cancel)?;
        let name = dataset_name(&self.file);
        let files = prepared.write(&self.out, &name)?;
        prepared.report.estimate = Some(estimate(settings, model, &prepared, &files, progress.as_ref())?);
        prepared.write(&self.out, &name)?;
        if terminal.is_json() {
            return terminal.json(&serde_json::json!({
                "training": files.training, "validation": files.validation, "report_file": files.report,
                "report": prepared.report,
            }));
        }
        terminal.line(prepared.report.to_string())?;
        terminal.line(next(&prepared, &files, model, &settings.chat))
    }

    /// Everything but writing.
    fn prepared(
        &self,
        engine: &Engine,
        codec: &ChatCodec,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<PreparedDataset, Failure> {
        let embedder = embedder(engine, progress)?;
        let offensive = |texts: &[String]| Ok(engine.offensive_scores(texts, cancel)?);
        let tools = PrepareTools {
            embedder: embedder.as_deref(),
            tokens: Some(codec),
            offensive: if embedder.is_some() { Some(&offensive) } else { None },
            progress,
            cancel,
        };
        let unasked = RefCell::new(Vec::new());
        let mut ask = |mend: &ProposedMend| {
            if self.yes {
                return true;
            }
            if !(stdin().is_terminal() && stderr().is_terminal()) {
                unasked.borrow_mut().push(format!(
                    "{} ({}{})",
                    mend.action,
                    mend.finding.explanation,
                    lines_of(&mend.finding)
                ));
                return mend.required;
            }
            progress.finish();
            // A prompt that Ctrl-C ends is no answer.
            consent(mend).unwrap_or_else(|_| {
                cancel.cancel();
                false
            })
        };
        let prepared = prepare(&self.file, &self.options(), &tools, &mut ask)?;
        let unasked = unasked.into_inner();
        if !unasked.is_empty() {
            for mend in &unasked {
                eprintln!("proposed: {mend}");
            }
            return Err(Failure::failed(format!(
                "{} needs {} that nobody can be asked about here; pass --yes to accept them, or run this on a terminal",
                self.file.display(),
                if unasked.len() == 1 { "a mend".to_owned() } else { format!("{} mends", unasked.len()) }
            )));
        }
        match &self.context.with_context {
            None => Ok(prepared),
            Some(collection) => self.grounded(prepared, engine, collection, codec, (progress, cancel)),
        }
    }

    fn options(&self) -> PrepareOptions {
        PrepareOptions {
            format: None,
            columns: ColumnNames {
                question: self.question_field.clone(),
                answer: self.answer_field.clone(),
                system: None,
            },
            system: self.system.clone(),
            shape: if self.keep_prompts { OutputShape::Original } else { OutputShape::Chat },
            max_tokens: self.max_tokens,
            validation_share: self.validation_share,
            validation_file: self.validation_file.clone(),
            seed: self.seed,
        }
    }

    /// The same examples, asked as the answer path asks.
    fn grounded(
        &self,
        prepared: PreparedDataset,
        engine: &Engine,
        collection: &str,
        codec: &ChatCodec,
        (progress, cancel): (&dyn Progress, &CancelToken),
    ) -> Result<PreparedDataset, Failure> {
        let all = prepared.training.len() + prepared.validation.len();
        progress.start("finding passages", Some(all as u64), ProgressUnit::Items);
        let mut found = 0;
        let mut context = |question: &str| -> anser_core::Result<GroundedContext> {
            cancel.check()?;
            let context = engine.training_context(collection, question, cancel)?;
            found += 1;
            progress.set(found);
            Ok(GroundedContext {
                passages: numbered_passages(&context.candidates),
                supporting: Vec::new(),
                refusal: Some(abstention_text(question).to_owned()),
            })
        };
        let lay_out =
            |question: &str, passages: &[ContextPassage]| -> Vec<ChatMessage> { grounded_messages(question, passages) };
        let options = GroundOptions {
            distractors: self.context.distractors,
            missing_share: self.context.missing_share,
            refusal: abstention_text("").to_owned(),
            seed: self.seed,
        };
        let grounded = prepared.grounded(&mut context, &lay_out, &options, Some(codec));
        progress.finish();
        Ok(grounded?)
    }
}

/// The embedder, or `None` with a remark where it cannot be had: then meanings are not compared.
fn embedder(engine: &Engine, progress: &dyn Progress) -> Result<Option<Arc<dyn Embedder>>, Failure> {
    match engine.models().embedder() {
        Ok(embedder) => Ok(Some(embedder)),
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            progress.note(&format!("near-duplicates and offensive texts are not looked for: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Where a finding lies, to stand behind its explanation.
fn lines_of(finding: &Finding) -> String {
    let lines: Vec<String> = finding.lines.iter().map(u64::to_string).collect();
    match lines.len() {
        0 => String::new(),
        found if found < finding.count => format!(" Lines {}, …", lines.join(", ")),
        _ => format!(" Lines {}.", lines.join(", ")),
    }
}

/// Shows a mend and asks for consent.
fn consent(mend: &ProposedMend) -> Result<bool, dialoguer::Error> {
    eprintln!("\n{}{}", mend.finding.explanation, lines_of(&mend.finding));
    if let Some((before, after)) = &mend.sample {
        eprintln!("  before: {}\n  after:  {}", snippet(before, SNIPPET), snippet(after, SNIPPET));
    }
    let without = if mend.required { " (without it the data cannot be used)" } else { "" };
    Confirm::new().with_prompt(format!("{}?{without}", mend.action)).default(true).interact()
}

/// What training the written files with usual settings takes on this machine.
fn estimate(
    settings: &Settings,
    model: &str,
    prepared: &PreparedDataset,
    files: &PreparedFiles,
    progress: &dyn Progress,
) -> Result<RunEstimate, Failure> {
    let preference = prepared.report.format == "preference";
    let request = TrainingRequest {
        base: model.to_owned(),
        training_file: files.training.clone(),
        validation_file: files.validation.clone(),
        objective: if preference { Objective::Preference { beta: None } } else { Objective::Supervised },
        parts: TrainableParts::default(),
        hyperparameters: Hyperparameters::default(),
        seed: 0,
        start_from: None,
    };
    let plan = compose::trainer(settings).plan(&request, progress)?;
    Ok(RunEstimate {
        steps: plan.total_steps,
        seconds: plan.estimated_seconds,
        memory_bytes: plan.estimated_memory_bytes,
    })
}

/// The source's name without its ending, made of what file names may hold everywhere.
fn dataset_name(source: &Path) -> String {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    let safe = stem.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' });
    let name: String = safe.take(MAX_NAME).collect();
    let name = name.trim_matches(['-', '_']);
    if name.is_empty() { "data".to_owned() } else { name.to_owned() }
}

/// The command to type next.
fn next(prepared: &PreparedDataset, files: &PreparedFiles, model: &str, usual: &str) -> String {
    let validation = files.validation.as_ref().map(|path| format!(" --validation-file {}", path.display()));
    let method = if prepared.report.format == "preference" { " --method dpo" } else { "" };
    let model = if model == usual { String::new() } else { format!(" --model {model}") };
    let training = files.training.display();
    format!("Next: anser tune create {training}{}{method}{model}", validation.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::dataset_name;
    use std::path::Path;

    #[test]
    fn a_name_is_made_of_what_every_system_allows() {
        for (source, name) in
            [("a/My data (1).xlsx", "My-data--1"), ("问答.csv", "data"), ("..", "data"), ("x.jsonl", "x")]
        {
            assert_eq!(dataset_name(Path::new(source)), name);
        }
    }
}
