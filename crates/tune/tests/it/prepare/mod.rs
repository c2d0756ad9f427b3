//! Preparing data: sources, checks, splits and grounding, with a small world to run them in.

mod checks;
mod grounding;
mod sources;
mod splits;
mod wording;

use std::path::{Path, PathBuf};

use anser_core::{CancelToken, EmbedPurpose, Embedded, Embedder, EmbedderInfo, Embedding, NoProgress};
use anser_tune::TuneError;
use anser_tune::data::{
    ExampleTokens, Finding, OffensiveScores, PrepareOptions, PrepareTools, PreparedDataset, ProposedMend, TokenCounter,
    TrainingExample, prepare,
};
use tempfile::TempDir;

/// Embeds a text as the bag of its words, so that the order of words makes no difference.
struct WordBag(EmbedderInfo);

const DIMENSION: usize = 256;

impl WordBag {
    fn new() -> Self {
        let text = "word-bag".to_owned();
        Self(EmbedderInfo { model: text.clone(), dimension: DIMENSION, max_tokens: 512, fingerprint: text })
    }
}

impl Embedder for WordBag {
    fn info(&self) -> &EmbedderInfo {
        &self.0
    }

    fn embed(&self, texts: &[String], _: EmbedPurpose, cancel: &CancelToken) -> anser_core::Result<Vec<Embedded>> {
        cancel.check()?;
        let one = |text: &String| {
            assert!(!text.trim().is_empty(), "an embedder refuses empty texts");
            let mut values = vec![0.0; DIMENSION];
            for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
                let hash = word.bytes().fold(5381u64, |h, b| h.wrapping_mul(33) ^ u64::from(b));
                values[(hash % DIMENSION as u64) as usize] += 1.0;
            }
            if values.iter().all(|v| *v == 0.0) {
                values[0] = 1.0;
            }
            Ok(Embedded { embedding: Embedding::normalize(values)?, tokens: 1, truncated: false })
        };
        texts.iter().map(one).collect()
    }

    fn count_tokens(&self, text: &str) -> anser_core::Result<usize> {
        Ok(text.split_whitespace().count())
    }
}

/// Counts words as tokens.
struct WordCount;

impl TokenCounter for WordCount {
    fn count(&self, example: &TrainingExample) -> anser_core::Result<ExampleTokens> {
        let line = example.to_json_line();
        let total = line.split_whitespace().count();
        Ok(ExampleTokens { total, learned: total / 2 })
    }
}

/// What a run of preparation gave and asked.
struct Prepared {
    data: PreparedDataset,
    asked: Vec<ProposedMend>,
}

impl Prepared {
    fn finding(&self, id: &str) -> Option<&Finding> {
        self.data.report.findings.iter().find(|finding| finding.id == id)
    }

    /// The findings that are not mere notes about checks without tools or about the size.
    fn ids(&self) -> Vec<&str> {
        let all = self.data.report.findings.iter().map(|finding| finding.id.as_str());
        all.filter(|id| !id.ends_with("_skipped") && *id != "few_examples").collect()
    }

    fn all(&self) -> impl Iterator<Item = &TrainingExample> {
        self.data.training.iter().chain(&self.data.validation)
    }

    fn lines(&self) -> Vec<String> {
        self.all().map(TrainingExample::to_json_line).collect()
    }
}

