//! What is shown of a document when it is pointed at.

use anser_core::Document;

use super::DocumentMap;
use crate::EngineError;
use crate::analysis::Work;

/// Longest heading and longest text, in characters.
const HEADING: usize = 90;
const SNIPPET: usize = 220;

/// Title, beginning of the text and id of every document that a page shows; nothing of the others. Texts are read once, in
/// order.
pub(crate) fn hover_texts(work: &Work<'_>) -> Result<Vec<String>, EngineError> {
    let mut shown = vec![false; work.subject.len()];
    for at in DocumentMap::shown(shown.len()) {
        shown[at as usize] = true;
    }
    let mut texts = Vec::with_capacity(shown.len());
    for (document, shown) in work.subject.documents()?.zip(shown) {
        work.cancel.check()?;
        let document = document?;
        texts.push(if shown { hover_text(&document) } else { String::new() });
    }
    Ok(texts)
}

fn hover_text(document: &Document) -> String {
    let text = beginning(&document.text, SNIPPET);
    match document.title.as_deref().map(|title| beginning(title, HEADING)).filter(|title| !title.is_empty()) {
        Some(title) => format!("{title}\n{text}\nid: {}", document.id),
        None => format!("{}\n{text}", document.id),
    }
}

/// The beginning of a text on one line, cut between words.
fn beginning(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let characters = word.chars().count();
        if length + characters + 1 > most {
            let room = most - length;
            // A text without spaces is cut inside.
            if length == 0 || room > most / 4 {
                out.extend(std::iter::once(' ').filter(|_| length > 0).chain(word.chars().take(room)));
            }
            out.push('…');
            break;
        }
        if length > 0 {
            out.push(' ');
        }
        out.push_str(word);
        length += characters + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_one_line_cut_between_words() {
        assert_eq!(beginning(" a\n b\tc ", 20), "a b c");
        assert_eq!(beginning("strong coffee from dark beans", 20), "strong coffee from…");
        assert_eq!(beginning("", 20), "");
        let long = "咖".repeat(50);
        assert_eq!(beginning(&long, 20).chars().count(), 21);
    }
}
