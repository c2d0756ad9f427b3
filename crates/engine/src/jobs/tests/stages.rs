//! Work in stages: what is told, what is written, and what is seen from another process.

use anser_core::{Progress, ProgressUnit};

use super::*;

/// Two stages; the second lasts until it is told to go on.
pub(super) fn work(context: &JobContext<'_>) -> Result<(), EngineError> {
    let progress = context.progress();
    progress.start("reading", Some(10), ProgressUnit::Items);
    progress.set(10);
    progress.finish();
    progress.start("counting", Some(8), ProgressUnit::Bytes);
    progress.set(2);
    while !context.folder().join("go").exists() {
        context.stop().token().check()?;
        std::thread::sleep(Duration::from_millis(2));
    }
    progress.set(8);
    progress.note("counted");
    progress.finish();
    Ok(())
}

/// Writes down what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn add(&self, text: String) {
        let mut told = self.0.lock();
        if told.last() != Some(&text) {
            told.push(text);
        }
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Progress for Told {
    fn start(&self, what: &str, total: Option<u64>, unit: ProgressUnit) {
        self.add(format!("start {what} {total:?} {unit:?}"));
    }
    fn set(&self, done: u64) {
        self.add(format!("set {done}"));
    }
    fn note(&self, message: &str) {
        self.add(format!("note {message}"));
    }
    fn finish(&self) {
        self.add("finish".to_owned());
    }
}

/// Waits until the job is in its second stage, and lets it go on once that was written.
fn counting(world: &World, id: &str) -> Job {
    loop {
        let job = world.jobs.get(id).unwrap();
        if job.progress.stage.as_deref() == Some("counting") && job.progress.done == 2 {
            return job;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn go(world: &World, id: &str) {
    std::fs::write(world.jobs.work_folder(id).unwrap().join("go"), "").unwrap();
}

#[test]
fn stages_are_written_with_their_figures_and_told_to_who_runs_the_job() {
    let world = World::new();
    let id = world.queued("stages");
    let told = Told::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| world.jobs.run_here(&id, &StopSignal::default(), &mut |_| {}, &told).unwrap());
        let progress = counting(&world, &id).progress;
        assert_eq!((progress.done, progress.total, progress.unit.as_str()), (2, Some(8), "bytes"));
        assert!(progress.eta_seconds.is_some());
        go(&world, &id);
        let job = running.join().unwrap();
        assert_eq!((job.state, job.progress.eta_seconds), (JobState::Succeeded, None));
    });
    let expected = [
        "start reading Some(10) Items",
        "set 10",
        "finish",
        "start counting Some(8) Bytes",
        "set 2",
        "set 8",
        "note counted",
        "finish",
    ];
    assert_eq!(told.all(), expected);
    let messages = world.messages(&id);
    assert!(messages.ends_with(&["reading".to_owned(), "counting".to_owned(), "counted".to_owned()]), "{messages:?}");
}

#[test]
fn a_follower_in_another_process_sees_the_stage_and_its_end() {
    let world = World::new();
    let other = world.other_process();
    let id = world.queued("stages");
    let (told, mut seen) = (Told::default(), Vec::new());
    let job = std::thread::scope(|scope| {
        scope.spawn(|| other.run_next(&StopSignal::default()).unwrap());
        counting(&world, &id);
        scope.spawn(|| {
            while !told.all().contains(&"set 2".to_owned()) {
                std::thread::sleep(Duration::from_millis(2));
            }
            go(&world, &id);
        });
        let observer = &mut |event: &JobEvent| seen.push(event.message.clone());
        world.jobs.run_here(&id, &StopSignal::default(), observer, &told).unwrap()
    });
    assert_eq!(job.state, JobState::Succeeded);
    let all = told.all();
    assert_eq!(all[..2], ["start counting Some(8) Bytes", "set 2"]);
    assert_eq!(all.last().map(String::as_str), Some("finish"));
    assert_eq!(seen, ["counted"]);
}

#[test]
fn a_stage_that_is_done_again_is_no_progress_but_a_checkpoint_is() {
    let world = World::new();
    let crash = |id: &str, done: u64| {
        world.crash(id, done);
        let sql = "UPDATE jobs SET stage = 'counting', stage_started_at = 1, total = 9 WHERE id = ?1";
        world.jobs.database.write(|tx| Ok(tx.execute(sql, [id])?)).unwrap();
        world.jobs.recover_all().unwrap();
    };
    let id = world.queued("");
    for done in [1, 2, 3] {
        assert_eq!(world.state(&id), JobState::Queued);
        crash(&id, done);
    }
    assert_eq!(world.state(&id), JobState::Failed, "later stages count from nothing again");

    let id = world.queued("");
    for _ in 0..5 {
        crash(&id, 1);
        assert_eq!(world.state(&id), JobState::Queued);
        let line = Line::new(&world.jobs.database, world.key(&id), 0, &NoProgress);
        let (mut ignore, job) = (|_: &JobEvent| {}, world.jobs.get(&id).unwrap());
        let observer = std::cell::RefCell::new(&mut ignore as &mut dyn FnMut(&JobEvent));
        let (folder, memory) = (std::path::PathBuf::new(), &world.jobs.memory);
        JobContext { line: &line, job: &job, folder, observer, memory }.checkpoint().unwrap();
    }
}

#[test]
fn the_time_left_follows_from_the_rate_of_the_stage() {
    let mut progress = JobProgress { done: 25, total: Some(100), stage_started_at: Some(1000), ..Default::default() };
    progress.estimate(6000);
    assert_eq!(progress.eta_seconds, Some(15));
    for unknown in [JobProgress { total: None, ..progress.clone() }, JobProgress { done: 0, ..progress }] {
        let mut unknown = JobProgress { eta_seconds: None, ..unknown };
        unknown.estimate(6000);
        assert_eq!(unknown.eta_seconds, None);
    }
}
