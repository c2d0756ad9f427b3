//! Requests that cannot become jobs, and those that can.

use std::collections::BTreeMap;
use std::io::Write;

use anser_core::{ErrorKind, Hyperparameters, LoraOptions, Objective, TrainableParts};
use anser_engine::{
    Engine, EngineOptions, FilePurpose, FineTuningRequest, FineTuningStatus, PageRequest, ServedModels,
};

use super::{BASE, Bench, examples};

/// A change that makes a good request bad.
type Change = Box<dyn Fn(&mut FineTuningRequest)>;

fn hyperparameters(change: impl Fn(&mut Hyperparameters) + 'static) -> Change {
    Box::new(move |request| change(&mut request.hyperparameters))
}

fn lora(change: impl Fn(&mut LoraOptions) + 'static) -> Change {
    Box::new(move |request| {
        let mut options = LoraOptions::default();
        change(&mut options);
        request.parts = TrainableParts::Lora(options);
    })
}

fn bad_requests(other: String) -> Vec<(&'static str, Change)> {
    let validation = other.clone();
    vec![
        ("model", Box::new(|r| r.model = "gpt-9".into())),
        ("model", Box::new(|r| r.model = "ft:tiny-chat:anser::missing1".into())),
        ("training_file", Box::new(|r| r.training_file = "file-missing".into())),
        ("training_file", Box::new(move |r| r.training_file.clone_from(&other))),
        ("validation_file", Box::new(move |r| r.validation_file = Some(validation.clone()))),
        ("validation_file", Box::new(|r| r.validation_file = Some("file-missing".into()))),
        ("suffix", Box::new(|r| r.suffix = Some(String::new()))),
        ("suffix", Box::new(|r| r.suffix = Some("x".repeat(65)))),
        ("suffix", Box::new(|r| r.suffix = Some("a:b".into()))),
        ("suffix", Box::new(|r| r.suffix = Some("  ".into()))),
        ("seed", Box::new(|r| r.seed = Some(1 << 31))),
        ("metadata", Box::new(|r| r.metadata = (0..17).map(|i| (i.to_string(), String::new())).collect())),
        ("metadata", Box::new(|r| r.metadata = BTreeMap::from([("k".repeat(65), String::new())]))),
        ("metadata", Box::new(|r| r.metadata = BTreeMap::from([("k".into(), "v".repeat(513))]))),
        ("hyperparameters.beta", Box::new(|r| r.objective = Objective::Preference { beta: Some(2.5) })),
        ("hyperparameters.batch_size", hyperparameters(|h| h.batch_size = Some(0))),
        ("hyperparameters.batch_size", hyperparameters(|h| h.batch_size = Some(257))),
        ("hyperparameters.n_epochs", hyperparameters(|h| h.n_epochs = Some(51))),
        ("hyperparameters.learning_rate_multiplier", hyperparameters(|h| h.learning_rate_multiplier = Some(0.0))),
        ("hyperparameters.learning_rate_multiplier", hyperparameters(|h| h.learning_rate_multiplier = Some(f64::NAN))),
        ("hyperparameters.learning_rate", hyperparameters(|h| h.learning_rate = Some(-1.0))),
        (
            "hyperparameters.learning_rate",
            hyperparameters(|h| (h.learning_rate, h.learning_rate_multiplier) = (Some(0.1), Some(2.0))),
        ),
        ("hyperparameters.warmup_ratio", hyperparameters(|h| h.warmup_ratio = Some(1.0))),
        ("hyperparameters.weight_decay", hyperparameters(|h| h.weight_decay = Some(-0.1))),
        ("hyperparameters.max_grad_norm", hyperparameters(|h| h.max_grad_norm = Some(0.0))),
        ("hyperparameters.eval_interval", hyperparameters(|h| h.eval_interval = Some(0))),
        ("hyperparameters.max_tokens", hyperparameters(|h| h.max_tokens = Some(1))),
        ("lora.rank", lora(|l| l.rank = 0)),
        ("lora.alpha", lora(|l| l.alpha = f64::INFINITY)),
        ("lora.dropout", lora(|l| l.dropout = 1.0)),
        ("lora.target_modules", lora(|l| l.target_modules = vec!["lm_head".into()])),
        ("lora.target_modules", lora(|l| l.target_modules.clear())),
        ("blocks", Box::new(|r| r.parts = TrainableParts::LastBlocks { blocks: 0 })),
    ]
}

