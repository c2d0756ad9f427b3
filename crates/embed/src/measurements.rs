//! What was measured of engines on this machine: a small JSON file, so that it is measured once.

use std::fmt;
use std::fs;
use std::path::Path;

use anser_core::Device;
use anser_core::storage::write_atomic;
use anser_kernels::InstructionSet;
use anser_models::ModelFiles;
use serde::{Deserialize, Serialize};

use crate::EmbedOptions;
use crate::choose::{LEAST_COSINE, MEAN_COSINE};

/// Most records in the file; the oldest go first.
const MOST_RECORDS: usize = 64;

/// What was measured of one way to run a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineMeasurement {
    /// Engine and number format, such as `native bf16`.
    pub backend: String,
    /// Texts of a review's length that one thread embeds in a second.
    pub texts_per_second: f64,
    /// Mean cosine of its vectors with those of the most exact way.
    pub mean_cosine: f64,
    /// The least cosine of any text.
    pub least_cosine: f64,
    /// Whether the cosines are high enough for it to be taken without being asked for.
    pub correct: bool,
    /// Why it could not be measured, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl EngineMeasurement {
    /// `cosines` are those of each text with the reference.
    pub(crate) fn new(backend: &str, texts_per_second: f64, cosines: &[f64]) -> Self {
        let mean_cosine = cosines.iter().sum::<f64>() / cosines.len().max(1) as f64;
        let least_cosine = cosines.iter().copied().fold(1.0, f64::min);
        let correct = mean_cosine >= MEAN_COSINE && least_cosine >= LEAST_COSINE;
        Self { backend: backend.to_owned(), texts_per_second, mean_cosine, least_cosine, correct, failure: None }
    }

    /// It could not be loaded, or did not run.
    pub(crate) fn failed(backend: &str, reason: String) -> Self {
        Self {
            backend: backend.to_owned(),
            texts_per_second: 0.0,
            mean_cosine: 0.0,
            least_cosine: 0.0,
            correct: false,
            failure: Some(reason),
        }
    }

    pub(crate) fn is_faster_than(&self, other: &Self) -> bool {
        self.texts_per_second > other.texts_per_second
    }
}

impl fmt::Display for EngineMeasurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, texts_per_second, mean_cosine, correct, failure, .. } = self;
        if let Some(reason) = failure {
            return write!(f, "{backend} failed: {reason}");
        }
        let verdict = if *correct { "" } else { ", too inexact" };
        write!(f, "{backend} {texts_per_second:.0} texts/s a thread (cosine {mean_cosine:.4}{verdict})")
    }
}

/// Which way to run a model was taken, and out of which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineChoice {
    /// Engine and number format, such as `native bf16`.
    pub backend: String,
    /// What was measured; empty when there was nothing to choose, because only one way is possible or was asked for.
    pub measured: Vec<EngineMeasurement>,
}

/// What a choice depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Fingerprint of the model.
    pub(crate) model: String,
    /// What computes: the processor's name and its instructions, or a GPU.
    pub(crate) processor: String,
    pub(crate) threads: usize,
    /// Version of this program.
    pub(crate) program: String,
    /// What the user left open, such as "any engine, int8".
    pub(crate) asked: String,
}

impl Key {
    /// Of a model run on this machine with `options`.
    pub(crate) fn new(files: &ModelFiles, options: &EmbedOptions) -> Self {
        let processor = match options.device {
            Device::Cpu => format!("{}, {}", processor_name(), InstructionSet::best().name()),
            gpu => gpu.to_string(),
        };
        Self {
            model: files.fingerprint(),
            processor,
            threads: options.threads,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            asked: options.wanted(),
        }
    }
}

/// What the processor calls itself, where the system has a file that says so.
fn processor_name() -> String {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = told.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned()
}

/// What was chosen before for the model of `files` with these options, if that was measured and kept.
pub fn recorded_choice(files: &ModelFiles, options: &EmbedOptions) -> Option<EngineChoice> {
    find(options.measurements.as_deref()?, &Key::new(files, options)).map(|record| record.choice)
}

