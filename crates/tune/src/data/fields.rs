//! From the JSON object on a line to an example, or to the list of what is wrong with it, each with its field.

use anser_core::{ChatMessage, Role};

use super::example::{TrainingExample, TrainingFormat};
use super::json::Json;

/// Faults of one line that are listed; a line with thousands of them is one mistake.
const MAX_FAULTS: usize = 20;

/// One fault of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Path of the field at fault, such as `messages[1].content`.
    pub(super) field: Option<String>,
    /// One sentence: what is wrong and what to do.
    pub(super) message: String,
}

/// Faults found so far on one line.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(Fault { field: Some(field.into()), message: message.into() });
        }
    }

    fn add_line(&mut self, message: impl Into<String>) {
        self.0.push(Fault { field: None, message: message.into() });
    }
}

/// The fields of one object, looked up by name.
struct Fields<'a> {
    path: &'a str,
    entries: &'a [(String, Json)],
}

impl<'a> Fields<'a> {
    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn get(&self, name: &str) -> Option<&'a Json> {
        self.entries.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Reports fields that are given twice, that nobody knows, or that this software cannot honour.
    fn check_names(&self, known: &[&str], unsupported: &[&str], faults: &mut Faults) {
        for (at, (name, value)) in self.entries.iter().enumerate() {
            let field = self.path_of(&shown(name));
            if self.entries[..at].iter().any(|(earlier, _)| earlier == name) {
                faults.add(field, "the field is given twice; keep one of them");
            } else if unsupported.contains(&name.as_str()) {
                if !value.is_void() {
                    faults.add(field, "tools and function calls cannot be trained here; remove the field");
                }
            } else if !known.contains(&name.as_str()) {
                faults.add(
                    field,
                    format!("the field is not known; known here: {}; correct or remove it", known.join(", ")),
                );
            }
        }
    }
}

/// The shape that the fields of a line belong to, or why that cannot be told.
pub(super) fn format_of(entries: &[(String, Json)]) -> Result<TrainingFormat, String> {
    let has = |names: &[&str]| entries.iter().any(|(key, _)| names.contains(&key.as_str()));
    let formats = [
        (TrainingFormat::Chat, has(&["messages"])),
        (TrainingFormat::PromptCompletion, has(&["prompt", "completion"])),
        (TrainingFormat::Preference, has(&["input", "preferred_output", "non_preferred_output"])),
    ];
    let mut found = formats.iter().filter(|(_, has)| *has).map(|(format, _)| *format);
    match (found.next(), found.next()) {
        (Some(format), None) => Ok(format),
        (Some(_), Some(_)) => {
            Err("the line mixes the fields of several formats; keep \"messages\", or \"prompt\" and \
             \"completion\", or \"input\", \"preferred_output\" and \"non_preferred_output\""
                .to_owned())
        }
        (None, _) => Err("the line has neither \"messages\", nor \"prompt\" and \"completion\", nor \"input\", \
             \"preferred_output\" and \"non_preferred_output\"; give it the fields of one format"
            .to_owned()),
    }
}

/// Reads one line's object strictly.
pub(super) fn read_example(json: &Json) -> Result<TrainingExample, Vec<Fault>> {
    let mut faults = Faults::default();
    let example = example_of(json, &mut faults);
    match example {
        Some(example) if faults.0.is_empty() => Ok(example),
        _ => Err(faults.0),
    }
}

fn example_of(json: &Json, faults: &mut Faults) -> Option<TrainingExample> {
    let Json::Object(entries) = json else {
        let hint = if matches!(json, Json::Array(_)) { "; write one object a line instead of an array" } else { "" };
        faults.add_line(format!("the line holds {}, not an object{hint}", json.kind()));
        return None;
    };
    let fields = Fields { path: "", entries };
    match format_of(entries) {
        Err(reason) => {
            faults.add_line(reason);
            None
        }
        Ok(TrainingFormat::Chat) => chat(&fields, faults),
        Ok(TrainingFormat::PromptCompletion) => {
            fields.check_names(&["prompt", "completion"], &[], faults);
            let prompt = string_field(&fields, "prompt", true, faults);
            let completion = string_field(&fields, "completion", false, faults);
            Some(TrainingExample::PromptCompletion { prompt: prompt?, completion: completion? })
        }
        Ok(TrainingFormat::Preference) => preference(&fields, faults),
    }
}

fn string_field(fields: &Fields<'_>, name: &str, may_be_empty: bool, faults: &mut Faults) -> Option<String> {
    let path = fields.path_of(name);
    match fields.get(name) {
        None => faults.add(path, "the field is missing; add it"),
        Some(Json::Text(text)) => match unusable(text, may_be_empty) {
            None => return Some(text.clone()),
            Some(reason) => faults.add(path, reason),
        },
        Some(other) => faults.add(path, format!("the field holds {}; it must be a string", other.kind())),
    }
    None
}