#[test]
fn a_bad_request_names_its_field_and_makes_nothing() {
    let bench = Bench::new();
    let good = FineTuningRequest {
        model: BASE.into(),
        training_file: bench.upload(&examples()).id,
        ..FineTuningRequest::default()
    };
    let mut upload = bench.engine.begin_upload("x", FilePurpose::UserData, None).unwrap();
    upload.write_all(b"x").unwrap();
    for (param, change) in bad_requests(upload.finish().unwrap().id) {
        let mut request = good.clone();
        change(&mut request);
        let error = bench.engine.create_fine_tuning_job(&request).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidInput, Some(param)), "{error}");
    }
    assert!(bench.engine.jobs(&PageRequest::default()).unwrap().items.is_empty());
    bench.engine.delete_file(&good.training_file).unwrap();
}

#[test]
fn a_job_says_what_it_was_asked_and_what_was_drawn() {
    let bench = Bench::new();
    let job = bench.job(|request| {
        request.suffix = Some("house style".into());
        request.metadata = BTreeMap::from([("team".into(), "shop".into())]);
    });
    assert!(job.id.starts_with("ftjob-"));
    assert_eq!(
        (job.status, job.model.as_str(), job.organization.as_str()),
        (FineTuningStatus::ValidatingFiles, BASE, "anser")
    );
    assert!(i32::try_from(job.seed).is_ok() && job.plan.is_none() && job.fine_tuned_model.is_none());
    assert_eq!(job.request.metadata["team"], "shop");
    assert_eq!(bench.events(&job.id)[0].message, format!("Created fine-tuning job: {}", job.id));
    assert_ne!(bench.job(|_| {}).seed, bench.job(|_| {}).seed, "seeds are drawn");
    assert_eq!(bench.job(|request| request.seed = Some(7)).seed, 7);
    bench.engine.run_next_job().unwrap();
    let queued = bench.engine.fine_tuning_job(&job.id).unwrap();
    let plan = queued.plan.unwrap();
    assert_eq!((queued.status, plan.total_steps), (FineTuningStatus::Queued, 8));
    assert_eq!(plan.request.hyperparameters.n_epochs, Some(2));
    assert_eq!(queued.request.hyperparameters.n_epochs, None, "what was asked for stays as it was");
}

#[test]
fn jobs_are_found_by_their_metadata() {
    let bench = Bench::new();
    let shop =
        bench.job(|r| r.metadata = BTreeMap::from([("team".into(), "shop".into()), ("a\"b".into(), "1".into())]));
    bench.job(|r| r.metadata = BTreeMap::from([("team".into(), "bank".into())]));
    bench.job(|_| {});
    let find = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let found = bench.engine.fine_tuning_jobs(&PageRequest::default(), &pairs).unwrap();
        found.items.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(find(&[]).len(), 3);
    assert_eq!(find(&[("team", "shop")]), std::slice::from_ref(&shop.id));
    assert_eq!(find(&[("team", "shop"), ("a\"b", "1")]), [shop.id]);
    assert!(find(&[("team", "shop"), ("a\"b", "2")]).is_empty());
}

#[test]
fn without_a_trainer_nothing_is_tuned_and_jobs_are_left_alone() {
    let bench = Bench::new();
    let job = bench.job(|_| {});
    let data = anser_core::storage::DataDir::open(bench.folder.path()).unwrap();
    let models = ServedModels::new(bench.loader.clone());
    let engine = Engine::open(&data, models, None, EngineOptions::default()).unwrap();
    assert_eq!(engine.create_fine_tuning_job(&job.request).unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(engine.run_next_job().unwrap().is_none());
    let mut upload = engine.begin_upload("x", FilePurpose::FineTune, None).unwrap();
    upload.write_all(b"x").unwrap();
    assert_eq!(upload.finish().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bench.status(&job.id), FineTuningStatus::ValidatingFiles);
}

#[test]
fn unknown_jobs_are_not_found() {
    let bench = Bench::new();
    for error in [
        bench.engine.fine_tuning_job("ftjob-x").err(),
        bench.engine.cancel_fine_tuning_job("ftjob-x").err(),
        bench.engine.pause_fine_tuning_job("ftjob-x").err(),
        bench.engine.resume_fine_tuning_job("ftjob-x").err(),
        bench.engine.fine_tuning_events("ftjob-x", &PageRequest::default()).err(),
        bench.engine.fine_tuning_checkpoints("ftjob-x", &PageRequest::default()).err(),
        bench.engine.tuned_model("ft:x").err(),
    ] {
        assert_eq!(error.unwrap().kind(), ErrorKind::NotFound);
    }
    assert!(!bench.engine.delete_tuned_model("ft:x").unwrap());
}
