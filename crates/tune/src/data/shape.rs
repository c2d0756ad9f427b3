//! Which fields of a row are the question and the answer, and the examples that come of it.

use std::collections::{BTreeMap, BTreeSet};

use anser_core::Role;

use super::conversation::{Changes, ROLE_FIELDS, tidy};
use super::dataset::Row;
use super::dialogue::{Dialogue, Finding, Severity, count};
use super::example::{TrainingExample, TrainingFormat};
use super::fields::{Fault, read_example, shown};
use super::json::Json;
use super::source::{RawRow, Source};
use crate::TuneError;

/// Columns that the caller names instead of leaving them to be recognised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnNames {
    /// Column of the question.
    pub question: Option<String>,
    /// Column of the answer.
    pub answer: Option<String>,
    /// Column of the system message.
    pub system: Option<String>,
}

/// Names of question and answer columns that are recognised, likeliest first; case, spaces and underscores do not matter.
const PAIRS: [(&str, &str); 30] = [
    ("question", "answer"),
    ("questions", "answers"),
    ("input_text", "output_text"),
    ("instruction", "response"),
    ("instruction", "output"),
    ("instruction", "answer"),
    ("query", "response"),
    ("query", "answer"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("user", "assistant"),
    ("human", "assistant"),
    ("input", "output"),
    ("input", "target"),
    ("source", "target"),
    ("q", "a"),
    ("text", "label"),
    ("text", "category"),
    ("sentence", "label"),
    ("utterance", "intent"),
    ("text", "intent"),
    ("review", "sentiment"),
    ("text", "sentiment"),
    ("问题", "答案"),
    ("问题", "回答"),
    ("提问", "回答"),
    ("问", "答"),
    ("frage", "antwort"),
    ("pregunta", "respuesta"),
];

/// Columns of a system message that are recognised.
const SYSTEM: [&str; 3] = ["system", "system_prompt", "system_message"];

/// How a row becomes an example.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    /// A list of messages in the named field.
    Messages(String),
    /// `input`, `preferred_output`, `non_preferred_output`.
    Preference,
    /// A question with a better and a worse answer, by field.
    Choice { question: String, chosen: String, rejected: String },
    /// Text and continuation.
    PromptCompletion { prompt: String, completion: String },
    /// Question and answer, by field; `detail` is added to the question.
    Pair { question: String, answer: String, detail: Option<String> },
}

impl Shape {
    fn fields(&self) -> Vec<&str> {
        match self {
            Self::Messages(name) => vec![name],
            Self::Preference => vec!["input", "preferred_output", "non_preferred_output"],
            Self::Choice { question, chosen, rejected } => vec![question, chosen, rejected],
            Self::PromptCompletion { prompt, completion } => vec![prompt, completion],
            Self::Pair { question, answer, .. } => vec![question, answer],
        }
    }

    fn detail(&self) -> Option<&str> {
        match self {
            Self::Pair { detail, .. } => detail.as_deref(),
            _ => None,
        }
    }

    fn format(&self) -> TrainingFormat {
        match self {
            Self::Messages(_) | Self::Pair { .. } => TrainingFormat::Chat,
            Self::Preference | Self::Choice { .. } => TrainingFormat::Preference,
            Self::PromptCompletion { .. } => TrainingFormat::PromptCompletion,
        }
    }
}

/// Examples of one file.
#[derive(Debug)]
pub(super) struct Shaped {
    pub(super) rows: Vec<Row>,
    /// The format that most rows have.
    pub(super) format: TrainingFormat,
}

