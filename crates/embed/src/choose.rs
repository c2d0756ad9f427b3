//! Which engine and number format run a model on this machine: the fastest one whose vectors are right.
//!
//! Every way to run the model embeds the same few texts once and then, by the clock, again. The vectors of the most exact
//! way are the reference. A way is right when the cosine of its vectors with those is at least [`MEAN_COSINE`] in the mean
//! and [`LEAST_COSINE`] for every text: errors of that size move no neighbour that is not nearly tied. Of the right ones
//! the one with the most texts a second is taken, and the figures are kept so that the next start measures nothing. One
//! that is not right can still be asked for by name.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Input, Session};
use crate::measurements::{self, EngineMeasurement, Key, Record};
use crate::options::Sessions;
use crate::panics::caught;
use crate::schedule::{Entry, RunLimit, Schedule};
use crate::{EmbedError, EngineChoice};

/// Least mean cosine with the reference.
pub(crate) const MEAN_COSINE: f64 = 0.999;
/// Least cosine with the reference of any text.
pub(crate) const LEAST_COSINE: f64 = 0.998;
/// Time after which nothing is measured again; a way that needs more for one pass over the texts is measured by that pass.
const ENOUGH: Duration = Duration::from_millis(120);

/// Short and long ones, as reviews are, and some that are not English.
pub(crate) const PROBES: [&str; 8] = [
    "Great value, arrived a day early.",
    "I was sceptical because the last two kettles leaked after a month, but this one has been in daily use since spring and \
     still looks new. It boils a litre in under three minutes, the lid opens wide enough for descaling, and it is quieter \
     than any other that we have owned.",
    "The coffee smells wonderful when you open the bag, yet in the cup it is thin and a little sour. Perhaps it wants a \
     coarser grind; I will finish it, and then I will go back to the dark roast.",
    "My dog has a sensitive stomach and usually leaves half of his bowl. With this food he comes running, his coat shines \
     and the itching stopped within three weeks. The bag cannot be closed again, so keep a tin at hand.",
    "Wrong size again. Customer service answered within an hour and sent a label for the return, which was kind, but that \
     does not give me boots for Saturday.",
    "Die Lampe ist heller als gedacht und lässt sich in vier Stufen dimmen. Leider brummt das Netzteil, wenn sie auf der \
     kleinsten Stufe steht.",
    "手机壳质量很好，发货也快。",
    "After six months of daily commuting the zip of the large pocket gave up. Until then it was the best backpack that I \
     have had: light, dry in heavy rain, with a sleeve that fits a 15-inch laptop, and straps that do not cut into your \
     shoulders when you carry the shopping home as well. I would buy it again if the maker offered the repair that the \
     label promises, but three letters went unanswered, and the shop sends me back to the maker.",
];

/// One way to run a model.
pub(crate) struct Candidate<'a> {
    /// What its backend will call itself.
    pub(crate) name: String,
    pub(crate) load: Box<dyn Fn() -> Result<Arc<dyn Backend>, EmbedError> + 'a>,
}

/// What was taken.
pub(crate) struct Chosen {
    pub(crate) backend: Arc<dyn Backend>,
    /// One of its sessions, which has run.
    pub(crate) session: Box<dyn Session>,
    pub(crate) choice: EngineChoice,
}

/// Makes a session of a backend.
type OpenSession<'a> = dyn Fn(&dyn Backend) -> Result<Box<dyn Session>, EmbedError> + 'a;

/// The best candidate so far.
struct Best {
    backend: Arc<dyn Backend>,
    session: Box<dyn Session>,
    measurement: EngineMeasurement,
}

/// What measuring needs beside the candidates.
pub(crate) struct Measuring<'a> {
    /// The texts to measure with, as the model reads them.
    pub(crate) probes: &'a dyn Fn() -> Result<Vec<Input>, EmbedError>,
    /// Under what the figures are kept.
    pub(crate) key: Key,
    /// Where they are kept, if anywhere.
    pub(crate) file: Option<&'a Path>,
    /// Makes a session of a backend and sees that it is this model's: wrong dimensions show themselves here.
    pub(crate) session: &'a OpenSession<'a>,
    /// Makes an error of the reason why a run failed.
    pub(crate) failed: &'a dyn Fn(String) -> EmbedError,
}

