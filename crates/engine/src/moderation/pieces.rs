//! Cuts long texts, so that one bad sentence is not lost among many good ones.

use unicode_segmentation::UnicodeSegmentation;

/// Characters of a piece: one sentence, or a few very short ones, as in most of the examples that the model was made of. A
/// threat among two friendly sentences is not seen when all three are read as one.
const PIECE_CHARS: usize = 60;

/// From this many pieces on they grow instead, up to what an embedder reads at once.
const GROW_FROM: usize = 256;
const MAX_PIECE_CHARS: usize = 1_500;

/// The text in pieces of whole sentences, none of them blank; a sentence of more than what an embedder reads is cut. A
/// short text is one piece.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let limit = (text.chars().count() / GROW_FROM).clamp(PIECE_CHARS, MAX_PIECE_CHARS);
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut length = 0;
    for sentence in text.unicode_sentences() {
        let chars = sentence.chars().count();
        if length > 0 && length + chars > limit {
            pieces.push(std::mem::take(&mut piece));
            length = 0;
        }
        for c in sentence.chars() {
            if length == MAX_PIECE_CHARS {
                pieces.push(std::mem::take(&mut piece));
                length = 0;
            }
            piece.push(c);
            length += 1;
        }
    }
    pieces.push(piece);
    pieces.retain(|piece| !piece.trim().is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_text_is_one_piece_and_a_blank_one_none() {
        assert_eq!(pieces("Hello there. How are you?"), ["Hello there. How are you?"]);
        assert!(pieces(" \n ").is_empty() && pieces("").is_empty());
    }

    #[test]
    fn long_texts_are_cut_between_sentences() {
        let text = "This is one of many sentences in the text. ".repeat(20);
        let pieces = pieces(&text);
        assert!(pieces.len() >= 10);
        assert!(pieces.iter().all(|piece| piece.starts_with("This") && piece.chars().count() <= PIECE_CHARS));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "[a-z .。?!\n好]{0,3000}") {
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            prop_assert_eq!(letters(&pieces(&text).concat()), letters(&text));
        }
    }
}
