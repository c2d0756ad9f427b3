//! What one line of training data says, whatever file it came from.

use anser_core::{ChatMessage, Role};
use serde_json::{Value, json};

/// Fewest examples that a training file may hold.
pub const MINIMUM_EXAMPLES: usize = 10;

/// The shape of a training file's lines; a file keeps to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrainingFormat {
    /// `{"messages": [...]}`.
    Chat,
    /// `{"prompt": "...", "completion": "..."}`.
    PromptCompletion,
    /// `{"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]}`.
    Preference,
}

impl TrainingFormat {
    /// The name that reports use: `chat`, `prompt_completion` or `preference`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::PromptCompletion => "prompt_completion",
            Self::Preference => "preference",
        }
    }
}

/// One training example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrainingExample {
    /// A conversation.
    Chat {
        /// Its messages in order; `true` marks an assistant turn that the loss counts (`weight` 1, the default). The last
        /// turn is the assistant's, and at least one is marked.
        turns: Vec<(ChatMessage, bool)>,
    },
    /// A text and its continuation, outside any chat template.
    PromptCompletion {
        /// Text that is given; may be empty.
        prompt: String,
        /// Text that is learned.
        completion: String,
    },
    /// Two answers to one conversation, of which one is better.
    Preference {
        /// The conversation, which ends before the assistant speaks.
        prompt: Vec<ChatMessage>,
        /// The better answer: one assistant message.
        preferred: Vec<ChatMessage>,
        /// The worse answer: one assistant message.
        other: Vec<ChatMessage>,
    },
}

impl TrainingExample {
    /// A chat of one question and one answer, with or without a system message before them.
    pub fn question_answer(system: Option<&str>, question: impl Into<String>, answer: impl Into<String>) -> Self {
        let system = system.map(|text| (ChatMessage::new(Role::System, text), false));
        let rest = [(ChatMessage::new(Role::User, question), false), (ChatMessage::new(Role::Assistant, answer), true)];
        Self::Chat { turns: system.into_iter().chain(rest).collect() }
    }

    /// Its shape.
    pub fn format(&self) -> TrainingFormat {
        match self {
            Self::Chat { .. } => TrainingFormat::Chat,
            Self::PromptCompletion { .. } => TrainingFormat::PromptCompletion,
            Self::Preference { .. } => TrainingFormat::Preference,
        }
    }

    /// The line that [`super::read_training_file`] reads as this example, without its line break.
    pub fn to_json_line(&self) -> String {
        let plain = |messages: &[ChatMessage]| -> Vec<Value> { messages.iter().map(|m| message(m, false)).collect() };
        let line = match self {
            Self::Chat { turns } => {
                let messages: Vec<Value> = turns
                    .iter()
                    .map(|(turn, learned)| message(turn, turn.role == Role::Assistant && !learned))
                    .collect();
                json!({ "messages": messages })
            }
            Self::PromptCompletion { prompt, completion } => json!({ "prompt": prompt, "completion": completion }),
            Self::Preference { prompt, preferred, other } => json!({
                "input": { "messages": plain(prompt) },
                "preferred_output": plain(preferred),
                "non_preferred_output": plain(other),
            }),
        };
        line.to_string()
    }
}

fn message(message: &ChatMessage, unweighted: bool) -> Value {
    let mut value = json!({ "role": message.role, "content": message.content });
    if unweighted {
        value["weight"] = json!(0);
    }
    value
}
