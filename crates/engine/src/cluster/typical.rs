//! The documents that stand for a cluster: near its centroid, not near-copies of each other, long enough to say something.

use anser_core::{Document, Embedding};
use unicode_segmentation::UnicodeSegmentation;

/// Two documents whose vectors are nearer than this say the same thing.
const NEAR_COPY: f32 = 0.97;

/// A text with fewer words than this ("Great!") says nothing about its cluster.
const FEWEST_WORDS: usize = 5;

/// Longest text shown, in characters.
const SNIPPET: usize = 240;

/// At most `wanted` of `members` (indices into `documents`), nearest first. Short texts are taken only when there are too
/// few longer ones, near-copies never.
pub(super) fn typical_members(
    documents: &[Document],
    embeddings: &[Embedding],
    similarities: &[f32],
    members: &[usize],
    wanted: usize,
) -> Vec<usize> {
    let mut nearest = members.to_vec();
    nearest.sort_by(|&a, &b| similarities[b].total_cmp(&similarities[a]).then(a.cmp(&b)));
    let mut chosen: Vec<usize> = Vec::with_capacity(wanted.min(members.len()));
    for long in [true, false] {
        for &at in &nearest {
            if chosen.len() == wanted {
                break;
            }
            if is_long(&documents[at].text) == long && !chosen.iter().any(|&c| is_copy(documents, embeddings, c, at)) {
                chosen.push(at);
            }
        }
    }
    chosen
}

fn is_long(text: &str) -> bool {
    text.unicode_words().nth(FEWEST_WORDS - 1).is_some()
}

fn is_copy(documents: &[Document], embeddings: &[Embedding], a: usize, b: usize) -> bool {
    documents[a].text == documents[b].text || embeddings[a].cosine(&embeddings[b]).is_ok_and(|c| c > NEAR_COPY)
}

/// The beginning of `text` on one line, cut between words and marked with an ellipsis when longer than 240 characters.
pub(super) fn snippet(text: &str) -> String {
    let mut shown = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let word_length = word.chars().count();
        let gap = usize::from(length > 0);
        if length + gap + word_length > SNIPPET {
            // A text without spaces is cut inside; so is a very long last word.
            if length < SNIPPET / 2 {
                shown.extend(std::iter::repeat_n(' ', gap).chain(word.chars().take(SNIPPET - length - gap)));
            }
            shown.push('…');
            break;
        }
        shown.extend(std::iter::repeat_n(' ', gap).chain(word.chars()));
        length += gap + word_length;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixtures::document;

    #[test]
    fn copies_are_left_out_and_short_texts_come_last() {
        let texts = [
            "Great!",
            "this kettle boils water very fast",
            "this kettle boils water very fast",
            "this kettle boils the water really fast",
            "the lid of my kettle leaks steam",
            "Nice kettle",
        ];
        let angles: [f32; 6] = [0.0, 2.0, 40.0, 3.0, 30.0, 60.0];
        let documents: Vec<Document> = texts.iter().enumerate().map(|(i, text)| document(i, text)).collect();
        let embeddings: Vec<Embedding> = angles
            .iter()
            .map(|a| Embedding::normalize(vec![a.to_radians().cos(), a.to_radians().sin()]).unwrap())
            .collect();
        let similarities = angles.map(|a| a.to_radians().cos());
        let pick = |wanted| typical_members(&documents, &embeddings, &similarities, &[5, 4, 3, 2, 1, 0], wanted);
        // 2 has the text of 1 and 3 nearly its vector; 0, the nearest of all, is too short and near 1 as well.
        assert_eq!(pick(2), [1, 4]);
        assert_eq!(pick(9), [1, 4, 5]);
        assert!(pick(0).is_empty());
    }

    #[test]
    fn snippets_are_one_line_cut_between_words() {
        assert_eq!(snippet("a\n  b\tc"), "a b c");
        let long = snippet(&"word ".repeat(100));
        assert!(long.ends_with("word…") && long.chars().count() <= SNIPPET + 1);
        assert_eq!(snippet(&"咖".repeat(500)).chars().count(), SNIPPET + 1);
        assert_eq!(snippet(""), "");
    }
}