/// A choice and what it was made for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) choice: EngineChoice,
}

/// The choice that was made for `key`.
pub(crate) fn find(file: &Path, key: &Key) -> Option<Record> {
    read(file).into_iter().find(|record| record.key == *key)
}

/// Keeps a choice. A file that cannot be written costs only the next measurement.
pub(crate) fn keep(file: &Path, record: Record) {
    let mut records = read(file);
    records.retain(|other| other.key != record.key);
    records.push(record);
    let surplus = records.len().saturating_sub(MOST_RECORDS);
    records.drain(..surplus);
    let written = serde_json::to_vec_pretty(&records).map_err(|error| error.to_string());
    let kept = written.and_then(|json| write_atomic(file, &json).map_err(|error| error.to_string()));
    if let Err(error) = kept {
        tracing::warn!(file = %file.display(), error, "the measured engines were not kept");
    }
}

/// A file that is missing or damaged holds no measurement.
fn read(file: &Path) -> Vec<Record> {
    fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(model: &str) -> Key {
        Key {
            model: model.to_owned(),
            processor: "a processor".to_owned(),
            threads: 2,
            program: "1.0.0".to_owned(),
            asked: String::new(),
        }
    }

    fn record(model: &str, backend: &str) -> Record {
        let measured = vec![
            EngineMeasurement::new(backend, 100.0, &[0.9995, 1.0]),
            EngineMeasurement::failed("onnx", "no library".to_owned()),
        ];
        Record { key: key(model), choice: EngineChoice { backend: backend.to_owned(), measured } }
    }

    #[test]
    fn a_record_is_found_for_exactly_what_it_was_made_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("engines.json");
        assert_eq!(find(&file, &key("a")), None);
        keep(&file, record("a", "native f32"));
        keep(&file, record("b", "native bf16"));
        keep(&file, record("a", "native int8"));
        assert_eq!(find(&file, &key("a")), Some(record("a", "native int8")));
        assert_eq!(find(&file, &key("b")), Some(record("b", "native bf16")));
        let others = [
            Key { threads: 1, ..key("a") },
            Key { program: "1.0.1".to_owned(), ..key("a") },
            Key { processor: "another".to_owned(), ..key("a") },
            Key { asked: "int8".to_owned(), ..key("a") },
            key("c"),
        ];
        assert!(others.iter().all(|other| find(&file, other).is_none()));
    }

    #[test]
    fn the_oldest_records_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("engines.json");
        for model in 0..=MOST_RECORDS {
            keep(&file, record(&model.to_string(), "onnx"));
        }
        assert_eq!(find(&file, &key("0")), None);
        assert!((1..=MOST_RECORDS).all(|model| find(&file, &key(&model.to_string())).is_some()));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        keep(&folder.path().join("nowhere").join("engines.json"), record("a", "onnx"));
    }

    #[test]
    fn inexact_vectors_are_not_correct_in_the_mean_nor_one_by_one() {
        let correct = |cosines: &[f64]| EngineMeasurement::new("x", 1.0, cosines).correct;
        assert!(correct(&[0.9995, 0.9985, 0.9995]));
        assert!(!correct(&[0.9985, 0.9985, 0.9985]));
        assert!(!correct(&[1.0, 1.0, 1.0, 1.0, 0.9975]));
        assert!(!correct(&[1.0, f64::NAN]));
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_ignored(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..400) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("engines.json");
            fs::write(&file, &bytes).unwrap();
            prop_assert!(read(&file).is_empty());
            fs::remove_file(&file).unwrap();
            keep(&file, record("a", "onnx"));
            let whole = fs::read(&file).unwrap();
            fs::write(&file, &whole[..cut.min(whole.len() - 1)]).unwrap();
            prop_assert!(read(&file).is_empty());
            keep(&file, record("b", "onnx"));
            prop_assert!(find(&file, &key("b")).is_some());
        }
    }
}