/// Makes examples of all rows that are whole; the others are left out with consent. Ids begin at `first_id`.
pub(super) fn shape_rows(
    source: &Source,
    names: &ColumnNames,
    first_id: usize,
    validation: bool,
    dialogue: &mut Dialogue<'_>,
) -> Result<Shaped, TuneError> {
    let columns = columns_of(&source.rows);
    let mut shapes = shapes_of(&columns, names).map_err(|reason| dialogue.refuse(reason))?;
    if names.question.is_none() && names.answer.is_none() {
        shapes.splice(0..0, titled_answers(&source.rows, &columns));
    }
    let Some(main) = most_common(&source.rows, &shapes) else {
        return Err(dialogue.refuse(unrecognised(&columns, source)));
    };
    let format = main.format();
    let system = match &names.system {
        Some(name) => find(&columns, &[key_of(name).as_str()]),
        None => find(&columns, &SYSTEM),
    };
    let mut reader = RowReader { system, tabular: source.tabular, ..RowReader::default() };
    let mut used: BTreeSet<String> = reader.system.iter().cloned().chain(main.detail().map(str::to_owned)).collect();
    let mut rows = Vec::with_capacity(source.rows.len());
    let both_pairs = |shape: &Shape| matches!((&main, shape), (Shape::Pair { .. }, Shape::Pair { .. }));
    for row in &source.rows {
        // A row that lacks a field of the main shape may be whole in another one, but other columns are no other shape.
        let others = shapes.iter().filter(|shape| !both_pairs(shape));
        let shape = std::iter::once(&main).chain(others).find(|shape| is_whole(row, shape)).unwrap_or(&main);
        used.extend(shape.fields().into_iter().map(str::to_owned));
        if let Some(example) = reader.read(row, shape) {
            rows.push(Row { id: first_id + rows.len(), line: row.line, validation, example });
        }
    }
    let extra: Vec<String> = columns.iter().filter(|name| !used.contains(*name)).map(|name| shown(name)).collect();
    reader.settle(validation, dialogue)?;
    if rows.is_empty() {
        return Err(dialogue.refuse("no row of the file makes an example; correct the rows named above"));
    }
    note_extra(&main, &extra, dialogue);
    let format = one_format(&mut rows, format, dialogue)?;
    Ok(Shaped { rows, format })
}

/// All field names, in order of appearance.
fn columns_of(rows: &[RawRow]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut columns = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.fields) {
        if seen.insert(name.as_str()) {
            columns.push(name.clone());
        }
    }
    columns
}

fn key_of(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}

/// The column that has one of these names.
fn find(columns: &[String], names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| columns.iter().find(|column| key_of(column) == *name)).cloned()
}

/// The shapes that the columns allow, likeliest first.
fn shapes_of(columns: &[String], names: &ColumnNames) -> Result<Vec<Shape>, String> {
    let named = |wanted: &Option<String>| match wanted {
        None => Ok(None),
        Some(name) => columns
            .iter()
            .find(|column| *column == name)
            .or_else(|| columns.iter().find(|column| key_of(column) == key_of(name)))
            .cloned()
            .map(Some)
            .ok_or_else(|| format!("the file has no column \"{}\"; it has {}", shown(name), listed(columns))),
    };
    let (question, answer) = (named(&names.question)?, named(&names.answer)?);
    named(&names.system)?;
    let column = |names: &[&str]| find(columns, names);
    if let (Some(question), Some(answer)) = (&question, &answer) {
        return Ok(vec![Shape::Pair { question: question.clone(), answer: answer.clone(), detail: None }]);
    }
    let mut shapes = Vec::new();
    if let Some(question) = question {
        let partners = PAIRS.map(|(_, answer)| answer);
        let answer = column(&partners).or_else(|| column(&["completion"]));
        shapes.extend(answer.map(|answer| Shape::Pair { question, answer, detail: None }));
        return Ok(shapes);
    }
    if let Some(answer) = answer {
        let partners = PAIRS.map(|(question, _)| question);
        shapes.extend(column(&partners).map(|question| Shape::Pair { question, answer, detail: None }));
        return Ok(shapes);
    }
    shapes.extend(column(&["messages", "conversations", "conversation"]).map(Shape::Messages));
    if ["input", "preferred_output", "non_preferred_output"].iter().all(|name| columns.iter().any(|c| c == name)) {
        shapes.push(Shape::Preference);
    }
    if let (Some(question), Some(chosen), Some(rejected)) = (
        column(&["prompt", "question", "instruction", "input"]),
        column(&["chosen", "preferred"]),
        column(&["rejected", "non_preferred"]),
    ) {
        shapes.push(Shape::Choice { question, chosen, rejected });
    }
    if let (Some(prompt), Some(completion)) = (column(&["prompt"]), column(&["completion"])) {
        shapes.push(Shape::PromptCompletion { prompt, completion });
    }
    for (question, answer) in PAIRS {
        if let (Some(question), Some(answer)) = (column(&[question]), column(&[answer])) {
            // Instructions may come with the text that they are about.
            let detail = if key_of(&question) == "instruction" { column(&["input", "context"]) } else { None };
            shapes.push(Shape::Pair { question, answer, detail });
        }
    }
    Ok(shapes)
}

