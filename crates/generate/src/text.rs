//! From token bytes to text that can be shown: whole characters only, and nothing that may turn out to be a stop text.

/// Joins the bytes of tokens into whole characters.
#[derive(Debug, Default)]
pub(crate) struct Utf8Joiner {
    pending: Vec<u8>,
}

impl Utf8Joiner {
    /// Adds a token's bytes and returns the characters that are complete now. A character that is still missing bytes
    /// waits; bytes that can never become one appear as U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut taken = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            taken += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let at_end = taken + invalid.len() == self.pending.len();
            let incomplete = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if at_end && incomplete {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            taken += invalid.len();
        }
        self.pending.drain(..taken);
        text
    }
}

/// Ends a stream of text before the first stop text, holding back whatever could still become one.
#[derive(Debug)]
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

impl StopMatcher {
    /// A matcher of `stops`, none of which is empty.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Adds text; returns what can be shown, and whether a stop text was reached (then nothing more may be pushed).
    pub(crate) fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let keep = self.stops.iter().map(|stop| self.overlap(stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back, once no more text can come.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of the held text that begin `stop`.
    fn overlap(&self, stop: &str) -> usize {
        let lengths = stop.char_indices().map(|(at, _)| at).skip(1);
        lengths.filter(|&length| self.held.ends_with(&stop[..length])).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let mut joiner = Utf8Joiner::default();
        let bytes = "né🎉".as_bytes();
        let parts: Vec<String> = bytes.iter().map(|byte| joiner.push(&[*byte])).collect();
        assert_eq!(parts, ["n", "", "é", "", "", "", "🎉"]);
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced_and_an_unfinished_one_is_not_shown() {
        let mut joiner = Utf8Joiner::default();
        assert_eq!(joiner.push(b"a\xFFb\xE4\xB8"), "a\u{FFFD}b");
        assert_eq!(joiner.push(b"x"), "\u{FFFD}x");
        assert_eq!(joiner.push("中".as_bytes().split_at(2).0), "");
    }

    #[test]
    fn a_stop_text_across_pieces_is_cut_out() {
        let mut matcher = StopMatcher::new(vec!["\n\nQ:".to_owned(), "END".to_owned()]);
        assert_eq!(matcher.push("yes\n"), ("yes".to_owned(), false));
        assert_eq!(matcher.push("\nE"), ("\n\n".to_owned(), false));
        assert_eq!(matcher.push("N"), (String::new(), false));
        assert_eq!(matcher.push("D of it"), (String::new(), true));
    }

    #[test]
    fn what_was_held_is_shown_at_the_end() {
        let mut matcher = StopMatcher::new(vec!["END".to_owned()]);
        assert_eq!(matcher.push("the EN").0, "the ");
        assert_eq!(matcher.finish(), "EN");
    }

    proptest! {
        #[test]
        fn joined_characters_equal_the_text(text in ".{0,60}", cuts in prop::collection::vec(0_usize..200, 0..20)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let mut joiner = Utf8Joiner::default();
            let joined: String = cuts.windows(2).map(|pair| joiner.push(&bytes[pair[0]..pair[1]])).collect();
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn pieces_end_before_the_first_stop(text in "[ab中]{0,40}", stop in "[ab中]{1,4}", size in 1_usize..5) {
            let mut matcher = StopMatcher::new(vec![stop.clone()]);
            let letters: Vec<char> = text.chars().collect();
            let mut shown = String::new();
            let mut stopped = false;
            for piece in letters.chunks(size) {
                let (more, stop_reached) = matcher.push(&piece.iter().collect::<String>());
                shown.push_str(&more);
                stopped = stop_reached;
                if stopped {
                    break;
                }
            }
            if !stopped {
                shown.push_str(&matcher.finish());
            }
            prop_assert_eq!(stopped, text.contains(&stop));
            prop_assert_eq!(shown.as_str(), text.split(&stop).next().unwrap());
        }
    }
}
