//! Whole sentences out of a generator's deltas.

use unicode_segmentation::UnicodeSegmentation;

/// Collects deltas and hands them on sentence by sentence. All pieces, joined, are the text without leading white space.
#[derive(Debug, Default)]
pub(super) struct SentenceStream {
    held: String,
    begun: bool,
}

impl SentenceStream {
    /// Takes the next delta; returns the sentences that are now complete, with the white space behind them.
    pub(super) fn push(&mut self, delta: &str) -> Vec<String> {
        self.held.push_str(delta);
        if !self.begun {
            self.held.drain(..self.held.len() - self.held.trim_start().len());
            self.begun = !self.held.is_empty();
        }
        let mut pieces = Vec::new();
        let mut complete = 0;
        for (at, piece) in self.held.split_sentence_bound_indices().skip(1) {
            // Whether "approx. " ends a sentence is known once the next letter is: a small one goes on with it.
            if piece.chars().any(char::is_alphabetic) {
                pieces.push(self.held[complete..at].to_owned());
                complete = at;
            }
        }
        self.held.drain(..complete);
        pieces
    }

    /// What is left: the last sentences, or a sentence that was cut off.
    pub(super) fn finish(self) -> Vec<String> {
        self.held.split_sentence_bounds().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(deltas: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut stream = SentenceStream::default();
        let early = deltas.iter().flat_map(|delta| stream.push(delta)).collect();
        (early, stream.finish())
    }

    #[test]
    fn a_sentence_comes_when_the_next_has_begun() {
        let (early, rest) = run(&[" \n", "It costs 4", ".90 euros. ", "It", " is 退货。", "运费"]);
        assert_eq!(early, ["It costs 4.90 euros. ", "It is 退货。"]);
        assert_eq!(rest, ["运费"]);
    }

    #[test]
    fn an_abbreviation_before_a_number_does_not_end_a_sentence() {
        let (early, rest) = run(&["It weighs approx. ", "30", " kilos. ", "Good."]);
        assert_eq!(early, ["It weighs approx. 30 kilos. "]);
        assert_eq!(rest, ["Good."]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(deltas in prop::collection::vec("[aB3 .!\n退。é]{0,6}", 0..12)) {
            let parts: Vec<&str> = deltas.iter().map(String::as_str).collect();
            let (early, rest) = run(&parts);
            let whole = deltas.concat();
            prop_assert_eq!(early.concat() + &rest.concat(), whole.trim_start());
        }
    }
}