/// The likeliest shape in which at least half as many rows are whole as in any other: a likely name with some gaps tells more
/// than an unlikely one without.
fn most_common(rows: &[RawRow], shapes: &[Shape]) -> Option<Shape> {
    let count = |shape: &Shape| rows.iter().filter(|row| is_whole(row, shape)).count();
    let counts: Vec<usize> = shapes.iter().map(count).collect();
    let most = counts.iter().max()?;
    shapes.iter().zip(&counts).find(|(_, count)| **count * 2 >= *most).map(|(shape, _)| shape.clone())
}

fn is_whole(row: &RawRow, shape: &Shape) -> bool {
    shape.fields().iter().all(|name| field(row, name).is_some_and(|value| !is_blank(value)))
}

fn field<'a>(row: &'a RawRow, name: &str) -> Option<&'a Json> {
    row.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn is_blank(value: &Json) -> bool {
    match value {
        Json::Text(text) => text.trim().is_empty(),
        other => other.is_void(),
    }
}

fn listed(columns: &[String]) -> String {
    let names: Vec<String> = columns.iter().take(20).map(|name| format!("\"{}\"", shown(name))).collect();
    if names.is_empty() { "no columns".to_owned() } else { names.join(", ") }
}

fn unrecognised(columns: &[String], source: &Source) -> String {
    format!(
        "no question and answer are recognised among the fields {} of this {} file; say which field is the question and which \
         the answer",
        listed(columns),
        source.format.as_str()
    )
}

fn note_extra(main: &Shape, extra: &[String], dialogue: &mut Dialogue<'_>) {
    if extra.is_empty() {
        return;
    }
    let listed = extra.iter().take(12).map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let taken = match main {
        Shape::Pair { question, answer, .. } => {
            format!("The question is \"{}\" and the answer \"{}\". ", shown(question), shown(answer))
        }
        _ => String::new(),
    };
    let explanation = format!("{taken}Fields that training does not use were left out: {listed}.");
    dialogue.note(Finding::new("extra_fields", Severity::Note, explanation));
}

/// Collections of questions and answers for a help page: titles that ask, and texts.
fn titled_answers(rows: &[RawRow], columns: &[String]) -> Option<Shape> {
    let question = find(columns, &["title", "heading"])?;
    let answer = find(columns, &["text", "content", "body"])?;
    let asks = |row: &&RawRow| matches!(field(row, &question), Some(Json::Text(text)) if text.trim_end().ends_with(['?', '？']));
    let asking = rows.iter().filter(asks).count();
    (asking * 2 > rows.len()).then_some(Shape::Pair { question, answer, detail: None })
}

/// Preferences cannot stand beside other examples, and prompts beside chats become chats. Gives the format of all.
fn one_format(
    rows: &mut Vec<Row>,
    main: TrainingFormat,
    dialogue: &mut Dialogue<'_>,
) -> Result<TrainingFormat, TuneError> {
    let is_preference = |row: &Row| row.example.format() == TrainingFormat::Preference;
    let other_kind: Vec<&Row> =
        rows.iter().filter(|row| is_preference(row) != (main == TrainingFormat::Preference)).collect();
    if !other_kind.is_empty() {
        let explanation = "Preferences and plain examples are trained by different objectives and cannot share a file.";
        let finding = Finding::new("mixed_formats", Severity::Error, explanation).at_rows(other_kind.iter().copied());
        let action = format!("Leave out {} of the rarer kind", count(other_kind.len(), "example"));
        dialogue.require(finding, action, None)?;
        rows.retain(|row| is_preference(row) == (main == TrainingFormat::Preference));
    }
    let other: Vec<&Row> = rows.iter().filter(|row| row.example.format() != main).collect();
    if other.is_empty() {
        return Ok(main);
    }
    let explanation = "The file mixes chats with prompts and completions.";
    let finding = Finding::new("mixed_formats", Severity::Warning, explanation).at_rows(other.iter().copied());
    dialogue.require(finding, "Make chats of all", None)?;
    rows.iter_mut().for_each(become_chat);
    Ok(TrainingFormat::Chat)
}

