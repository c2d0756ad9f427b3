//! Tuned models in memory, the default chat model, and the end of models.

use std::sync::Arc;
use std::time::Duration;

use anser_core::ErrorKind;
use serde_json::json;

use super::{BASE, Bench, Loader, OTHER_BASE};

fn loads(loader: &Loader) -> Vec<String> {
    loader.0.loads.lock().clone()
}

fn name(bench: &Bench, model: Option<&str>) -> String {
    bench.engine.models().chat(model).unwrap().info().model.clone()
}

#[test]
fn models_are_loaded_once_when_asked_for() {
    let bench = Bench::new();
    let id = bench.tuned();
    assert!(!bench.engine.models().is_loaded(&id));
    assert_eq!((name(&bench, None), name(&bench, Some(BASE))), (BASE.to_owned(), BASE.to_owned()));
    assert_eq!(name(&bench, Some(&id)), id);
    assert!(bench.engine.models().is_loaded(&id));
    assert_eq!(name(&bench, Some(&id)), id);
    assert_eq!(loads(&bench.loader), [id]);
    let unknown = bench.engine.models().chat(Some("ft:nothing")).err().unwrap();
    assert_eq!((unknown.kind(), unknown.param()), (ErrorKind::NotFound, Some("model")));
}

#[test]
fn callers_that_come_together_wait_for_one_load_and_others_do_not_wait() {
    let bench = Bench::new();
    let ids = [bench.tuned(), bench.tuned()];
    *bench.loader.0.slow.lock() = Duration::from_millis(50);
    let models: Vec<_> = std::thread::scope(|scope| {
        let call = |id: &'_ String| bench.engine.models().chat(Some(id)).unwrap();
        let callers: Vec<_> = (0..8).map(|i| &ids[i % 2]).map(|id| scope.spawn(move || call(id))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(loads(&bench.loader).len(), 2);
    assert!(Arc::ptr_eq(&models[0], &models[2]) && Arc::ptr_eq(&models[1], &models[7]));
}

#[test]
fn the_least_recently_used_model_makes_room() {
    let bench = Bench::new();
    let ids = [bench.tuned(), bench.tuned(), bench.tuned()];
    // The budget is two and a half models.
    for model in [0, 1, 0, 2] {
        name(&bench, Some(&ids[model]));
    }
    let loaded: Vec<bool> = ids.iter().map(|id| bench.engine.models().is_loaded(id)).collect();
    assert_eq!(loaded, [true, false, true]);
    assert_eq!(name(&bench, Some(&ids[1])), ids[1]);
    assert_eq!(loads(&bench.loader).len(), 4);
}

#[test]
fn a_failed_load_is_tried_again() {
    let bench = Bench::new();
    let id = bench.tuned();
    *bench.loader.0.broken.lock() = true;
    assert_eq!(bench.engine.models().chat(Some(&id)).err().unwrap().kind(), ErrorKind::Corrupt);
    assert!(!bench.engine.models().is_loaded(&id));
    *bench.loader.0.broken.lock() = false;
    assert_eq!(name(&bench, Some(&id)), id);
}

#[test]
fn a_deleted_model_leaves_disk_and_memory() {
    let bench = Bench::new();
    let id = bench.tuned();
    let folder = bench.engine.tuned_model(&id).unwrap().folder;
    name(&bench, Some(&id));
    assert!(bench.other_process().delete_tuned_model(&id).unwrap(), "by another process");
    assert!(!folder.exists() && bench.names("tuned").is_empty(), "its checkpoints go with it");
    assert_eq!(bench.engine.models().chat(Some(&id)).err().unwrap().kind(), ErrorKind::NotFound);
    assert!(!bench.engine.models().is_loaded(&id));
    assert!(!bench.engine.delete_tuned_model(&id).unwrap());

    let [first, second] = [bench.tuned(), bench.tuned()];
    name(&bench, Some(&first));
    let checkpoint = format!("{first}:ckpt-step-4");
    assert!(bench.engine.delete_tuned_model(&checkpoint).unwrap(), "a checkpoint goes alone");
    assert!(bench.engine.delete_tuned_model(&first).unwrap());
    assert!(!bench.engine.models().is_loaded(&first));
    assert_eq!(name(&bench, Some(&second)), second);
}

#[test]
fn a_model_that_a_job_starts_from_is_kept() {
    let bench = Bench::new();
    let id = bench.tuned();
    let job = bench.job(|request| request.model.clone_from(&id));
    let error = bench.engine.delete_tuned_model(&id).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains(&job.id), "{error}");
    bench.engine.tuned_model(&id).unwrap();
    bench.engine.cancel_fine_tuning_job(&job.id).unwrap();
    assert!(bench.engine.delete_tuned_model(&id).unwrap());
}

#[test]
fn a_promoted_model_answers_when_nobody_names_one() {
    let bench = Bench::new();
    let id = bench.tuned();
    assert_eq!(bench.engine.default_chat_model().unwrap(), BASE);
    let missing = bench.engine.set_default_chat_model(Some("ft:nothing"), json!({})).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let promotion = bench.engine.set_default_chat_model(Some(&id), json!({"p": 0.01})).unwrap().unwrap();
    assert_eq!((promotion.model.as_str(), promotion.base.as_str()), (id.as_str(), BASE));
    let other = bench.other_process();
    assert_eq!(other.promotion().unwrap(), Some(promotion));
    assert_eq!((name(&bench, None), name(&bench, Some(BASE))), (id.clone(), BASE.to_owned()));
    other.set_default_chat_model(None, json!(null)).unwrap();
    assert_eq!(name(&bench, None), BASE);
    bench.engine.set_default_chat_model(Some(&id), json!({})).unwrap();
    bench.engine.delete_tuned_model(&id).unwrap();
    assert_eq!((bench.engine.default_chat_model().unwrap(), name(&bench, None)), (BASE.to_owned(), BASE.to_owned()));
}

#[test]
fn another_base_is_served_once_something_was_tuned_from_it() {
    let bench = Bench::new();
    assert_eq!(bench.engine.models().chat(Some(OTHER_BASE)).err().unwrap().kind(), ErrorKind::NotFound);
    let job = bench.job(|request| request.model = OTHER_BASE.into());
    bench.run();
    let id = bench.engine.fine_tuning_job(&job.id).unwrap().fine_tuned_model.unwrap();
    assert!(id.starts_with("ft:org/other:chat:anser::"), "{id}");
    assert_eq!((name(&bench, Some(OTHER_BASE)), name(&bench, Some(&id))), (OTHER_BASE.to_owned(), id.clone()));
    assert_eq!(loads(&bench.loader), [OTHER_BASE.to_owned(), id]);
}
