//! The words the chat model is given: the one place of prompt text and of how passages are numbered and laid out in it.

use anser_core::{ChatMessage, ContextPassage, GenerateOptions, Role};

use super::AnswerRequest;
use super::words::has_han;

/// The instruction. Short, because a model of a hundred million parameters loses the passages behind a long one.
const SYSTEM: &str = "Answer the question by repeating what the passages say about it.";

/// Two finished exchanges that show the model what an answer is: what the passage says, its numbers and names kept.
/// They say more to a small model than any instruction, and since they are the same for every question, a generator that
/// keeps the state of a common prompt prefix reads them once.
const DEMONSTRATIONS: [Demonstration; 2] = [
    Demonstration {
        title: "When does the museum open?",
        text: "The museum opens at 8:15 on weekdays. Entry is free on the first Sunday.",
        question: "what time can i go in on a tuesday",
        answer: "The museum opens at 8:15 on weekdays. Entry is free on the first Sunday.",
    },
    Demonstration {
        title: "What does the garden tour cost?",
        text: "The garden tour costs 6.40 pounds for adults. It starts at the north gate.",
        question: "I want to see the garden with my wife. How much is that each?",
        answer: "The garden tour costs 6.40 pounds for adults. It starts at the north gate.",
    },
];

/// A passage, a question about it and a good answer.
struct Demonstration {
    title: &'static str,
    text: &'static str,
    question: &'static str,
    answer: &'static str,
}

/// What is said instead of an answer when nothing found supports one.
const ABSTENTION: &str = "I could not find an answer to this question in the indexed documents.";
const ABSTENTION_CHINESE: &str = "在已收录的文档中没有找到这个问题的答案。";

/// The conversation that asks `question` about numbered passages.
pub(super) fn messages(question: &str, passages: &[ContextPassage]) -> Vec<ChatMessage> {
    let mut messages = vec![ChatMessage::new(Role::System, SYSTEM)];
    for shown in &DEMONSTRATIONS {
        let asked = ask(shown.question, &[layout(1, Some(shown.title), shown.text)]);
        messages.push(ChatMessage::new(Role::User, asked));
        messages.push(ChatMessage::new(Role::Assistant, shown.answer));
    }
    let laid_out: Vec<String> =
        passages.iter().map(|passage| layout(passage.number, passage.title.as_deref(), &passage.text)).collect();
    messages.push(ChatMessage::new(Role::User, ask(question, &laid_out)));
    messages
}

/// One turn of the person who asks: the question, then the passages, the best one (the first) last. A small model repeats
/// what it has just read: of 16 questions that were answered wrongly with the question behind the passages, 13 were
/// answered rightly with the passage behind the question.
fn ask(question: &str, passages: &[String]) -> String {
    let mut turn = format!("Question: {}", question.trim());
    for passage in passages.iter().rev() {
        turn.push_str("\n\n");
        turn.push_str(passage);
    }
    turn
}

/// One passage as the model sees it: its number, its title if it has one, its text.
fn layout(number: usize, title: Option<&str>, text: &str) -> String {
    match title.map(str::trim).filter(|title| !title.is_empty()) {
        Some(title) => format!("[{number}] {title}\n{}", text.trim()),
        None => format!("[{number}] {}", text.trim()),
    }
}

/// How to decode an answer.
pub(super) fn decoding(request: &AnswerRequest, max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        max_tokens: Some(max_tokens),
        temperature: request.temperature,
        seed: request.seed,
        stop: vec!["\n\n".to_owned(), "\nQuestion:".to_owned()],
        ..GenerateOptions::default()
    }
}

/// The abstention in the question's language, as far as its script tells.
pub(super) fn abstention(question: &str) -> &'static str {
    if has_han(question) { ABSTENTION_CHINESE } else { ABSTENTION }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::fixtures::passage;

    #[test]
    fn passages_stand_under_their_numbers_with_their_titles() {
        let mut first = passage(1, "a", "Within 30 days.");
        first.title = Some("How long can I return things?".into());
        let messages = messages(" When? ", &[first, passage(2, "b", "Postage is free.")]);
        assert_eq!(messages[0].role, Role::System);
        let user = &messages.last().unwrap().content;
        assert!(user.contains("[1] How long can I return things?\nWithin 30 days."), "{user}");
        assert!(user.contains("[2] Postage is free."), "{user}");
        assert!(user.starts_with("Question: When?\n\n[2] "), "{user}");
        assert!(user.ends_with("Within 30 days."), "the best passage is read last: {user}");
    }

    #[test]
    fn the_abstention_speaks_the_language_of_the_question() {
        assert_eq!(abstention("Do you sell boats?"), ABSTENTION);
        assert_eq!(abstention("你们卖船吗？"), ABSTENTION_CHINESE);
    }
}