/// Why a text cannot be trained on, if it cannot.
fn unusable(text: &str, may_be_empty: bool) -> Option<&'static str> {
    if text.contains('\0') {
        Some("the text holds the character U+0000, which no model reads; remove it")
    } else if !may_be_empty && text.trim().is_empty() {
        Some("the text is empty; write it or leave the example out")
    } else {
        None
    }
}

fn chat(fields: &Fields<'_>, faults: &mut Faults) -> Option<TrainingExample> {
    fields.check_names(&["messages"], &["tools", "functions", "parallel_tool_calls", "function_call"], faults);
    let turns = messages(fields, "messages", true, faults)?;
    let (last, _) = turns.last()?;
    if last.role != Role::Assistant {
        let field = format!("messages[{}].role", turns.len() - 1);
        faults.add(field, format!("the last message is the {}'s; end with the assistant's", role_name(last.role)));
    } else if !turns.iter().any(|(_, learned)| *learned) {
        faults.add("messages", "every assistant message has weight 0, so there is nothing to learn; give one weight 1");
    }
    Some(TrainingExample::Chat { turns })
}

fn preference(fields: &Fields<'_>, faults: &mut Faults) -> Option<TrainingExample> {
    fields.check_names(&["input", "preferred_output", "non_preferred_output"], &[], faults);
    let prompt = match fields.get("input") {
        None => {
            faults.add("input", "the field is missing; add {\"messages\": [...]}");
            None
        }
        Some(Json::Object(entries)) => {
            let input = Fields { path: "input", entries };
            input.check_names(&["messages"], &["tools", "functions", "parallel_tool_calls", "function_call"], faults);
            messages(&input, "messages", false, faults)
        }
        Some(other) => {
            faults.add("input", format!("the field holds {}; it must be an object with \"messages\"", other.kind()));
            None
        }
    };
    if let Some((last, _)) = prompt.as_ref().and_then(|turns| turns.last())
        && last.role == Role::Assistant
    {
        let field = format!("input.messages[{}].role", prompt.as_ref().map_or(0, |turns| turns.len() - 1));
        faults.add(field, "the input ends with the assistant's message; end it with the user's");
    }
    let preferred = output(fields, "preferred_output", faults);
    let other = output(fields, "non_preferred_output", faults);
    let (prompt, preferred, other) = (prompt?, preferred?, other?);
    if preferred == other {
        faults.add("non_preferred_output", "both outputs say the same, so there is nothing to prefer; change one");
    }
    let prompt = prompt.into_iter().map(|(message, _)| message).collect();
    Some(TrainingExample::Preference { prompt, preferred, other })
}

/// One output of a preference: a list of exactly one assistant message.
fn output(fields: &Fields<'_>, name: &str, faults: &mut Faults) -> Option<Vec<ChatMessage>> {
    let turns = messages(fields, name, false, faults)?;
    if turns.len() != 1 {
        faults.add(name, format!("the output has {} messages; it must have one, the assistant's", turns.len()));
        return None;
    }
    if turns.iter().any(|(message, _)| message.role != Role::Assistant) {
        faults.add(format!("{name}[0].role"), "the output must be an assistant's message");
        return None;
    }
    Some(turns.into_iter().map(|(message, _)| message).collect())
}

type Turns = Vec<(ChatMessage, bool)>;

/// Reads a list of messages; `weighted` says whether assistant turns are learned by default and may carry a weight.
fn messages(fields: &Fields<'_>, name: &str, weighted: bool, faults: &mut Faults) -> Option<Turns> {
    let path = fields.path_of(name);
    let items = match fields.get(name) {
        None => {
            faults.add(path, "the field is missing; add it");
            return None;
        }
        Some(Json::Array(items)) => items,
        Some(other) => {
            faults.add(path, format!("the field holds {}; it must be an array of messages", other.kind()));
            return None;
        }
    };
    if items.is_empty() {
        faults.add(path, "the array is empty; give it messages");
        return None;
    }
    let read: Vec<Option<(ChatMessage, bool)>> =
        items.iter().enumerate().map(|(at, item)| message(item, &format!("{path}[{at}]"), weighted, faults)).collect();
    read.into_iter().collect()
}

fn message(item: &Json, path: &str, weighted: bool, faults: &mut Faults) -> Option<(ChatMessage, bool)> {
    let Json::Object(entries) = item else {
        faults.add(path, format!("the message is {}; it must be an object with \"role\" and \"content\"", item.kind()));
        return None;
    };
    let fields = Fields { path, entries };
    fields.check_names(
        &["role", "content", "name", "weight", "refusal"],
        &["tool_calls", "function_call", "audio"],
        faults,
    );
    let role = role(&fields, faults);
    let weight = weight(&fields, role, faults);
    check_remarks(&fields, faults);
    let content = content(&fields, role, faults);
    let role = role?;
    let learned = weighted && role == Role::Assistant && weight.unwrap_or(true);
    Some((ChatMessage::new(role, content?), learned))
}

