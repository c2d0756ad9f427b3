//! The filter on replies: text is held back until the sentence is whole and judged harmless.

use crate::call::Work;
use crate::error::ApiResult;

/// Takes a piece of text that may be shown.
pub(crate) type Release<'a> = dyn FnMut(&str) -> ApiResult<()> + 'a;

/// Stands between a generator and the caller. Switched off, it lets everything through at once.
pub(crate) struct ReplyFilter<'a> {
    work: &'a Work,
    on: bool,
    /// Text that is not a whole sentence yet.
    held: String,
    /// The sentence before it, which is judged along with the next one.
    previous: String,
    flagged: bool,
}

impl<'a> ReplyFilter<'a> {
    pub(crate) fn new(work: &'a Work) -> Self {
        let on = work.filters_replies();
        Self { work, on, held: String::new(), previous: String::new(), flagged: false }
    }

    /// Whether something harmful was found; nothing is released after it.
    pub(crate) fn flagged(&self) -> bool {
        self.flagged
    }

    /// Takes the next piece and releases what is whole and harmless.
    pub(crate) fn push(&mut self, delta: &str, release: &mut Release<'_>) -> ApiResult<()> {
        if !self.on {
            return release(delta);
        }
        self.held.push_str(delta);
        while let Some(end) = sentence_end(&self.held) {
            let rest = self.held.split_off(end);
            let sentence = std::mem::replace(&mut self.held, rest);
            self.judge(sentence, release)?;
        }
        Ok(())
    }

    /// Judges what is left when the text has ended.
    pub(crate) fn finish(&mut self, release: &mut Release<'_>) -> ApiResult<()> {
        let last = std::mem::take(&mut self.held);
        if last.is_empty() { Ok(()) } else { self.judge(last, release) }
    }

    fn judge(&mut self, sentence: String, release: &mut Release<'_>) -> ApiResult<()> {
        if self.flagged {
            return Ok(());
        }
        let mut texts = vec![sentence.clone()];
        if !self.previous.is_empty() {
            texts.push(format!("{}{sentence}", self.previous));
        }
        if !sentence.trim().is_empty() {
            let judged = self.work.engine().moderate(&texts, &self.work.cancel)?;
            self.flagged = judged.iter().any(|one| one.flagged);
        }
        if self.flagged {
            return Ok(());
        }
        release(&sentence)?;
        self.previous = sentence;
        Ok(())
    }
}

/// Where the first sentence ends, white space behind it included, once the next one has begun; line ends count as well.
fn sentence_end(text: &str) -> Option<usize> {
    let (mut ended, mut gap) = (false, false);
    for (at, c) in text.char_indices() {
        if ended {
            if !c.is_whitespace() && (gap || !is_closing(c)) {
                return Some(at);
            }
            gap |= c.is_whitespace();
            continue;
        }
        match c {
            '\n' => (ended, gap) = (true, true),
            '。' | '！' | '？' => ended = true,
            '.' | '!' | '?' | '…' => {
                // A full stop inside a number or a name ends nothing.
                let next = text.get(at + c.len_utf8()..).and_then(|rest| rest.chars().find(|c| !is_closing(*c)));
                ended = next.is_some_and(char::is_whitespace);
            }
            _ => {}
        }
    }
    None
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '.' | '!' | '?' | '…')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sentences(text: &str) -> Vec<String> {
        let mut rest = text.to_owned();
        let mut found = Vec::new();
        while let Some(end) = sentence_end(&rest) {
            let next = rest.split_off(end);
            found.push(std::mem::replace(&mut rest, next));
        }
        found.push(rest);
        found
    }

    #[test]
    fn a_sentence_is_whole_when_the_next_one_begins() {
        assert_eq!(
            sentences("It costs 4.90 euros. Really?! \"Yes.\" No"),
            ["It costs 4.90 euros. ", "Really?! ", "\"Yes.\" ", "No"]
        );
        assert_eq!(sentences("一。二！三"), ["一。", "二！", "三"]);
        assert_eq!(sentences("a\n\nb"), ["a\n\n", "b"]);
        assert_eq!(sentences("not over. "), ["not over. "]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "[aB3 .!?\n\"。é]{0,30}") {
            prop_assert_eq!(sentences(&text).concat(), text);
        }
    }
}
