//! Messages as collections spell them, put into the wire's words: other role names, other field names, turns after the
//! last answer.

use super::dialogue::{Dialogue, Finding, Severity, count};
use super::json::Json;
use crate::TuneError;

/// Fields that name who speaks.
pub(super) const ROLE_FIELDS: [&str; 3] = ["role", "from", "speaker"];

/// Fields that hold what is said.
const CONTENT_FIELDS: [&str; 3] = ["content", "value", "text"];

/// Fields of a message that the strict reader knows; others are left out.
const KNOWN: [&str; 7] = ["role", "content", "name", "weight", "refusal", "tool_calls", "function_call"];

/// What was changed, by line.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// A role had another name, and which.
    roles: Vec<(u64, String)>,
    /// Messages after the last answer were cut off.
    trailing: Vec<u64>,
    /// A message had fields that training does not use.
    extra: Vec<u64>,
}

impl Changes {
    /// Asks for consent to each kind of change.
    pub(super) fn settle(
        &mut self,
        place: &dyn Fn(Finding, &[u64]) -> Finding,
        dialogue: &mut Dialogue<'_>,
    ) -> Result<(), TuneError> {
        if let Some((_, name)) = self.roles.first() {
            let lines: Vec<u64> = self.roles.iter().map(|(line, _)| *line).collect();
            let explanation = format!("Roles have other names than system, user and assistant, such as \"{name}\".");
            let finding = place(Finding::new("role_names", Severity::Warning, explanation), &lines);
            dialogue.require(finding, "Use the names system, user and assistant", None)?;
        }
        if !self.trailing.is_empty() {
            let explanation = "The conversation goes on after the last answer, and nothing can be learned from that.";
            let finding = place(Finding::new("trailing_messages", Severity::Warning, explanation), &self.trailing);
            let action = format!("Cut {} off after the last answer", count(self.trailing.len(), "conversation"));
            dialogue.require(finding, action, None)?;
        }
        if !self.extra.is_empty() {
            let explanation = "Messages have fields that training does not use; they were left out.";
            dialogue.note(place(Finding::new("extra_message_fields", Severity::Note, explanation), &self.extra));
        }
        Ok(())
    }
}

/// Puts every list of messages in an example's object into the wire's words and notes what that changed.
pub(super) fn tidy(object: &mut Json, line: u64, changes: &mut Changes) {
    let Json::Object(fields) = object else { return };
    for (name, value) in fields {
        match value {
            Json::Array(messages) => {
                tidy_messages(messages, line, changes);
                if name == "messages" {
                    cut_trailing(messages, line, changes);
                }
            }
            Json::Object(inner) => {
                // The conversation before two answers ends with the user by right.
                for (_, value) in inner {
                    if let Json::Array(messages) = value {
                        tidy_messages(messages, line, changes);
                    }
                }
            }
            // A preference's output may be the bare text or message.
            _ => {}
        }
    }
}

fn tidy_messages(messages: &mut [Json], line: u64, changes: &mut Changes) {
    let (mut renamed, mut extra) = (None, false);
    for message in messages {
        let Json::Object(fields) = message else { continue };
        rename(fields, &ROLE_FIELDS);
        rename(fields, &CONTENT_FIELDS);
        let before = fields.len();
        fields.retain(|(name, _)| KNOWN.contains(&name.as_str()));
        extra |= fields.len() < before;
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("role", Json::Text(role)) => {
                    if let Some(known) = usual_role(role) {
                        renamed.get_or_insert_with(|| role.clone());
                        known.clone_into(role);
                    }
                }
                ("content", value @ (Json::Number(_) | Json::Bool(_))) => {
                    let text = match value {
                        Json::Number(number) => number.to_string(),
                        Json::Bool(truth) => truth.to_string(),
                        _ => continue,
                    };
                    *value = Json::Text(text);
                }
                _ => {}
            }
        }
    }
    changes.roles.extend(renamed.map(|role| (line, role)));
    if extra {
        changes.extra.push(line);
    }
}

/// Gives the field that has one of `names` the first of them, unless there is one of that name already.
fn rename(fields: &mut [(String, Json)], names: &[&str]) {
    let Some((first, others)) = names.split_first() else { return };
    if fields.iter().any(|(name, _)| name == first) {
        return;
    }
    if let Some((name, _)) = fields.iter_mut().find(|(name, _)| others.contains(&name.as_str())) {
        (*first).clone_into(name);
    }
}

/// The wire's name of a role that is spelt otherwise; `None` when it is the wire's already, or nobody's.
fn usual_role(role: &str) -> Option<&'static str> {
    let usual = match role.trim().to_lowercase().as_str() {
        "system" | "instruction" | "系统" => "system",
        "user" | "human" | "customer" | "client" | "question" | "prompter" | "用户" => "user",
        "assistant" | "gpt" | "chatgpt" | "bot" | "ai" | "model" | "agent" | "answer" | "助手" => "assistant",
        _ => return None,
    };
    (usual != role).then_some(usual)
}

fn cut_trailing(messages: &mut Vec<Json>, line: u64, changes: &mut Changes) {
    let is_answer = |message: &Json| {
        let Json::Object(fields) = message else { return false };
        fields.iter().any(|(name, value)| name == "role" && matches!(value, Json::Text(role) if role == "assistant"))
    };
    if let Some(last) = messages.iter().rposition(is_answer)
        && last + 1 < messages.len()
    {
        messages.truncate(last + 1);
        changes.trailing.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::read_example;
    use super::*;

    fn tidied(text: &str) -> (Json, Changes) {
        let mut json = Json::parse(text.as_bytes()).unwrap();
        let mut changes = Changes::default();
        tidy(&mut json, 7, &mut changes);
        (json, changes)
    }

    #[test]
    fn other_names_are_put_into_the_wires_words() {
        let (json, changes) = tidied(
            r#"{"messages":[{"from":"human","value":"Hi","id":3},{"from":"gpt","value":5},{"from":"human","value":"Bye"}]}"#,
        );
        assert!(read_example(&json).is_ok(), "{json:?}");
        assert_eq!(changes.roles, [(7, "human".to_owned())]);
        assert_eq!((changes.trailing.as_slice(), changes.extra.as_slice()), (&[7][..], &[7][..]));
    }

    #[test]
    fn messages_in_the_wires_words_stay() {
        let text = r#"{"messages":[{"role":"developer","content":"x"},{"role":"user","content":"Hi"},{"role":"assistant","content":"Yo","weight":0}]}"#;
        let (json, changes) = tidied(text);
        assert_eq!(json, Json::parse(text.as_bytes()).unwrap());
        assert!(changes.roles.is_empty() && changes.trailing.is_empty() && changes.extra.is_empty());
    }
}
