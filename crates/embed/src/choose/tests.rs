//! Choosing among engines that are made up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::backend::Batching;

/// An engine whose vectors are turned away from the exact ones by `turn` (in radians), and that needs `pause` for a run.
#[derive(Clone, Copy)]
struct Made {
    name: &'static str,
    turn: f32,
    pause: Duration,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// It cannot be loaded.
    Load,
    /// It panics when it runs.
    Run,
}

impl Backend for Made {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn batching(&self) -> Batching {
        Batching::Padded
    }

    fn session(&self, _: usize) -> Result<Box<dyn Session>, EmbedError> {
        Ok(Box::new(*self))
    }
}

impl Session for Made {
    fn run(&mut self, batch: &[Input]) -> Result<Vec<Vec<f32>>, String> {
        assert!(self.fault != Fault::Run, "{} cannot count", self.name);
        thread::sleep(self.pause);
        Ok(batch
            .iter()
            .map(|input| vec![(input.ids[0] as f32 + self.turn).cos(), (input.ids[0] as f32 + self.turn).sin()])
            .collect())
    }
}

/// Made engines, and how often each was loaded and how many were alive at once.
struct Bench {
    engines: Vec<Made>,
    loads: AtomicUsize,
}

fn made(name: &'static str, turn: f32, pause: u64) -> Made {
    Made { name, turn, pause: Duration::from_millis(pause), fault: Fault::None }
}

/// A slow exact one, a quicker right one, and the quickest of all, which is wrong.
fn bench() -> Bench {
    Bench::of(vec![made("exact", 0.0, 20), made("right", 0.01, 8), made("wrong", 0.2, 0)])
}

fn key(asked: &str) -> Key {
    Key {
        model: "m".to_owned(),
        processor: "p".to_owned(),
        threads: 1,
        program: "1".to_owned(),
        asked: asked.to_owned(),
    }
}

impl Bench {
    fn of(engines: Vec<Made>) -> Self {
        Self { engines, loads: AtomicUsize::new(0) }
    }

    fn choose(&self, file: Option<&Path>) -> Result<EngineChoice, EmbedError> {
        let candidate = |made: &Made| {
            let made = *made;
            let load = move || {
                self.loads.fetch_add(1, Ordering::SeqCst);
                match made.fault {
                    Fault::Load => Err(EmbedError::Stopped { model: made.name.to_owned() }),
                    _ => Ok(Arc::new(made) as Arc<dyn Backend>),
                }
            };
            Candidate { name: made.name.to_owned(), load: Box::new(load) }
        };
        let candidates: Vec<Candidate<'_>> = self.engines.iter().map(candidate).collect();
        let measuring = Measuring {
            probes: &|| Ok((1..4).map(|id| Input { ids: vec![id], text: id.to_string() }).collect()),
            key: key(""),
            file,
            session: &|backend| backend.session(1),
            failed: &|reason| EmbedError::Run { model: "m".to_owned(), reason },
        };
        let chosen = measuring.choose(&candidates)?;
        assert_eq!(chosen.backend.name(), chosen.choice.backend);
        Ok(chosen.choice)
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }
}

#[test]
fn the_fastest_of_the_right_ones_is_taken_and_the_figures_say_why() {
    let choice = bench().choose(None).unwrap();
    assert_eq!(choice.backend, "right");
    let correct: Vec<(&str, bool)> = choice.measured.iter().map(|m| (m.backend.as_str(), m.correct)).collect();
    assert_eq!(correct, [("exact", true), ("right", true), ("wrong", false)]);
    assert!(choice.measured[2].texts_per_second > choice.measured[1].texts_per_second);
    assert!((choice.measured[2].mean_cosine - f64::cos(0.2)).abs() < 1e-5, "{choice:?}");
    assert!(choice.measured[2].to_string().contains("too inexact"));
}

#[test]
fn one_text_whose_vector_is_wrong_is_enough_to_refuse_an_engine() {
    assert!(cosines(&[vec![1.0, 0.0]], &[vec![0.0, 0.0]])[0] < 0.0);
    assert!(cosines(&[vec![1.0, 0.0]], &[vec![f32::NAN, 1.0]])[0] < 0.0);
    assert!(cosines(&[vec![1.0, 0.0]], &[vec![1.0]])[0] < 0.0);
    assert!((cosines(&[vec![1.0, 0.0]], &[vec![3.0, 0.0]])[0] - 1.0).abs() < 1e-12);
}

#[test]
fn what_was_measured_is_not_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("engines.json");
    let bench = bench();
    let measured = bench.choose(Some(&file)).unwrap();
    assert_eq!(bench.loads(), 3);
    let again = bench.choose(Some(&file)).unwrap();
    assert_eq!((bench.loads(), &again), (4, &measured));
    // Another set of engines is another question.
    let more = Bench::of([bench.engines.clone(), vec![made("new", 0.0, 0)]].concat());
    assert_eq!(more.choose(Some(&file)).unwrap().backend, "new");
    assert_eq!(more.loads(), 4);
}

#[test]
fn a_damaged_file_of_figures_is_measured_anew_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("engines.json");
    std::fs::write(&file, "[{\"key\":").unwrap();
    let bench = bench();
    for loads in [3, 4] {
        assert_eq!(bench.choose(Some(&file)).unwrap().backend, "right");
        assert_eq!(bench.loads(), loads);
    }
}

#[test]
fn a_single_way_is_taken_unmeasured_even_if_it_is_inexact() {
    let bench = Bench::of(vec![made("asked for", 0.5, 0)]);
    assert_eq!(bench.choose(None).unwrap(), EngineChoice { backend: "asked for".to_owned(), measured: Vec::new() });
    assert_eq!(bench.loads(), 1);
}

#[test]
fn an_engine_that_fails_is_passed_over_with_its_reason() {
    for fault in [Fault::Load, Fault::Run] {
        let broken = Made { fault, ..made("broken", 0.0, 0) };
        let choice = Bench::of(vec![broken, made("exact", 0.0, 1), made("right", 0.01, 0)]).choose(None).unwrap();
        assert_eq!(choice.backend, "right");
        assert!(
            choice.measured[0].failure.is_some() && choice.measured[0].to_string().contains("failed"),
            "{choice:?}"
        );
        let error = Bench::of(vec![broken, broken]).choose(None).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }
}
