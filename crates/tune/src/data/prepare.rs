//! From a file that somebody has to a file that a model can be tuned on: read, check, mend with consent, split.

use std::path::{Path, PathBuf};

use anser_core::{CancelToken, ChatMessage, Embedder, Progress, Role};

use super::checks::{
    Check, CheckContext, CommonPrefixes, ContradictoryAnswers, ExactDuplicates, LabelBalance, LabelSpelling, Leakage,
    LegacyLayout, NearDuplicates, Neighbours, OffensiveText, OverlongExamples, PersonalData, Refusals, SystemMessages,
    TooFew, TurnOrder, UpperCase, run_all,
};
use super::dataset::{Dataset, Row};
use super::dialogue::{Dialogue, Finding, ProposedMend, Severity, count};
use super::example::{TrainingExample, TrainingFormat};
use super::fields::read_example;
use super::json::Json;
use super::prepared::{PreparedDataset, Provenance};
use super::report::SplitReport;
use super::shape::{ColumnNames, Shaped, become_chat, shape_rows};
use super::source::{SourceFormat, read_source};
use super::split::hold_out;
use super::tokens::TokenCounter;
use crate::TuneError;

/// Examples from which a tenth is enough to measure on; below, a fifth is held out.
const TENTH_FROM: usize = 500;

/// Shape of the prepared lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputShape {
    /// Chats, also of prompts with completions.
    #[default]
    Chat,
    /// Prompts with completions stay what they are, for models that are asked through completions.
    Original,
}

/// How a file is prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareOptions {
    /// What kind of file it is; `None` looks at its name and its first bytes.
    pub format: Option<SourceFormat>,
    /// Columns of question and answer, where they are not recognised by name.
    pub columns: ColumnNames,
    /// System message for examples that have none.
    pub system: Option<String>,
    /// Shape of the prepared lines.
    pub shape: OutputShape,
    /// Tokens that training reads of one example; longer ones are a finding.
    pub max_tokens: usize,
    /// Share to hold out for validation, in [0, 0.5]; `None` is a fifth below 500 examples and a tenth from there. At
    /// most 1000 examples are held out.
    pub validation_share: Option<f64>,
    /// A file to measure on, of any format; then nothing is held out.
    pub validation_file: Option<PathBuf>,
    /// Draws the validation part.
    pub seed: u64,
}

impl Default for PrepareOptions {
    fn default() -> Self {
        Self {
            format: None,
            columns: ColumnNames::default(),
            system: None,
            shape: OutputShape::Chat,
            max_tokens: 2048,
            validation_share: None,
            validation_file: None,
            seed: 42,
        }
    }
}

/// Scores texts by how offensive they are, each in [0, 1].
pub type OffensiveScores<'a> = dyn Fn(&[String]) -> anser_core::Result<Vec<f32>> + 'a;

/// What preparation may use. A check whose tool is missing is skipped with a note.
#[derive(Clone, Copy)]
pub struct PrepareTools<'a> {
    /// Finds questions that mean nearly the same.
    pub embedder: Option<&'a dyn Embedder>,
    /// Counts tokens, such as a model's `ChatCodec`.
    pub tokens: Option<&'a dyn TokenCounter>,
    /// The content filter.
    pub offensive: Option<&'a OffensiveScores<'a>>,
    /// Watches.
    pub progress: &'a dyn Progress,
    /// Asks to stop.
    pub cancel: &'a CancelToken,
}

/// Reads `source`, checks it, and splits it. `ask` decides on each proposed mend; answering `true` to all is right for
/// most data. Nothing is written: that is [`PreparedDataset::write`].
///
/// # Errors
///
/// `InvalidInput` when the file cannot be understood, gives fewer than ten examples, or needs a mend that was refused;
/// `Cancelled`; what the tools fail with; `Io`.
pub fn prepare(
    source: &Path,
    options: &PrepareOptions,
    tools: &PrepareTools<'_>,
    ask: &mut dyn FnMut(&ProposedMend) -> bool,
) -> Result<PreparedDataset, TuneError> {
    check_options(options)?;
    let mut dialogue = Dialogue::new(source, ask);
    let (mut data, source_format, format) = read_all(source, options, &mut dialogue)?;
    let rows_read = data.rows.len();
    if let Some(system) = &options.system {
        data.rows.iter_mut().for_each(|row| add_system(row, system));
    }
    let chat = options.shape == OutputShape::Chat || format != TrainingFormat::PromptCompletion;
    let none = Neighbours::default();
    let before = CheckContext { tools, neighbours: &none };
    let layout: [&dyn Check; 2] = [&PersonalData, &LegacyLayout { chat }];
    run_all(&layout, &mut data, &before, &mut dialogue)?;
    if chat {
        data.rows.iter_mut().for_each(become_chat);
        if let Some(system) = &options.system {
            data.rows.iter_mut().for_each(|row| add_system(row, system));
        }
    }
    let wording: [&dyn Check; 6] =
        [&CommonPrefixes { chat }, &UpperCase, &LabelSpelling, &TurnOrder, &SystemMessages, &ExactDuplicates];
    run_all(&wording, &mut data, &before, &mut dialogue)?;
    drop_unusable(&mut data, &mut dialogue)?;
    let neighbours = match tools.embedder {
        Some(embedder) => Neighbours::find(&data, embedder, tools)?,
        None => none,
    };
    let context = CheckContext { tools, neighbours: &neighbours };
    let overlong = OverlongExamples { max_tokens: options.max_tokens };
    let meaning: [&dyn Check; 8] = [
        &Leakage,
        &ContradictoryAnswers,
        &NearDuplicates,
        &OffensiveText,
        &overlong,
        &Refusals,
        &LabelBalance,
        &TooFew,
    ];
    run_all(&meaning, &mut data, &context, &mut dialogue)?;
    let split = split(&mut data, &neighbours, options, &mut dialogue);
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let provenance = Provenance {
        source: name,
        source_format,
        rows_read,
        split,
        findings: dialogue.findings,
        mends: dialogue.mends,
    };
    PreparedDataset::new(data, provenance, tools.tokens)
}

