//! Jobs from validation to their tuned model, and everything that can come between.

use std::time::Duration;

use anser_core::{ErrorKind, NoProgress, StopReason, StopSignal, TrainableParts, TrainedKind};
use anser_engine::{
    EventLevel, FilePurpose, FineTuningRequest, FineTuningStatus, JobEvent, PageRequest, RunnerOptions,
};

use super::trainer::EPOCH;
use super::{BASE, Bench, examples};

#[test]
fn a_job_leaves_a_model_checkpoints_figures_and_its_story() {
    let bench = Bench::new();
    let job = bench.job(|request| (request.seed, request.suffix) = (Some(1), Some("style".into())));
    bench.run();
    let job = bench.engine.fine_tuning_job(&job.id).unwrap();
    assert_eq!((job.status, job.trained_tokens, &job.error), (FineTuningStatus::Succeeded, Some(120), &None));
    assert!(job.finished_at.is_some() && job.estimated_finish.is_none());
    assert_eq!(job.last_metrics.unwrap().step, 8);

    let id = job.fine_tuned_model.unwrap();
    assert!(id.starts_with("ft:tiny-chat:anser:style:"), "{id}");
    let model = bench.engine.tuned_model(&id).unwrap();
    assert_eq!((model.base.as_str(), model.kind, model.job.as_str()), (BASE, TrainedKind::Adapter, job.id.as_str()));
    assert_eq!(std::fs::read_to_string(model.folder.join("adapter_model.safetensors")).unwrap(), "8");
    let provenance = &model.provenance;
    assert_eq!((provenance["base_hash"].as_str(), provenance["seed"].as_u64()), (Some("abc"), Some(1)));
    assert_eq!(provenance["data_fingerprint"], "fingerprint");
    assert_eq!(provenance["hyperparameters"]["n_epochs"], 2);
    assert_eq!(provenance["training_file"]["sha256"], anser_core::storage::sha256_hex(examples().as_bytes()));
    let written = std::fs::read_to_string(model.folder.join("provenance.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), *provenance);

    let checkpoints = bench.engine.fine_tuning_checkpoints(&job.id, &PageRequest::default()).unwrap().items;
    let seen: Vec<_> = checkpoints.iter().map(|c| (c.step_number, c.model.clone())).collect();
    assert_eq!(seen, [8, 4].map(|step| (step, format!("{id}:ckpt-step-{step}"))));
    assert!(checkpoints.iter().all(|c| c.id.starts_with("ftckpt-") && c.job_id == job.id));
    assert_eq!(bench.engine.tuned_model(&seen[1].1).unwrap().checkpoint_of, Some(id));

    let [result, metrics] = job.result_files.as_slice() else { panic!("{:?}", job.result_files) };
    let read = |id: &str| std::fs::read_to_string(bench.engine.file_path(id).unwrap()).unwrap();
    assert!(
        read(result)
            .starts_with("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,3,0.5,,\n2,2.333")
    );
    assert!(read(result).contains("\n4,1.8,0.5,1.25,0.75\n"), "{}", read(result));
    assert_eq!((read(result).lines().count(), read(metrics).lines().count()), (9, 9));
    let listed = bench.engine.files(Some(FilePurpose::FineTuneResults), &PageRequest::default()).unwrap();
    assert_eq!(listed.items.iter().map(|f| f.filename.as_str()).collect::<Vec<_>>(), ["metrics.csv", "result.csv"]);
    assert_eq!(bench.names(&format!("jobs/{}", job.id)), ["lock"]);

    let messages: Vec<String> = bench.events(&job.id).into_iter().map(|event| event.message).collect();
    let file = &job.request.training_file;
    assert_eq!(messages[0], format!("Created fine-tuning job: {}", job.id));
    assert_eq!(messages[1], format!("Validating training file: {file}"));
    assert_eq!(
        messages[2..5],
        ["Downloading the base model", "Files validated, moving job to queued state", "Fine-tuning job started"]
    );
    assert_eq!(messages[5], "Step 1/8: training loss=3.00");
    assert_eq!(messages[8], "Step 4/8: training loss=1.80, validation loss=1.25");
    assert_eq!(messages[9], "Checkpoint created at step 4");
    assert_eq!(messages.last().unwrap(), "The job has successfully completed");
}

#[test]
fn a_whole_model_is_kept_as_one_and_training_goes_on_from_tuned_models() {
    let bench = Bench::new();
    let full = bench.job(|request| request.parts = TrainableParts::All);
    bench.run();
    let full = bench.engine.fine_tuning_job(&full.id).unwrap().fine_tuned_model.unwrap();
    let model = bench.engine.tuned_model(&full).unwrap();
    assert_eq!((model.kind, model.base.as_str()), (TrainedKind::Full, BASE));

    let over = bench.job(|request| request.model.clone_from(&full));
    bench.run();
    let trained = bench.trainer.trained.lock().clone().unwrap();
    assert_eq!((trained.base, trained.start_from), (model.folder.display().to_string(), None));
    let over = bench.engine.fine_tuning_job(&over.id).unwrap().fine_tuned_model.unwrap();
    assert!(over.starts_with("ft:tiny-chat:anser::"), "{over}");
    let adapter = bench.engine.tuned_model(&over).unwrap();
    assert_eq!((&adapter.base, &adapter.base_folder), (&full, &Some(model.folder.clone())));

    let further = bench.job(|request| request.model.clone_from(&over));
    bench.run();
    let trained = bench.trainer.trained.lock().clone().unwrap();
    assert_eq!(trained.start_from, Some(adapter.folder));
    assert_eq!(trained.base, model.folder.display().to_string());
    let further = bench.engine.fine_tuning_job(&further.id).unwrap().fine_tuned_model.unwrap();
    let further = bench.engine.tuned_model(&further).unwrap();
    assert_eq!((&further.base, &further.parent), (&full, &Some(over)));

    let error = bench.engine.delete_tuned_model(&full).unwrap_err();
    assert!(error.to_string().contains("is built on it"), "{error}");
}

#[test]
fn a_file_with_too_few_examples_fails_the_job() {
    let bench = Bench::new();
    let few = bench.upload(&examples().lines().take(3).collect::<Vec<_>>().join("\n"));
    let job = bench.job(|request| request.training_file = few.id);
    bench.run();
    let error = bench.engine.fine_tuning_job(&job.id).unwrap().error.unwrap();
    assert_eq!((error.code.as_str(), error.param.as_deref()), ("invalid_training_file", Some("training_file")));
    let file = &job.request.training_file;
    assert_eq!(error.message, format!("{file}: it has 3 examples, but must have at least 10"));
    let last = bench.events(&job.id).pop().unwrap();
    assert_eq!((last.level, last.message), (EventLevel::Error, error.message));
}

#[test]
fn a_run_that_fails_or_panics_says_why_and_keeps_its_checkpoints() {
    for panics in [false, true] {
        let bench = Bench::new();
        let at = if panics { &bench.trainer.panic_at } else { &bench.trainer.fail_at };
        *at.lock() = Some(EPOCH + 2);
        let job = bench.job(|_| {});
        bench.run();
        let job = bench.engine.fine_tuning_job(&job.id).unwrap();
        let error = job.error.unwrap();
        assert_eq!((job.status, error.code.as_str()), (FineTuningStatus::Failed, "internal_error"));
        assert!(error.message.contains(if panics { "step 6 panics" } else { "not a number" }), "{error:?}");
        assert!(job.fine_tuned_model.is_none() && job.result_files.is_empty());
        let checkpoints = bench.engine.fine_tuning_checkpoints(&job.id, &PageRequest::default()).unwrap().items;
        assert_eq!(checkpoints.len(), 1);
        bench.engine.models().chat(Some(&checkpoints[0].model)).unwrap();
        bench.other_process();
        assert_eq!(bench.names("tuned"), [format!("{}-step-4", job.id)]);
    }
}

/// Runs `job` on a thread and calls `act` once it has done a step.
fn while_running(bench: &Bench, job: &str, act: impl FnOnce()) {
    *bench.trainer.pace.lock() = Duration::from_millis(30);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| bench.run());
        while bench.engine.fine_tuning_job(job).unwrap().last_metrics.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        act();
        running.join().unwrap();
    });
    *bench.trainer.pace.lock() = Duration::ZERO;
}

