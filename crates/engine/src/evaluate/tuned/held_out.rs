//! Examples that a model was not trained on, read from any of the shapes in which training data comes.

use std::fs;
use std::path::Path;

use anser_core::{ChatMessage, Prompt, Role};
use serde_json::{Map, Value};

use crate::EngineError;

/// Names of fields that hold a question and its answer, in the order in which they are looked for.
const PAIRS: [(&str, &str); 8] = [
    ("question", "answer"),
    ("question", "reference"),
    ("input_text", "output_text"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("query", "response"),
    ("input", "output"),
    ("text", "label"),
];

/// What the model is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum HeldOutPrompt {
    /// A conversation whose next turn is the assistant's.
    Chat(Vec<ChatMessage>),
    /// Plain text to continue, of a prompt with its completion.
    Text(String),
}

/// A prompt with the answer that it should get.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOutExample {
    /// Line in its file, from 1.
    pub line: u64,
    /// What the model is asked.
    pub prompt: HeldOutPrompt,
    /// What it should say.
    pub reference: String,
}

impl HeldOutExample {
    /// A question by itself.
    pub fn new(line: u64, question: &str, reference: &str) -> Self {
        let prompt = HeldOutPrompt::Chat(vec![ChatMessage::new(Role::User, question)]);
        Self { line, prompt, reference: reference.to_owned() }
    }

    /// As a generator takes it.
    pub fn prompt(&self) -> Prompt<'_> {
        match &self.prompt {
            HeldOutPrompt::Chat(messages) => Prompt::Chat(messages),
            HeldOutPrompt::Text(text) => Prompt::Text(text),
        }
    }

    /// What to search for: the person's last turn, or the whole text.
    pub fn question(&self) -> &str {
        match &self.prompt {
            HeldOutPrompt::Chat(messages) => {
                messages.iter().rev().find(|message| message.role == Role::User).map_or("", |m| m.content.as_str())
            }
            HeldOutPrompt::Text(text) => text,
        }
    }

    /// Reads a JSONL file; blank lines are skipped. A line holds `messages` (the last assistant turn is the reference),
    /// `prompt` and `completion`, `input` and `preferred_output`, or a question with its answer under one of the usual
    /// names; fields that are not needed are ignored.
    ///
    /// `BadFile` names the line that holds none of these.
    pub fn read_jsonl(path: &Path) -> Result<Vec<Self>, EngineError> {
        let bytes = fs::read(path).map_err(|e| EngineError::io("read", path, e))?;
        let bad = |message: String| EngineError::BadFile { path: path.to_path_buf(), message };
        let text =
            std::str::from_utf8(&bytes).map_err(|_| bad("the text is not UTF-8; save the file as UTF-8".into()))?;
        Self::parse(text).map_err(bad)
    }

    pub(super) fn parse(text: &str) -> Result<Vec<Self>, String> {
        let mut examples = Vec::new();
        for (line, text) in (1..).zip(text.trim_start_matches('\u{FEFF}').lines()) {
            if text.trim().is_empty() {
                continue;
            }
            let object: Map<String, Value> =
                serde_json::from_str(text).map_err(|e| format!("line {line}: {e}; each line holds one JSON object"))?;
            let (prompt, reference) = read(&object).map_err(|message| format!("line {line}: {message}"))?;
            if reference.trim().is_empty() {
                return Err(format!("line {line}: the answer is empty, so there is nothing to compare with"));
            }
            let example = Self { line, prompt, reference };
            if example.question().trim().is_empty() {
                return Err(format!("line {line}: the question is empty"));
            }
            examples.push(example);
        }
        if examples.is_empty() {
            return Err("it holds no examples".into());
        }
        Ok(examples)
    }
}

fn read(object: &Map<String, Value>) -> Result<(HeldOutPrompt, String), String> {
    if let Some(messages) = object.get("messages") {
        let mut messages = conversation(messages, "messages")?;
        let Some(last) = messages.iter().rposition(|message| message.role == Role::Assistant) else {
            return Err("no message is the assistant's; its last one is what answers are compared with".into());
        };
        messages.truncate(last + 1);
        let reference = messages.pop().map(|message| message.content).unwrap_or_default();
        return Ok((HeldOutPrompt::Chat(messages), reference));
    }
    if let (Some(input), Some(preferred)) = (object.get("input"), object.get("preferred_output")) {
        let messages = conversation(input.get("messages").unwrap_or(input), "input.messages")?;
        let preferred = conversation(preferred, "preferred_output")?;
        let reference = preferred.into_iter().next().map(|message| message.content).unwrap_or_default();
        return Ok((HeldOutPrompt::Chat(messages), reference));
    }
    if let (Some(prompt), Some(completion)) = (text(object, "prompt"), text(object, "completion")) {
        return Ok((HeldOutPrompt::Text(prompt), completion));
    }
    for (question, answer) in PAIRS {
        if let (Some(question), Some(answer)) = (text(object, question), text(object, answer)) {
            return Ok((HeldOutPrompt::Chat(vec![ChatMessage::new(Role::User, question)]), answer));
        }
    }
    let fields: Vec<&str> = object.keys().map(String::as_str).take(8).collect();
    Err(format!(
        "it holds no example, only the fields {}; give messages, prompt and completion, or question and answer",
        fields.join(", ")
    ))
}