fn check_options(options: &PrepareOptions) -> Result<(), TuneError> {
    if options.validation_share.is_some_and(|share| !(0.0..=0.5).contains(&share)) {
        return Err(TuneError::hyperparameter("validation_share", "must lie between 0 and 0.5"));
    }
    if options.max_tokens == 0 {
        return Err(TuneError::hyperparameter("max_tokens", "must be at least 1"));
    }
    Ok(())
}

/// The rows of the source and of the validation file, their kinds being the same.
fn read_all(
    path: &Path,
    options: &PrepareOptions,
    dialogue: &mut Dialogue<'_>,
) -> Result<(Dataset, SourceFormat, TrainingFormat), TuneError> {
    let source = read_source(path, options.format, dialogue)?;
    let source_format = source.format;
    let Shaped { mut rows, mut format } = shape_rows(&source, &options.columns, 0, false, dialogue)?;
    if let Some(validation) = &options.validation_file {
        let (held_out, kind) = dialogue.about(validation, |dialogue| -> Result<_, TuneError> {
            let source = read_source(validation, None, dialogue)?;
            let shaped = shape_rows(&source, &options.columns, rows.len(), true, dialogue)?;
            let preference = |format| format == TrainingFormat::Preference;
            if preference(shaped.format) != preference(format) {
                let reason = format!(
                    "the validation file is {}, but the training file is {}; use the same kind",
                    shaped.format.as_str(),
                    format.as_str()
                );
                return Err(dialogue.refuse(reason));
            }
            Ok((shaped.rows, shaped.format))
        })?;
        rows.extend(held_out);
        if kind != format {
            rows.iter_mut().for_each(become_chat);
            format = TrainingFormat::Chat;
        }
    }
    Ok((Dataset { rows }, source_format, format))
}

fn add_system(row: &mut Row, system: &str) {
    if row.system().is_some() {
        return;
    }
    let message = ChatMessage::new(Role::System, system);
    match &mut row.example {
        TrainingExample::Chat { turns } => turns.insert(0, (message, false)),
        TrainingExample::Preference { prompt, .. } => prompt.insert(0, message),
        TrainingExample::PromptCompletion { .. } => {}
    }
}

/// Every prepared line must be one that the strict reader takes; mends and conversions may have emptied a text.
fn drop_unusable(data: &mut Dataset, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
    let reads =
        |row: &Row| Json::parse(row.example.to_json_line().as_bytes()).is_ok_and(|json| read_example(&json).is_ok());
    let bad: Vec<&Row> = data.rows.iter().filter(|row| !reads(row)).collect();
    if bad.is_empty() {
        return Ok(());
    }
    let explanation = format!(
        "{} a question or an answer once separators and white space are taken off.",
        if bad.len() == 1 { "1 example lacks".to_owned() } else { format!("{} examples lack", bad.len()) }
    );
    let finding = Finding::new("missing_fields", Severity::Error, explanation).at_rows(bad.iter().copied());
    dialogue.require(finding, format!("Leave out {}", count(bad.len(), "example")), None)?;
    data.retain(reads);
    Ok(())
}

/// Marks the rows that are held out.
fn split(
    data: &mut Dataset,
    neighbours: &Neighbours,
    options: &PrepareOptions,
    dialogue: &mut Dialogue<'_>,
) -> SplitReport {
    let all = data.rows.len();
    let share_of = |held_out: usize| held_out as f64 / all.max(1) as f64;
    if options.validation_file.is_some() {
        let held_out = data.rows.iter().filter(|row| row.validation).count();
        return SplitReport { seed: None, stratified_by: None, share: share_of(held_out) };
    }
    let share = options.validation_share.unwrap_or(if all < TENTH_FROM { 0.2 } else { 0.1 });
    let (held_out, strata) = hold_out(data, neighbours, share, options.seed);
    for row in &mut data.rows {
        row.validation = held_out.contains(&row.id);
    }
    if held_out.is_empty() && share > 0.0 {
        let explanation =
            "Nothing could be held out to measure on: there are too few examples, or all ask nearly the same.";
        dialogue.note(Finding::new("no_validation", Severity::Warning, explanation));
    }
    SplitReport {
        seed: Some(options.seed),
        stratified_by: Some(strata.as_str().to_owned()),
        share: share_of(held_out.len()),
    }
}