impl Measuring<'_> {
    /// Takes one of `candidates`, the most exact of which comes first. There is nothing to measure when there is only one,
    /// or when they have been measured before.
    pub(crate) fn choose(self, candidates: &[Candidate<'_>]) -> Result<Chosen, EmbedError> {
        if let [only] = candidates {
            let backend = (only.load)()?;
            let session = (self.session)(backend.as_ref())?;
            let choice = EngineChoice { backend: only.name.clone(), measured: Vec::new() };
            return Ok(Chosen { backend, session, choice });
        }
        if let Some(chosen) = self.measured_before(candidates) {
            return Ok(chosen);
        }
        self.measure(candidates)
    }

    fn measured_before(&self, candidates: &[Candidate<'_>]) -> Option<Chosen> {
        let record = measurements::find(self.file?, &self.key)?;
        let same = record.choice.measured.len() == candidates.len()
            && candidates.iter().all(|candidate| record.choice.measured.iter().any(|m| m.backend == candidate.name));
        let candidate = candidates.iter().find(|candidate| same && candidate.name == record.choice.backend)?;
        // What cannot be loaded any more is measured again.
        let backend = (candidate.load)().ok()?;
        let session = (self.session)(backend.as_ref()).ok()?;
        Some(Chosen { backend, session, choice: record.choice })
    }

    /// Loads one candidate after another. Only the best so far stays loaded.
    fn measure(self, candidates: &[Candidate<'_>]) -> Result<Chosen, EmbedError> {
        let probes = (self.probes)()?;
        let mut reference: Option<Vec<Vec<f32>>> = None;
        let mut best: Option<Best> = None;
        let mut measured = Vec::with_capacity(candidates.len());
        let mut failed = (self.failed)("no engine could be measured".to_owned());
        for candidate in candidates {
            let loaded = (candidate.load)().and_then(|backend| {
                let mut session = (self.session)(backend.as_ref())?;
                let trial = Trial::run(backend.as_ref(), session.as_mut(), &probes).map_err(&self.failed)?;
                Ok((backend, session, trial))
            });
            let (backend, session, trial) = match loaded {
                Ok((backend, session, trial)) => (backend, session, trial),
                Err(error) => {
                    tracing::warn!(engine = candidate.name, %error, "an engine could not be measured");
                    measured.push(EngineMeasurement::failed(&candidate.name, error.to_string()));
                    failed = error;
                    continue;
                }
            };
            let reference = reference.get_or_insert_with(|| trial.vectors.clone());
            let cosines = cosines(reference, &trial.vectors);
            let threads = Sessions::of(self.key.threads, backend.as_ref()).threads_each;
            let rate = trial.texts_per_second / threads as f64;
            let measurement = EngineMeasurement::new(&candidate.name, rate, &cosines);
            measured.push(measurement.clone());
            if measurement.correct && best.as_ref().is_none_or(|best| measurement.is_faster_than(&best.measurement)) {
                best = Some(Best { backend, session, measurement });
            }
        }
        let Some(Best { backend, session, measurement }) = best else { return Err(failed) };
        let choice = EngineChoice { backend: measurement.backend, measured };
        tracing::info!(engine = choice.backend, measured = ?choice.measured, "measured the engines");
        // A failure may pass: then the next start measures again.
        let kept = choice.measured.iter().all(|measurement| measurement.failure.is_none());
        if let Some(file) = self.file.filter(|_| kept) {
            measurements::keep(file, Record { key: self.key, choice: choice.clone() });
        }
        Ok(Chosen { backend, session, choice })
    }
}

/// What one candidate did.
struct Trial {
    vectors: Vec<Vec<f32>>,
    texts_per_second: f64,
}

impl Trial {
    /// The first pass fills caches and gives the vectors, the quickest of those that follow gives the rate: whatever else
    /// the machine does can only make one slower.
    fn run(backend: &dyn Backend, session: &mut dyn Session, probes: &[Input]) -> Result<Self, String> {
        let started = Instant::now();
        let vectors = pass(backend, session, probes)?;
        let mut quickest = started.elapsed();
        while started.elapsed() < ENOUGH {
            let began = Instant::now();
            pass(backend, session, probes)?;
            quickest = quickest.min(began.elapsed());
        }
        Ok(Self { vectors, texts_per_second: probes.len() as f64 / quickest.as_secs_f64().max(1e-9) })
    }
}

/// One vector for each probe, in runs as the worker would make them.
fn pass(backend: &dyn Backend, session: &mut dyn Session, probes: &[Input]) -> Result<Vec<Vec<f32>>, String> {
    let mut schedule = Schedule::new(RunLimit { batching: backend.batching(), tokens: backend.run_tokens() });
    let request = schedule.open(probes.len());
    let entry = |(index, probe): (usize, &Input)| Entry { index, tokens: probe.ids.len(), item: probe.clone() };
    schedule.add(request, probes.iter().enumerate().map(entry).collect());
    let mut vectors = vec![Vec::new(); probes.len()];
    loop {
        let (indices, batch): (Vec<usize>, Vec<Input>) =
            schedule.next_run().into_iter().map(|picked| (picked.entry.index, picked.entry.item)).unzip();
        if batch.is_empty() {
            return Ok(vectors);
        }
        for (index, vector) in indices.into_iter().zip(caught(|| session.run(&batch))??) {
            if let Some(slot) = vectors.get_mut(index) {
                *slot = vector;
            }
        }
    }
}

/// Of each text; -1 where one of its vectors is missing, has no direction or is not finite.
fn cosines(reference: &[Vec<f32>], vectors: &[Vec<f32>]) -> Vec<f64> {
    let cosine = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        if a.len() == b.len() && cosine.is_finite() { cosine } else { -1.0 }
    };
    reference.iter().zip(vectors).map(cosine).collect()
}

#[cfg(test)]
mod tests;