/// A field's text, whatever the case of its name.
fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    let (_, value) = object.iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
    value.as_str().map(str::to_owned)
}

fn conversation(value: &Value, field: &str) -> Result<Vec<ChatMessage>, String> {
    let Some(messages) = value.as_array() else { return Err(format!("{field} is not a list of messages")) };
    let read = |(at, message): (usize, &Value)| {
        let role = match message.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => return Err(format!("{field}[{at}].role is not system, user or assistant")),
        };
        let content = match message.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
            }
            _ => return Err(format!("{field}[{at}].content is not a text")),
        };
        Ok(ChatMessage::new(role, content))
    };
    messages.iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> HeldOutExample {
        HeldOutExample::parse(line).unwrap().remove(0)
    }

    #[test]
    fn every_shape_of_training_data_is_read() {
        let chat = one(
            r#"{"messages":[{"role":"system","content":"Be short."},{"role":"user","content":"When?"},{"role":"assistant","content":"Now.","weight":1}]}"#,
        );
        assert!(matches!(&chat.prompt, HeldOutPrompt::Chat(messages) if messages.len() == 2));
        assert_eq!((chat.question(), chat.reference.as_str()), ("When?", "Now."));
        let parts = one(
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"Where?"}]},{"role":"assistant","content":"Here."}]}"#,
        );
        assert_eq!(parts.question(), "Where?");
        let legacy = one(r#"{"prompt":"Q: When?\n\n###\n\n","completion":" Now. END"}"#);
        assert!(matches!(legacy.prompt(), Prompt::Text(_)));
        assert_eq!(legacy.reference, " Now. END");
        let preference = one(
            r#"{"input":{"messages":[{"role":"user","content":"When?"}]},"preferred_output":[{"role":"assistant","content":"Now."}],"non_preferred_output":[]}"#,
        );
        assert_eq!((preference.question(), preference.reference.as_str()), ("When?", "Now."));
        for line in [
            r#"{"question":"When?","answer":"Now.","id":7}"#,
            r#"{"Question":"When?","Answer":"Now."}"#,
            r#"{"input_text":"When?","output_text":"Now."}"#,
            r#"{"input":"When?","output":"Now."}"#,
        ] {
            assert_eq!(one(line), HeldOutExample::new(1, "When?", "Now."));
        }
    }

    #[test]
    fn faults_are_reported_with_their_line() {
        let good = "{\"question\":\"a\",\"answer\":\"b\"}\n\n";
        for (line, want) in [
            ("nonsense", "line 3: expected"),
            ("[1]", "line 3: "),
            (r#"{"question":"a"}"#, "line 3: it holds no example, only the fields question"),
            (r#"{"question":" ","answer":"b"}"#, "line 3: the question is empty"),
            (r#"{"question":"a","answer":""}"#, "line 3: the answer is empty"),
            (r#"{"messages":[{"role":"user","content":"a"}]}"#, "line 3: no message is the assistant's"),
            (r#"{"messages":[{"role":"robot","content":"a"}]}"#, "line 3: messages[0].role is not"),
            (r#"{"messages":[{"role":"user"}]}"#, "line 3: messages[0].content is not a text"),
            (r#"{"messages":"a"}"#, "line 3: messages is not a list"),
        ] {
            let error = HeldOutExample::parse(&format!("{good}{line}")).unwrap_err();
            assert!(error.contains(want), "{error} should hold {want}");
        }
        assert_eq!(HeldOutExample::parse("\n").unwrap_err(), "it holds no examples");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
            let _ = HeldOutExample::parse(&text);
        }

        #[test]
        fn arbitrary_json_never_panics(key in "messages|input|prompt|question", value in "[\\[\\]{}:,\"a0]{0,30}") {
            let _ = HeldOutExample::parse(&format!("{{\"{key}\":{value}}}"));
        }
    }
}
