//! Training from scratch on a text written here.

use std::fmt::Write as _;
use std::path::Path;

use anser_core::{ErrorKind, StopReason, StopSignal, TrainingEvent};
use anser_generate::{BaseModel, LlamaGenerator};
use anser_tune::{PretrainOptions, PretrainSize, Provenance, pretrain};

use super::workbench::{Told, exact, files};

/// Sentences that follow a few rules, so that context helps.
fn text() -> String {
    let names = ["Ada", "Ben", "Cleo", "Dan"];
    let things = ["the lamp", "the red boat", "a pear", "the old key"];
    let places = ["by the river", "in the kitchen", "under the bridge"];
    (0..400_usize).fold(String::new(), |mut text, at| {
        let (name, thing, place) = (names[at % 4], things[(at / 3) % 4], places[(at * 7 / 5) % 3]);
        writeln!(text, "{name} found {thing} {place}. {name} put {thing} away and went home.").unwrap();
        text
    })
}

fn options(folder: &Path) -> PretrainOptions {
    let path = folder.join("text.txt");
    std::fs::write(&path, text()).unwrap();
    PretrainOptions {
        vocabulary: 320,
        hidden: 32,
        blocks: 2,
        heads: 2,
        context: 64,
        epochs: 3,
        batch_size: 4,
        learning_rate: 5e-3,
        validation_share: 0.1,
        threads: 2,
        ..PretrainOptions::preset(PretrainSize::M1, vec![path])
    }
}

fn run(options: &PretrainOptions, folder: &Path) -> (anser_tune::PretrainOutcome, Told) {
    let mut told = Told::default();
    let outcome = pretrain(options, folder, &StopSignal::default(), &mut |event| told.0.push(event)).unwrap();
    (outcome, told)
}

#[test]
fn a_model_from_scratch_learns_what_counting_words_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let (outcome, told) = run(&options, &folder.path().join("run"));
    let (reached, counted) = (outcome.validation_perplexity.unwrap(), outcome.unigram_perplexity.unwrap());
    assert!(reached < counted / 5.0 && reached > 1.0, "{reached} against {counted}");
    assert!(outcome.training_perplexity < counted / 5.0);
    let steps = told.steps();
    assert_eq!(steps.len(), outcome.metrics.total_steps);
    assert_eq!(outcome.trained_tokens, 3 * outcome.training_tokens);

    let base = BaseModel::open(&outcome.folder).unwrap();
    assert_eq!(base.config().parameters(), outcome.parameters);
    assert_eq!((base.config().blocks, base.config().context, base.config().tied_embeddings), (2, 64, true));
    assert_eq!(base.codec().vocabulary(), outcome.vocabulary);
    let tokens = base.codec().encode_text("Ada found the lamp").unwrap();
    assert_eq!(base.codec().decode(&tokens), "Ada found the lamp");
    assert_eq!(base.codec().decode(&[base.codec().end_of_turn()]), "");
    let record = Provenance::read(&outcome.folder).unwrap();
    assert_eq!((record.base, record.trained_tokens), (None, outcome.trained_tokens));

    let (again, told) = run(&options, &folder.path().join("run"));
    assert_eq!(again, outcome);
    assert!(told.0.is_empty());
}

#[test]
fn the_model_can_be_served() {
    use anser_core::{CancelToken, GenerateOptions, Generator as _, Prompt};
    let folder = tempfile::tempdir().unwrap();
    let (outcome, _) = run(&options(folder.path()), &folder.path().join("run"));
    let generator =
        LlamaGenerator::open("small", &outcome.folder, &anser_generate::GeneratorOptions::default()).unwrap();
    let options = GenerateOptions { max_tokens: Some(12), ..GenerateOptions::default() };
    let prompt = Prompt::Text("Cleo found the red boat by the river. Cleo put");
    let generation = generator.generate(prompt, &options, &CancelToken::default(), &mut |_| {}).unwrap();
    assert!(generation.text.starts_with(" the red boat away"), "{:?}", generation.text);
}

#[test]
fn an_interrupted_training_from_scratch_goes_on_to_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let options = PretrainOptions { epochs: 2, ..options(folder.path()) };
    let (straight, told) = run(&options, &folder.path().join("straight"));
    let mut steps: Vec<_> = told.steps().iter().map(exact).collect();

    let stop = StopSignal::default();
    let interrupted = folder.path().join("interrupted");
    let mut before = Told::default();
    let result = pretrain(&options, &interrupted, &stop, &mut |event| {
        if matches!(&event, TrainingEvent::Step(metrics) if metrics.step == 7) {
            stop.stop(StopReason::Pause);
        }
        before.0.push(event);
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    let (resumed, after) = run(&options, &interrupted);
    let mut again: Vec<_> = before.steps().iter().chain(&after.steps()).map(exact).collect();
    steps.sort();
    again.sort();
    assert_eq!(again, steps);
    assert_eq!(files(&resumed.folder), files(&straight.folder));
}

#[test]
fn too_little_text_and_wrong_sizes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let refused = |options: &PretrainOptions| {
        let error = pretrain(options, &folder.path().join("no"), &StopSignal::default(), &mut |_| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        anser_core::Error::from(error).param().unwrap().to_owned()
    };
    assert_eq!(refused(&PretrainOptions { hidden: 7, ..options.clone() }), "hidden");
    let short = folder.path().join("short.txt");
    std::fs::write(&short, "Ada went home.").unwrap();
    assert_eq!(refused(&PretrainOptions { texts: vec![short], ..options }), "texts");
}