fn curve(bench: &Bench, job: &str) -> Vec<(usize, f64)> {
    let steps = bench.events(job).into_iter().filter_map(|event| event.metrics);
    steps.map(|metrics| (metrics.step, metrics.train_loss)).collect()
}

#[test]
fn a_paused_job_goes_on_where_it_was() {
    let bench = Bench::new();
    let long = |request: &mut FineTuningRequest| {
        (request.seed, request.hyperparameters.n_epochs) = (Some(3), Some(50));
    };
    let undisturbed = bench.job(long);
    bench.run();
    let job = bench.job(long);
    while_running(&bench, &job.id, || {
        let running = bench.engine.fine_tuning_job(&job.id).unwrap();
        assert!(running.estimated_finish.is_some());
        bench.engine.pause_fine_tuning_job(&job.id).unwrap();
    });
    assert_eq!(bench.status(&job.id), FineTuningStatus::Paused);
    bench.run();
    assert_eq!(bench.status(&job.id), FineTuningStatus::Paused);
    assert_eq!(bench.engine.resume_fine_tuning_job(&job.id).unwrap().status, FineTuningStatus::Queued);
    bench.run();
    assert_eq!(bench.status(&job.id), FineTuningStatus::Succeeded);
    assert!(bench.events(&job.id).iter().any(|event| event.message.starts_with("Going on after step")));
    assert_eq!(curve(&bench, &job.id), curve(&bench, &undisturbed.id));
}