/// Makes a chat of a prompt with its completion.
pub(super) fn become_chat(row: &mut Row) {
    if let TrainingExample::PromptCompletion { prompt, completion } = &row.example {
        row.example = TrainingExample::question_answer(None, prompt.trim(), completion.trim());
    }
}

/// Reads rows one by one and remembers what was wrong with them.
#[derive(Default)]
struct RowReader {
    system: Option<String>,
    tabular: bool,
    missing: BTreeMap<String, Vec<u64>>,
    faulty: Vec<(u64, Fault)>,
    numbers: Vec<u64>,
    changes: Changes,
}

impl RowReader {
    fn read(&mut self, row: &RawRow, shape: &Shape) -> Option<TrainingExample> {
        for name in shape.fields() {
            if field(row, name).is_none_or(is_blank) {
                self.missing.entry(name.to_owned()).or_default().push(row.line);
                return None;
            }
        }
        let system = self.system.clone().and_then(|name| self.text(row, &name, true));
        let system = system.as_deref().map(str::trim).filter(|text| !text.is_empty());
        match shape {
            Shape::PromptCompletion { prompt, completion } => {
                let (prompt, completion) = (self.text(row, prompt, false)?, self.text(row, completion, false)?);
                Some(TrainingExample::PromptCompletion { prompt, completion })
            }
            Shape::Pair { question, answer, detail } => {
                let detail = detail.as_ref().and_then(|name| self.text(row, name, true));
                let (mut question, answer) = (self.text(row, question, false)?, self.text(row, answer, false)?);
                if let Some(detail) = detail.filter(|text| !text.trim().is_empty()) {
                    question = format!("{}\n\n{}", question.trim(), detail.trim());
                }
                Some(TrainingExample::question_answer(system, question.trim(), answer.trim()))
            }
            Shape::Messages(name) => {
                let messages = self.list(row, name)?;
                let messages = match system {
                    Some(text) if !has_system(&messages) => prepend_system(text, messages),
                    _ => messages,
                };
                self.strict(row.line, vec![("messages".to_owned(), Json::Array(messages))])
            }
            Shape::Preference => {
                let fields = row.fields.iter().filter(|(name, _)| shape.fields().contains(&name.as_str()));
                self.strict(row.line, fields.cloned().collect())
            }
            Shape::Choice { question, chosen, rejected } => {
                let input = self.conversation(row, question, Role::User)?;
                let (preferred, other) = (
                    self.conversation(row, chosen, Role::Assistant)?,
                    self.conversation(row, rejected, Role::Assistant)?,
                );
                // Some collections repeat the question before each answer.
                let last = |mut messages: Vec<Json>| messages.pop().into_iter().collect();
                let fields = vec![
                    ("input".to_owned(), Json::Object(vec![("messages".to_owned(), Json::Array(input))])),
                    ("preferred_output".to_owned(), Json::Array(last(preferred))),
                    ("non_preferred_output".to_owned(), Json::Array(last(other))),
                ];
                self.strict(row.line, fields)
            }
        }
    }

    /// The text of a field; numbers and truth values are written out.
    fn text(&mut self, row: &RawRow, name: &str, optional: bool) -> Option<String> {
        match field(row, name)? {
            Json::Text(text) => Some(text.replace('\0', "")),
            Json::Number(number) => {
                self.numbers.push(row.line);
                Some(number.to_string())
            }
            Json::Bool(value) => {
                self.numbers.push(row.line);
                Some(value.to_string())
            }
            Json::Null => None,
            other => {
                if !optional {
                    let message = format!("the field holds {}; it must be a text", other.kind());
                    self.faulty.push((row.line, Fault { field: Some(name.to_owned()), message }));
                }
                None
            }
        }
    }

