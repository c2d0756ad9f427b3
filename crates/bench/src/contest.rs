//! Contenders that run in turns, so that whatever else the machine does meets all of them alike.

use std::time::Instant;

use crate::error::BenchError;
use crate::limits::{Limits, Work};
use crate::report::{Quality, Row};
use crate::stats::Spread;

/// What Anser is called in tables.
pub(crate) const ANSER: &str = "Anser";

/// A rate that a contest measures; more is better.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit }
    }
}

/// Someone who can do the work of a contest.
pub(crate) struct Contender<'a> {
    pub(crate) label: String,
    /// Does the work of one round, given its number, and returns a value for each figure, or for the first few of them.
    pub(crate) run: Box<dyn FnMut(usize) -> Result<Vec<f64>, BenchError> + 'a>,
    /// How good the outcome was, for each figure; fewer where nothing is known.
    pub(crate) quality: Vec<Quality>,
    /// What one unit costs, for each figure; fewer where it is not known.
    pub(crate) work: Vec<Option<Work>>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(label: impl Into<String>, run: impl FnMut(usize) -> Result<Vec<f64>, BenchError> + 'a) -> Self {
        Self { label: label.into(), run: Box::new(run), quality: Vec::new(), work: Vec::new() }
    }
}

/// Lets every contender run once in each of `rounds` rounds; who begins changes from round to round. The first contender
/// is the one whom the others are compared with. Rows come in order of figure, then contender.
pub(crate) fn alternate(
    name: &str,
    rounds: usize,
    figures: &[Figure],
    mut contenders: Vec<Contender<'_>>,
    limits: &Limits,
) -> Result<Vec<Row>, BenchError> {
    // samples[contender][figure][round]
    let mut samples = vec![vec![Vec::with_capacity(rounds); figures.len()]; contenders.len()];
    for round in 0..rounds {
        let started = Instant::now();
        for step in 0..contenders.len() {
            let at = (step + round) % contenders.len();
            let (Some(contender), Some(kept)) = (contenders.get_mut(at), samples.get_mut(at)) else { continue };
            let values = (contender.run)(round)?;
            for (kept, value) in kept.iter_mut().zip(values) {
                kept.push(value);
            }
        }
        eprintln!("{name}: round {} of {rounds} took {:.1} s", round + 1, started.elapsed().as_secs_f64());
    }
    Ok(rows(figures, &contenders, &samples, limits))
}

fn rows(figures: &[Figure], contenders: &[Contender<'_>], samples: &[Vec<Vec<f64>>], limits: &Limits) -> Vec<Row> {
    let mut rows = Vec::new();
    for (f, figure) in figures.iter().enumerate() {
        let ours = samples.first().and_then(|s| s.get(f));
        for (c, (contender, samples)) in contenders.iter().zip(samples).enumerate() {
            let Some(values) = samples.get(f) else { continue };
            let Some(spread) = Spread::of(values) else { continue };
            let against = ours.filter(|_| c > 0).map(|ours| ratios(ours, values));
            rows.push(Row {
                figure: figure.name.clone(),
                unit: figure.unit,
                contender: contender.label.clone(),
                spread,
                anser_ratio: against.and_then(|ratios| Spread::of(&ratios)),
                quality: contender.quality.get(f).cloned(),
                share_of_limit: contender.work.get(f).copied().flatten().map(|work| limits.share(work, spread.median)),
            });
        }
    }
    rows
}

/// How many times as fast the first was, round by round.
fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}