#[test]
fn a_cancelled_job_leaves_no_model() {
    let bench = Bench::new();
    let job = bench.job(|request| request.hyperparameters.n_epochs = Some(50));
    while_running(&bench, &job.id, || {
        bench.other_process().cancel_fine_tuning_job(&job.id).unwrap();
    });
    let job = bench.engine.fine_tuning_job(&job.id).unwrap();
    assert_eq!((job.status, job.fine_tuned_model), (FineTuningStatus::Cancelled, None));
    let error = bench.engine.cancel_fine_tuning_job(&job.id).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("already been cancelled")), (ErrorKind::InvalidInput, true));
}

#[test]
fn a_shutdown_of_the_runner_puts_training_back_to_go_on_at_the_next_start() {
    let bench = Bench::new();
    *bench.trainer.pace.lock() = Duration::from_millis(30);
    let job = bench.job(|request| request.hyperparameters.n_epochs = Some(50));
    let runner = bench.engine.run_jobs(&RunnerOptions::default());
    while bench.engine.fine_tuning_job(&job.id).unwrap().last_metrics.is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    runner.shutdown();
    assert_eq!(bench.status(&job.id), FineTuningStatus::Queued);
    *bench.trainer.pace.lock() = Duration::ZERO;
    let second = bench.other_process();
    let runner = second.run_jobs(&RunnerOptions::default());
    while !bench.status(&job.id).is_final() {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(runner);
    assert_eq!(bench.status(&job.id), FineTuningStatus::Succeeded);
    assert_eq!(curve(&bench, &job.id).len(), 200);
}

#[test]
fn the_terminal_runs_a_job_itself_and_sees_its_steps() {
    let bench = Bench::new();
    *bench.trainer.pace.lock() = Duration::from_millis(10);
    let job = bench.job(|request| request.hyperparameters.n_epochs = Some(50));
    let mut seen: Vec<JobEvent> = Vec::new();
    let stop = StopSignal::default();
    let ended = bench
        .engine
        .run_job_here(
            &job.id,
            &stop,
            &mut |event| {
                seen.push(event.clone());
                if event.metrics.is_some_and(|metrics| metrics.step == 3) {
                    stop.stop(StopReason::Pause);
                }
            },
            &NoProgress,
        )
        .unwrap();
    assert_eq!(ended.state.as_str(), "paused");
    assert!(seen.iter().filter(|event| event.metrics.is_some()).count() >= 3);
    assert!(seen.iter().any(|event| event.message.starts_with("Validating training file")));
}

#[test]
fn a_folder_left_by_a_death_before_the_last_commit_is_swept_or_used_again() {
    let bench = Bench::new();
    let job = bench.job(|_| {});
    let gone = bench.job(|_| {});
    bench.engine.cancel_fine_tuning_job(&gone.id).unwrap();
    for name in [job.id.clone(), format!(".partial-{}-step-4", job.id), gone.id.clone()] {
        let folder = bench.folder.path().join("tuned").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("adapter_model.safetensors"), "half").unwrap();
    }
    bench.other_process();
    assert!(!bench.names("tuned").contains(&gone.id), "nobody will finish it");
    assert_eq!(bench.names("tuned").len(), 2, "its job may still finish it");
    bench.run();
    let id = bench.engine.fine_tuning_job(&job.id).unwrap().fine_tuned_model.unwrap();
    let model = bench.engine.tuned_model(&id).unwrap();
    assert_eq!(std::fs::read_to_string(model.folder.join("adapter_model.safetensors")).unwrap(), "8");
    bench.other_process();
    assert_eq!(bench.names("tuned").len(), 3, "a model and two checkpoints: {:?}", bench.names("tuned"));
}
