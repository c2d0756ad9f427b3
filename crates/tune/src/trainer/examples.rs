//! Training data as the model reads it: encoded, cut to the longest length, and its digest.

use std::path::Path;

use anser_core::{ChatMessage, Objective};
use anser_generate::{ChatCodec, EncodedExample};
use sha2::{Digest as _, Sha256};

use crate::TuneError;
use crate::data::{LocatedExamples, TrainingExample, TrainingFormat};

/// One example: a sequence, or for preferences two, the preferred output first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unit {
    /// The sequences.
    pub(crate) sequences: Vec<EncodedExample>,
}

impl Unit {
    /// Tokens of all sequences.
    pub(crate) fn tokens(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.tokens.len()).sum()
    }

    /// Tokens that the loss counts.
    pub(crate) fn targets(&self) -> usize {
        self.sequences.iter().flat_map(|sequence| &sequence.learn).filter(|learn| **learn).count()
    }
}

/// Encoded examples of one file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Examples {
    /// The examples, in the file's order.
    pub(crate) units: Vec<Unit>,
    /// Examples that were cut at the end.
    pub(crate) cut: usize,
    /// Examples left out because nothing to learn was left of them.
    pub(crate) left_out: usize,
}

impl Examples {
    /// Tokens of one pass.
    pub(crate) fn tokens(&self) -> u64 {
        self.units.iter().map(|unit| unit.tokens() as u64).sum()
    }

    /// Tokens that the loss counts in one pass.
    pub(crate) fn targets(&self) -> u64 {
        self.units.iter().map(|unit| unit.targets() as u64).sum()
    }

    /// Tokens of the longest example.
    pub(crate) fn longest(&self) -> usize {
        self.units.iter().map(Unit::tokens).max().unwrap_or(0)
    }

    /// Encodes the examples of `path`. Sequences longer than `max_tokens` are cut at the end.
    pub(crate) fn encode(
        located: &LocatedExamples,
        codec: &ChatCodec,
        objective: &Objective,
        max_tokens: usize,
        path: &Path,
    ) -> Result<Self, TuneError> {
        let mut examples = Self::default();
        for (line, example) in located {
            let fault = |reason: String| TuneError::File { path: path.to_owned(), line: *line, field: None, reason };
            check_format(example.format(), objective).map_err(|reason| fault(reason.to_owned()))?;
            let mut sequences = encode(example, codec).map_err(|error| fault(error.to_string()))?;
            let long = sequences.iter().any(|sequence| sequence.tokens.len() > max_tokens);
            examples.cut += usize::from(long);
            for sequence in &mut sequences {
                sequence.tokens.truncate(max_tokens);
                sequence.learn.truncate(max_tokens);
                // Nothing predicts the first token.
                if let Some(first) = sequence.learn.first_mut() {
                    *first = false;
                }
            }
            if sequences.iter().all(|sequence| sequence.learn.contains(&true)) {
                examples.units.push(Unit { sequences });
            } else {
                examples.left_out += 1;
            }
        }
        Ok(examples)
    }
}

fn check_format(format: TrainingFormat, objective: &Objective) -> Result<(), &'static str> {
    match (objective, format == TrainingFormat::Preference) {
        (Objective::Supervised, true) => {
            Err("it holds preferences, which supervised training cannot use; choose the preference method (dpo)")
        }
        (Objective::Preference { .. }, false) => {
            Err("it is not a preference; preference optimisation needs lines with input, preferred_output and \
             non_preferred_output")
        }
        _ => Ok(()),
    }
}

fn encode(example: &TrainingExample, codec: &ChatCodec) -> Result<Vec<EncodedExample>, TuneError> {
    match example {
        TrainingExample::Chat { turns } => Ok(vec![codec.encode_example(turns)?]),
        TrainingExample::PromptCompletion { prompt, completion } => {
            Ok(vec![codec.encode_completion(prompt, completion)?])
        }
        TrainingExample::Preference { prompt, preferred, other } => [preferred, other]
            .map(|output| {
                let turn = |learn: bool| move |message: &ChatMessage| (message.clone(), learn);
                let turns: Vec<_> = prompt.iter().map(turn(false)).chain(output.iter().map(turn(true))).collect();
                Ok(codec.encode_example(&turns)?)
            })
            .into_iter()
            .collect(),
    }
}

/// SHA-256 over tokens and targets of both sets, as hexadecimal digits.
pub(crate) fn fingerprint(training: &Examples, validation: &Examples) -> String {
    let mut digest = Sha256::new();
    for examples in [training, validation] {
        digest.update((examples.units.len() as u64).to_le_bytes());
        for sequence in examples.units.iter().flat_map(|unit| &unit.sequences) {
            digest.update((sequence.tokens.len() as u64).to_le_bytes());
            sequence.tokens.iter().for_each(|token| digest.update(token.to_le_bytes()));
            sequence.learn.iter().for_each(|learn| digest.update([u8::from(*learn)]));
        }
    }
    hexadecimal(&digest.finalize())
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
