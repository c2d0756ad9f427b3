//! Plain text as sequences of the context's length, and how well counting words alone would do.

use std::path::{Path, PathBuf};

use anser_generate::EncodedExample;

use crate::TuneError;
use crate::trainer::{Examples, Unit};

/// Reads text files in UTF-8, with or without a byte-order mark.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<String>, TuneError> {
    paths.iter().map(|path| read_text(path)).collect()
}

fn read_text(path: &Path) -> Result<String, TuneError> {
    let bytes = std::fs::read(path).map_err(|error| TuneError::io("read", path, error))?;
    let fault = |line: u64, reason: &str| {
        Err(TuneError::File { path: path.to_owned(), line, field: None, reason: reason.to_owned() })
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count() as u64;
            return fault(line, "the text is not UTF-8; convert it");
        }
    };
    let text = text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text);
    if text.trim().is_empty() {
        return fault(0, "the file holds no text");
    }
    Ok(text)
}

/// Cuts a stream of tokens into sequences of at most `context` tokens. Each begins with the last token of the one before,
/// so that every token but the first is learned once.
pub(super) fn sequences(tokens: &[u32], context: usize) -> Examples {
    let mut units = Vec::new();
    let mut start = 0;
    while start + 1 < tokens.len() {
        let end = tokens.len().min(start + context);
        let tokens = tokens.get(start..end).unwrap_or_default().to_vec();
        let learn = (0..tokens.len()).map(|index| index > 0).collect();
        units.push(Unit { sequences: vec![EncodedExample { tokens, learn }] });
        start = end - 1;
    }
    Examples { units, ..Examples::default() }
}

/// Perplexity that the tokens' frequencies in `training` alone reach on `validation`: what a model that ignores all
/// context would get. Each token of the vocabulary counts once more, so that none is impossible.
pub(super) fn unigram_perplexity(training: &[u32], validation: &[u32], vocabulary: usize) -> f64 {
    let mut counts = vec![1_u64; vocabulary];
    for token in training {
        if let Some(count) = counts.get_mut(*token as usize) {
            *count += 1;
        }
    }
    let all = counts.iter().sum::<u64>() as f64;
    let surprise = |token: &u32| counts.get(*token as usize).map_or(0.0, |count| (all / *count as f64).ln());
    (validation.iter().map(surprise).sum::<f64>() / validation.len().max(1) as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_learned_once() {
        let tokens: Vec<u32> = (0..23).collect();
        let examples = sequences(&tokens, 8);
        let learned: Vec<u32> = examples
            .units
            .iter()
            .flat_map(|unit| unit.sequences[0].tokens.iter().zip(&unit.sequences[0].learn))
            .filter_map(|(token, learn)| learn.then_some(*token))
            .collect();
        assert_eq!(learned, (1..23).collect::<Vec<u32>>());
        assert!(examples.units.iter().all(|unit| unit.tokens() <= 8 && unit.tokens() > 1));
        assert!(sequences(&[5], 8).units.is_empty());
    }

    #[test]
    fn frequencies_alone_reach_the_perplexity_of_their_entropy() {
        // Three quarters and one quarter, counted without the one more to five digits.
        let training: Vec<u32> = (0..40_000).map(|index| u32::from(index % 4 == 0)).collect();
        let expected = (-(0.75_f64.ln() * 0.75) - 0.25_f64.ln() * 0.25).exp();
        assert!((unigram_perplexity(&training, &training, 2) - expected).abs() < 1e-4);
        assert!(unigram_perplexity(&training, &[2], 3).is_finite());
    }

    #[test]
    fn a_file_that_is_no_text_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, b"one\ntwo \xFF\n").unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("a.txt, line 2"));
        std::fs::write(&path, b" \n").unwrap();
        assert!(read_text(&path).is_err());
        std::fs::write(&path, "\u{FEFF}hello").unwrap();
        assert_eq!(read_text(&path).unwrap(), "hello");
    }
}