    /// A list of messages, which in a table is JSON within a cell.
    fn list(&mut self, row: &RawRow, name: &str) -> Option<Vec<Json>> {
        let value = match field(row, name)? {
            Json::Text(text) if self.tabular => Json::parse(text.as_bytes()),
            other => Ok(other.clone()),
        };
        match value {
            Ok(Json::Array(items)) => Some(items),
            Ok(other) => {
                let message = format!("the field holds {}; it must be a list of messages", other.kind());
                self.faulty.push((row.line, Fault { field: Some(name.to_owned()), message }));
                None
            }
            Err(reason) => {
                let message = format!("the cell is not JSON: {reason}");
                self.faulty.push((row.line, Fault { field: Some(name.to_owned()), message }));
                None
            }
        }
    }

    /// A field that holds messages, or the text of one.
    fn conversation(&mut self, row: &RawRow, name: &str, role: Role) -> Option<Vec<Json>> {
        if matches!(field(row, name), Some(Json::Array(_))) {
            return self.list(row, name);
        }
        let text = self.text(row, name, false)?;
        let message = message_of(role, text.trim());
        Some(vec![message])
    }

    /// Tidies an object of messages and reads it as the wire would.
    fn strict(&mut self, line: u64, fields: Vec<(String, Json)>) -> Option<TrainingExample> {
        let mut object = Json::Object(fields);
        tidy(&mut object, line, &mut self.changes);
        match read_example(&object) {
            Ok(example) => Some(example),
            Err(faults) => {
                self.faulty.extend(faults.into_iter().take(1).map(|fault| (line, fault)));
                None
            }
        }
    }

    /// Tells what was found and asks about the rows that make no example.
    fn settle(&mut self, validation: bool, dialogue: &mut Dialogue<'_>) -> Result<(), TuneError> {
        let place = |mut finding: Finding, lines: &[u64]| {
            finding = finding.at_lines(lines.iter().copied());
            if validation {
                finding.validation_lines = std::mem::take(&mut finding.lines);
            }
            finding
        };
        for (name, lines) in &self.missing {
            let explanation = format!("The field \"{}\" is missing or empty.", shown(name));
            let finding = place(Finding::new("missing_fields", Severity::Error, explanation), lines);
            dialogue.require(finding, format!("Leave out {}", count(lines.len(), "row")), None)?;
        }
        if let Some((line, fault)) = self.faulty.first() {
            let field = fault.field.as_deref().map(|field| format!("{field}: ")).unwrap_or_default();
            let lines: Vec<u64> = self.faulty.iter().map(|(line, _)| *line).collect();
            let explanation = format!(
                "{} no example; the first is line {line}: {field}{}.",
                if lines.len() == 1 { "1 row makes".to_owned() } else { format!("{} rows make", lines.len()) },
                fault.message
            );
            let finding = place(Finding::new("unusable_rows", Severity::Error, explanation), &lines);
            dialogue.require(finding, format!("Leave out {}", count(lines.len(), "row")), None)?;
        }
        self.changes.settle(&place, dialogue)?;
        if !self.numbers.is_empty() {
            let explanation = "Numbers or truth values stand where texts belong; they were written out as texts.";
            dialogue.note(place(Finding::new("numbers_as_text", Severity::Note, explanation), &self.numbers));
        }
        Ok(())
    }
}

fn message_of(role: Role, text: &str) -> Json {
    let role = super::fields::role_name(role);
    Json::Object(vec![
        ("role".to_owned(), Json::Text(role.to_owned())),
        ("content".to_owned(), Json::Text(text.to_owned())),
    ])
}

fn prepend_system(text: &str, messages: Vec<Json>) -> Vec<Json> {
    std::iter::once(message_of(Role::System, text)).chain(messages).collect()
}

fn has_system(messages: &[Json]) -> bool {
    messages.iter().any(|message| {
        let Json::Object(entries) = message else { return false };
        entries.iter().any(|(key, value)| {
            ROLE_FIELDS.contains(&key.as_str())
                && matches!(value, Json::Text(role) if role == "system" || role == "developer")
        })
    })
}
