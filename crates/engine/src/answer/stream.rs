//! The answer as it is written: white space at its ends is dropped, and a sentence said before is not said again.

use unicode_segmentation::UnicodeSegmentation;

use super::words::normalized;

/// Takes the generator's deltas and passes on the answer's. All passed on, joined, equal [`AnswerStream::text`].
///
/// Small models fall into loops. Text is held back only while the sentence being written could still turn out to
/// repeat an earlier one; when it does, it and everything after it is dropped.
pub(super) struct AnswerStream<'a> {
    emit: &'a mut dyn FnMut(&str),
    /// Passed on already.
    text: String,
    /// Not passed on yet: white space that may end the answer, or the beginning of a sentence that may be a repeat.
    held: String,
    repeated: bool,
}

impl<'a> AnswerStream<'a> {
    pub(super) fn new(emit: &'a mut dyn FnMut(&str)) -> Self {
        Self { emit, text: String::new(), held: String::new(), repeated: false }
    }

    /// Takes the next delta.
    pub(super) fn push(&mut self, delta: &str) {
        if self.repeated {
            return;
        }
        self.held.push_str(delta);
        if self.text.is_empty() {
            self.held.drain(..self.held.len() - self.held.trim_start().len());
        }
        self.settle(false);
    }

    /// Whether the model began to repeat itself: nothing more is passed on.
    pub(super) fn repeated(&self) -> bool {
        self.repeated
    }

    /// Ends the answer and returns its text.
    pub(super) fn finish(mut self) -> String {
        if !self.repeated {
            self.settle(true);
        }
        self.text
    }

    /// Passes on what can no longer change. `last` tells that nothing follows.
    fn settle(&mut self, last: bool) {
        let held = self.held.trim_end();
        if held.is_empty() {
            return;
        }
        let all = format!("{}{held}", self.text);
        let Some((start, current)) = all.split_sentence_bound_indices().last() else { return };
        let earlier: Vec<String> = all[..start].unicode_sentences().map(normalized).collect();
        // A sentence that ended inside this delta is complete; the last one may still grow.
        let complete_repeat = all
            .split_sentence_bound_indices()
            .enumerate()
            .find(|(i, (at, piece))| {
                let ended = *at + piece.len() < all.len() || last;
                ended && at + piece.len() > self.text.len() && earlier_holds(&all, *i, piece)
            })
            .map(|(_, (at, _))| at);
        if let Some(at) = complete_repeat {
            self.repeated = true;
            let keep = all[..at].trim_end().len().max(self.text.len());
            self.pass_on(&all[self.text.len()..keep]);
            self.held.clear();
            return;
        }
        let opening = normalized(current);
        let could_repeat = !last && earlier.iter().any(|sentence| sentence.starts_with(&opening));
        let end = if could_repeat { all[..start].trim_end().len().max(self.text.len()) } else { all.len() };
        let passed = end - self.text.len();
        self.pass_on(&all[self.text.len()..end]);
        self.held.drain(..passed);
    }

    fn pass_on(&mut self, text: &str) {
        if !text.is_empty() {
            self.text.push_str(text);
            (self.emit)(text);
        }
    }
}

/// Whether sentence `i` of `text` says what one before it said. Very short ones ("Yes.") may come again.
fn earlier_holds(text: &str, i: usize, piece: &str) -> bool {
    let this = normalized(piece);
    this.chars().filter(|c| c.is_alphanumeric()).count() >= 8
        && text.split_sentence_bound_indices().take(i).any(|(_, earlier)| normalized(earlier) == this)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(deltas: &[&str]) -> (String, Vec<String>, bool) {
        let mut passed = Vec::new();
        let mut emit = |text: &str| passed.push(text.to_owned());
        let mut stream = AnswerStream::new(&mut emit);
        for delta in deltas {
            stream.push(delta);
        }
        let repeated = stream.repeated();
        (stream.finish(), passed, repeated)
    }

    #[test]
    fn white_space_at_the_ends_is_dropped() {
        let (text, passed, _) = run(&[" ", "\nHello", " ", "world. ", "\n"]);
        assert_eq!(text, "Hello world.");
        assert_eq!(passed, ["Hello", " world."]);
    }

    #[test]
    fn a_repeated_sentence_ends_the_answer() {
        let (text, passed, repeated) =
            run(&["You have 30 days. ", "Postage is free. ", "You have", " 30 days. ", "And so on."]);
        assert_eq!(text, "You have 30 days. Postage is free.");
        assert_eq!(passed.concat(), text);
        assert!(repeated);
    }

    #[test]
    fn a_sentence_that_only_begins_like_another_is_kept() {
        let (text, passed, repeated) = run(&["You have 30 days. ", "You have", " a card. "]);
        assert_eq!(text, "You have 30 days. You have a card.");
        assert_eq!(passed.concat(), text);
        assert!(!repeated);
    }

    #[test]
    fn a_repeat_that_ends_the_answer_is_dropped_too() {
        assert_eq!(run(&["You have 30 days. ", "You have 30 days."]).0, "You have 30 days.");
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_the_text(deltas in prop::collection::vec("[ab .!\n退。]{0,6}", 0..12)) {
            let parts: Vec<&str> = deltas.iter().map(String::as_str).collect();
            let (text, passed, repeated) = run(&parts);
            prop_assert_eq!(passed.concat(), text.clone());
            let whole = deltas.concat();
            if repeated || text.len() < whole.trim().len() {
                prop_assert!(whole.trim().starts_with(&text));
            } else {
                prop_assert_eq!(text, whole.trim());
            }
        }
    }
}
