//! Training data as the model reads it: encoded, cut to the longest length, and its digest.

use std::path::Path;

use anser_core::{ChatMessage, Objective, StopSignal};
use anser_generate::{ChatCodec, EncodedExample};
use rayon::prelude::*;
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

    /// Puts encoded examples together; `None` is one that has nothing to learn left.
    fn gather(encoded: Vec<(Option<Unit>, bool)>) -> Self {
        let cut = encoded.iter().filter(|(_, cut)| *cut).count();
        let all = encoded.len();
        let units: Vec<Unit> = encoded.into_iter().filter_map(|(unit, _)| unit).collect();
        Self { cut, left_out: all - units.len(), units }
    }
}

/// Turns examples into what the model reads.
pub(crate) struct ExampleEncoder<'a> {
    pub(crate) codec: &'a ChatCodec,
    pub(crate) objective: &'a Objective,
    /// Sequences longer than this are cut at the end.
    pub(crate) max_tokens: usize,
    pub(crate) stop: &'a StopSignal,
}

impl ExampleEncoder<'_> {
    /// Encodes the examples of `path`, several at a time. The error is that of the first line at fault.
    pub(crate) fn encode(&self, located: &LocatedExamples, path: &Path) -> Result<Examples, TuneError> {
        let encoded: Vec<Result<(Option<Unit>, bool), TuneError>> = located
            .par_iter()
            .map(|(line, example)| {
                if let Some(reason) = self.stop.get() {
                    return Err(TuneError::Stopped(reason));
                }
                self.unit(example).map_err(|reason| TuneError::File {
                    path: path.to_owned(),
                    line: *line,
                    field: None,
                    reason,
                })
            })
            .collect();
        Ok(Examples::gather(encoded.into_iter().collect::<Result<_, _>>()?))
    }

    /// One example, if anything to learn is left of it, and whether it was cut.
    fn unit(&self, example: &TrainingExample) -> Result<(Option<Unit>, bool), String> {
        check_format(example.format(), self.objective)?;
        let mut sequences = sequences(example, self.codec).map_err(|error| error.to_string())?;
        let cut = sequences.iter().any(|sequence| sequence.tokens.len() > self.max_tokens);
        for sequence in &mut sequences {
            sequence.tokens.truncate(self.max_tokens);
            sequence.learn.truncate(self.max_tokens);
            // Nothing predicts the first token.
            if let Some(first) = sequence.learn.first_mut() {
                *first = false;
            }
        }
        let learns = sequences.iter().all(|sequence| sequence.learn.contains(&true));
        Ok((learns.then_some(Unit { sequences }), cut))
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

fn sequences(example: &TrainingExample, codec: &ChatCodec) -> Result<Vec<EncodedExample>, TuneError> {
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
