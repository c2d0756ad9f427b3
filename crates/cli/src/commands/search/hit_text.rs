//! A hit's text in a few words, those of the query in bold.

use anser_core::ByteSpan;

use crate::terminal::Terminal;

/// Characters shown before the first word of the query when the text begins too far from it.
const BEFORE: usize = 40;

/// About `limit` characters of `text` on one line, around the first of the `marked` spans, which stand out.
pub(super) fn marked_snippet(terminal: &Terminal, text: &str, marked: &[ByteSpan], limit: usize) -> String {
    let words = words(text, marked);
    let first = words.iter().position(|word| word.marked).unwrap_or(0);
    let start = start_of(&words, first, limit);
    let mut shown: Vec<String> = Vec::new();
    let mut length = 0;
    let mut cut = false;
    // Whether what comes next begins a word: text without spaces is cut anywhere.
    let mut apart = false;
    for word in words.iter().skip(start) {
        let left = limit.saturating_sub(length);
        let characters = word.text.chars().count();
        if characters > left && (apart || (left == 0 && !shown.is_empty())) {
            cut = true;
            break;
        }
        apart = word.space_behind;
        // A text without spaces is one long word.
        let piece: String = word.text.chars().take(left.max(1)).collect();
        cut = characters > left;
        length += piece.chars().count() + usize::from(word.space_behind);
        let piece = if word.marked { terminal.bold(&piece) } else { piece };
        shown.push(if word.space_behind { format!("{piece} ") } else { piece });
        if cut {
            break;
        }
    }
    let before = if start > 0 { "…" } else { "" };
    let behind = if cut { "…" } else { "" };
    format!("{before}{}{behind}", shown.concat().trim_end())
}

/// A part of a text without white space, in or out of a marked span as a whole. Each is painted by itself, so that lines can
/// be broken between them.
#[derive(Debug, PartialEq)]
struct Word<'a> {
    text: &'a str,
    marked: bool,
    space_behind: bool,
}

fn words<'a>(text: &'a str, marked: &[ByteSpan]) -> Vec<Word<'a>> {
    let mut edges: Vec<usize> = marked.iter().flat_map(|span| [span.start, span.end]).collect();
    edges.extend([0, text.len()]);
    edges.retain(|edge| text.is_char_boundary(*edge));
    edges.sort_unstable();
    edges.dedup();
    let mut words: Vec<Word<'_>> = Vec::new();
    for pair in edges.windows(2) {
        let &[start, end] = pair else { continue };
        let inside = marked.iter().any(|span| span.start <= start && end <= span.end);
        let Some(part) = text.get(start..end) else { continue };
        if part.starts_with(char::is_whitespace)
            && let Some(last) = words.last_mut()
        {
            last.space_behind = true;
        }
        let before = words.len();
        words.extend(part.split_whitespace().map(|text| Word { text, marked: inside, space_behind: true }));
        if words.len() > before
            && !part.ends_with(char::is_whitespace)
            && let Some(last) = words.last_mut()
        {
            last.space_behind = false;
        }
    }
    words
}

/// The word to begin with: the first, unless the word numbered `first` would not be seen.
fn start_of(words: &[Word<'_>], first: usize, limit: usize) -> usize {
    let length = |word: &Word<'_>| word.text.chars().count() + usize::from(word.space_behind);
    let until: usize = words.iter().take(first + 1).map(length).sum();
    if until <= limit {
        return 0;
    }
    let mut left = BEFORE;
    let mut start = first;
    while let Some(word) = start.checked_sub(1).and_then(|at| words.get(at))
        && length(word) <= left
    {
        left -= length(word);
        start -= 1;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str, part: &str) -> ByteSpan {
        let start = text.find(part).unwrap();
        ByteSpan { start, end: start + part.len() }
    }

    #[test]
    fn marked_words_are_painted_one_by_one() {
        let text = "The battery  life\nis short.";
        let found = words(text, &[span(text, "battery  life"), span(text, "short")]);
        let told: Vec<(&str, bool, bool)> = found.iter().map(|w| (w.text, w.marked, w.space_behind)).collect();
        assert_eq!(
            told,
            [
                ("The", false, true),
                ("battery", true, true),
                ("life", true, true),
                ("is", false, true),
                ("short", true, false),
                (".", false, false)
            ]
        );
        assert_eq!(marked_snippet(&Terminal::new(false, true), text, &[], 100), "The battery life is short.");
    }

    #[test]
    fn a_long_text_is_shown_around_the_first_marked_word() {
        let text = format!("{}needle {}", "hay ".repeat(100), "straw ".repeat(100));
        let shown = marked_snippet(&Terminal::new(false, true), &text, &[span(&text, "needle")], 80);
        assert!(shown.starts_with("…hay") && shown.contains("needle straw") && shown.ends_with('…'), "{shown}");
        assert!(shown.chars().count() <= 84, "{shown}");
        let plain = marked_snippet(&Terminal::new(false, true), &text, &[], 80);
        assert!(plain.starts_with("hay hay") && plain.ends_with('…'), "{plain}");
    }

    #[test]
    fn text_without_spaces_and_spans_that_do_not_fit_are_no_trouble() {
        let text = "很好用的水壶";
        let terminal = Terminal::new(false, true);
        assert_eq!(marked_snippet(&terminal, text, &[ByteSpan { start: 3, end: 6 }], 4), "很好用的…");
        assert_eq!(marked_snippet(&terminal, text, &[ByteSpan { start: 1, end: 400 }], 9), text);
        assert_eq!(marked_snippet(&terminal, "", &[], 9), "");
    }
}