/// A folder, options and answers.
struct World {
    folder: TempDir,
    options: PrepareOptions,
    embedder: bool,
    /// Names of findings whose mend is refused.
    refuse: Vec<&'static str>,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            options: PrepareOptions::default(),
            embedder: false,
            refuse: Vec::new(),
        }
    }

    fn with_embedder() -> Self {
        Self { embedder: true, ..Self::new() }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn try_run(&self, path: &Path) -> Result<Prepared, TuneError> {
        self.try_run_with(path, None)
    }

    fn try_run_with(&self, path: &Path, offensive: Option<&OffensiveScores<'_>>) -> Result<Prepared, TuneError> {
        let (embedder, cancel) = (WordBag::new(), CancelToken::new());
        let tools = PrepareTools {
            embedder: self.embedder.then_some(&embedder as &dyn Embedder),
            tokens: Some(&WordCount),
            offensive,
            progress: &NoProgress,
            cancel: &cancel,
        };
        let mut asked = Vec::new();
        let data = prepare(path, &self.options, &tools, &mut |mend: &ProposedMend| {
            asked.push(mend.clone());
            !self.refuse.contains(&mend.finding.id.as_str())
        })?;
        Ok(Prepared { data, asked })
    }

    fn run(&self, name: &str, bytes: impl AsRef<[u8]>) -> Prepared {
        let path = self.write(name, bytes);
        self.try_run(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn refusal(&self, name: &str, bytes: impl AsRef<[u8]>) -> TuneError {
        let path = self.write(name, bytes);
        self.try_run(&path).err().unwrap_or_else(|| panic!("{name} was accepted"))
    }
}

const THINGS: [&str; 10] =
    ["kettle", "lamp", "carpet", "window", "bicycle", "garden chair", "oven", "mirror", "printer", "suitcase"];
const ASPECTS: [&str; 12] = [
    "warranty",
    "weight",
    "colour",
    "delivery",
    "repair",
    "cleaning",
    "assembly",
    "price",
    "origin",
    "packaging",
    "insurance",
    "return",
];

/// A question and an answer that resemble no other pair, up to 120 of them.
fn pair(number: usize) -> (String, String) {
    let (thing, aspect) = (THINGS[number % 10], ASPECTS[number / 10 % 12]);
    // Words of their own keep the pairs apart for an embedder that counts words.
    let own = |n: usize| {
        format!("{}{}", ["ba", "du", "ki", "lo", "me"][n % 5], ["ran", "sil", "tum", "vex", "wop", "zen", "pri"][n % 7])
    };
    let (x, y, z) = (own(number), own(number / 5 + 3), own(number / 7 + 11));
    (
        format!("Which {aspect} has the {thing} model {x} {y} in {z}?"),
        format!("The {thing} {x} offers {aspect} by {z} partners, see page {} of {y}.", number + 100),
    )
}

fn pairs(count: usize) -> Vec<(String, String)> {
    (0..count).map(pair).collect()
}

/// Question and answer pairs as JSON lines with these field names.
fn jsonl(pairs: &[(String, String)], question: &str, answer: &str) -> String {
    pairs
        .iter()
        .map(|(q, a)| format!("{}\n", serde_json::json!({ question: q, answer: a })))
        .collect::<Vec<_>>()
        .concat()
}

/// The same as chats.
fn chats(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(q, a)| TrainingExample::question_answer(None, q, a).to_json_line() + "\n").collect()
}

#[test]
fn clean_data_ask_nothing_and_are_kept_whole() {
    let world = World::with_embedder();
    let prepared = world.run("clean.jsonl", jsonl(&pairs(120), "question", "answer"));
    assert_eq!(prepared.ids(), Vec::<&str>::new(), "{:#?}", prepared.data.report.findings);
    assert!(prepared.asked.is_empty());
    assert_eq!((prepared.data.training.len(), prepared.data.validation.len()), (96, 24));
}

#[test]
fn what_is_written_is_what_the_strict_reader_takes_and_the_report_comes_back() {
    use anser_tune::data::{PrepareReport, RunEstimate, read_training_file, read_validation_file};
    let world = World::with_embedder();
    let mut data = world.run("faq.jsonl", jsonl(&pairs(60), "question", "answer")).data;
    data.report.estimate = Some(RunEstimate { steps: 18, seconds: Some(700.0), memory_bytes: 3 << 29 });
    let files = data.write(&world.folder.path().join("out"), "faq").unwrap();
    let (training, check) = read_training_file(&files.training).unwrap();
    assert_eq!((check.problem_count, training.len()), (0, 48));
    let (validation, check) = read_validation_file(files.validation.as_ref().unwrap()).unwrap();
    assert_eq!((check.problem_count, validation.len()), (0, 12));
    let text = std::fs::read_to_string(&files.report).unwrap();
    let report: PrepareReport = serde_json::from_str(&text).unwrap();
    assert_eq!(report, data.report);
    let shown = report.to_string();
    for words in [
        "60 examples",
        "48 to train on, 12 to measure on (20 %",
        "18 steps, about 12 minutes, 1.5 GiB",
        "only 60 examples",
        &report.fingerprint,
    ] {
        assert!(shown.contains(words), "{words} is missing in\n{shown}");
    }
    assert!(data.write(world.folder.path(), "../faq").is_err());
}

#[test]
fn the_same_file_and_seed_give_the_same_data_and_another_seed_another_split() {
    let world = World::with_embedder();
    let text = jsonl(&pairs(100), "question", "answer");
    let (first, second) = (world.run("a.jsonl", &text), world.run("a.jsonl", &text));
    assert_eq!(first.data, second.data);
    let other = World { options: PrepareOptions { seed: 7, ..PrepareOptions::default() }, ..World::with_embedder() };
    let third = other.run("a.jsonl", &text);
    assert_ne!(first.data.report.fingerprint, third.data.report.fingerprint);
    let sorted = |prepared: &Prepared| {
        let mut lines = prepared.lines();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&first), sorted(&third));
}

#[test]
fn a_cancelled_preparation_stops() {
    let world = World::new();
    let path = world.write("a.jsonl", jsonl(&pairs(20), "question", "answer"));
    let cancel = CancelToken::new();
    cancel.cancel();
    let tools = PrepareTools { embedder: None, tokens: None, offensive: None, progress: &NoProgress, cancel: &cancel };
    let error = prepare(&path, &PrepareOptions::default(), &tools, &mut |_| true).unwrap_err();
    assert_eq!(error.kind(), anser_core::ErrorKind::Cancelled);
}

#[test]
fn options_out_of_range_are_refused() {
    for options in [
        PrepareOptions { validation_share: Some(0.9), ..PrepareOptions::default() },
        PrepareOptions { validation_share: Some(f64::NAN), ..PrepareOptions::default() },
        PrepareOptions { max_tokens: 0, ..PrepareOptions::default() },
    ] {
        let world = World { options, ..World::new() };
        let error = world.refusal("a.jsonl", jsonl(&pairs(20), "question", "answer"));
        assert_eq!(error.kind(), anser_core::ErrorKind::InvalidInput);
    }
}