fn role(fields: &Fields<'_>, faults: &mut Faults) -> Option<Role> {
    let path = fields.path_of("role");
    match fields.get("role") {
        None => faults.add(path, "the field is missing; use system, user or assistant"),
        Some(Json::Text(name)) => match name.as_str() {
            "system" | "developer" => return Some(Role::System),
            "user" => return Some(Role::User),
            "assistant" => return Some(Role::Assistant),
            "tool" | "function" => {
                faults.add(path, "tools and function calls cannot be trained here; leave the example out");
            }
            other => {
                let other = shown(other);
                faults.add(path, format!("\"{other}\" is not a role; use system, user or assistant"));
            }
        },
        Some(other) => faults.add(path, format!("the role is {}; it must be a string", other.kind())),
    }
    None
}

/// The weight given, if any. Only an assistant's message can be learned, so only there 1 means anything.
fn weight(fields: &Fields<'_>, role: Option<Role>, faults: &mut Faults) -> Option<bool> {
    let path = fields.path_of("weight");
    match fields.get("weight") {
        None | Some(Json::Null) => None,
        // Zero and one are exact in every number format.
        Some(Json::Number(weight)) if *weight == 0.0 => Some(false),
        Some(Json::Number(weight)) if (*weight - 1.0).abs() < f64::EPSILON => {
            if matches!(role, Some(Role::System | Role::User)) {
                faults.add(path, "only an assistant's message can be learned; remove the weight");
            }
            Some(true)
        }
        Some(Json::Number(weight)) => {
            faults.add(path, format!("the weight is {weight}; it must be 0 or 1"));
            None
        }
        Some(other) => {
            faults.add(path, format!("the weight is {}; it must be the number 0 or 1", other.kind()));
            None
        }
    }
}

/// `name` and `refusal` are accepted as the wire has them; a chat template shows neither.
fn check_remarks(fields: &Fields<'_>, faults: &mut Faults) {
    match fields.get("name") {
        None | Some(Json::Null | Json::Text(_)) => {}
        Some(other) => faults.add(fields.path_of("name"), format!("the name is {}; it must be a string", other.kind())),
    }
    if !fields.get("refusal").is_none_or(|refusal| *refusal == Json::Null) {
        faults.add(fields.path_of("refusal"), "a refusal is learned as text here; move it into \"content\"");
    }
}

fn content(fields: &Fields<'_>, role: Option<Role>, faults: &mut Faults) -> Option<String> {
    let path = fields.path_of("content");
    let text = match fields.get("content") {
        None => {
            faults.add(path, "the field is missing; add it");
            return None;
        }
        Some(Json::Text(text)) => text.clone(),
        Some(Json::Array(parts)) => text_of_parts(parts, &path, faults)?,
        Some(other) => {
            faults.add(path, format!("the content is {}; it must be a string", other.kind()));
            return None;
        }
    };
    match unusable(&text, role == Some(Role::System)) {
        None => Some(text),
        Some(reason) => {
            faults.add(path, reason);
            None
        }
    }
}

/// Joins content given as a list of text parts.
fn text_of_parts(parts: &[Json], path: &str, faults: &mut Faults) -> Option<String> {
    if parts.is_empty() {
        faults.add(path, "the array is empty; give it a text");
        return None;
    }
    let mut text = String::new();
    for (at, part) in parts.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let Json::Object(entries) = part else {
            faults.add(
                path,
                format!("the part is {}; it must be {{\"type\": \"text\", \"text\": \"...\"}}", part.kind()),
            );
            return None;
        };
        let fields = Fields { path: &path, entries };
        match fields.get("type") {
            Some(Json::Text(kind)) if kind == "text" => {}
            Some(Json::Text(kind)) => {
                let kind = shown(kind);
                faults.add(
                    fields.path_of("type"),
                    format!("parts of type \"{kind}\" cannot be trained here; only \"text\" can"),
                );
                return None;
            }
            _ => {
                faults.add(fields.path_of("type"), "the field must be \"text\"");
                return None;
            }
        }
        fields.check_names(&["type", "text"], &[], faults);
        text.push_str(&string_field(&fields, "text", true, faults)?);
    }
    Some(text)
}

/// A role as the wire spells it.
pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// A name from outside, short and without control characters.
pub(super) fn shown(name: &str) -> String {
    anser_core::excerpt(name, 40)
}
