//! Contenders that run in turns, so that whatever else the machine does meets all of them alike.

use std::time::Instant;

use crate::error::BenchError;
use crate::limits::{Limits, Work};
use crate::report::{Quality, Ratio, Row};
use crate::stats::Spread;

/// What Anser is called in tables.
pub(crate) const ANSER: &str = "Anser";

/// What a contest measures.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// Whether less is better, as of times: ratios are turned over, so that above 1 is always for the first named.
    less: bool,
}

impl Figure {
    /// More is better.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, less: false }
    }

    /// Less is better.
    pub(crate) fn time(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, less: true }
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
    /// With whom it is compared.
    pub(crate) rival: Rival,
}

/// With whom a contender is compared.
#[derive(Debug, Clone, Default)]
pub(crate) enum Rival {
    /// With the first contender, whose ratio to it is told; the first one itself with nobody.
    #[default]
    First,
    /// With the contender of this label, whose ratio to it is told.
    Label(String),
    /// Its own ratio to the contender of this label is told.
    Reference(String),
    /// With nobody.
    Nobody,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(label: impl Into<String>, run: impl FnMut(usize) -> Result<Vec<f64>, BenchError> + 'a) -> Self {
        Self { label: label.into(), run: Box::new(run), quality: Vec::new(), work: Vec::new(), rival: Rival::First }
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
        for (c, (contender, own)) in contenders.iter().zip(samples).enumerate() {
            let Some(spread) = own.get(f).and_then(|values| Spread::of(values)) else { continue };
            rows.push(Row {
                figure: figure.name.clone(),
                unit: figure.unit,
                contender: contender.label.clone(),
                spread,
                less_is_better: figure.less,
                ratio: ratio(contenders, c).and_then(|(of, to)| {
                    let side = |at: usize| Some((contenders.get(at)?.label.clone(), samples.get(at)?.get(f)?));
                    let ((of, above), (to, below)) = (side(of)?, side(to)?);
                    let (above, below) = if figure.less { (below, above) } else { (above, below) };
                    Some(Ratio { of, to, spread: Spread::of(&ratios(above, below))? })
                }),
                quality: contender.quality.get(f).cloned(),
                share_of_limit: contender.work.get(f).copied().flatten().map(|work| limits.share(work, spread.median)),
            });
        }
    }
    rows
}

/// Which contender's ratio to which one the row of the contender at `own` tells.
fn ratio(contenders: &[Contender<'_>], own: usize) -> Option<(usize, usize)> {
    let find = |label: &str| contenders.iter().position(|other| other.label == label);
    let (of, to) = match &contenders.get(own)?.rival {
        Rival::First => (0, own),
        Rival::Label(label) => (find(label)?, own),
        Rival::Reference(label) => (own, find(label)?),
        Rival::Nobody => return None,
    };
    (of != to).then_some((of, to))
}

/// One value as a multiple of the other, round by round.
fn ratios(above: &[f64], below: &[f64]) -> Vec<f64> {
    above.iter().zip(below).map(|(above, below)| above / below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_contender_is_compared_with_its_own_rival_round_by_round() {
        let limits =
            Limits { threads: 1, gemm_f32_flops: 100.0, gemm_bf16_flops: 1.0, gemm_int8_ops: 1.0, copy_bytes: 1.0 };
        let fixed = |label: &str, rate: f64, milliseconds: f64| {
            Contender::new(label, move |round| Ok(vec![rate * (round + 1) as f64, milliseconds]))
        };
        let mut contenders =
            vec![fixed("a", 30.0, 2.0), fixed("b", 20.0, 4.0), fixed("p", 10.0, 8.0), fixed("r", 15.0, 1.0)];
        contenders[0].work = vec![Some(Work::Flops(2.0))];
        contenders[2].rival = Rival::Label("b".into());
        contenders[3].rival = Rival::Reference("a".into());
        let figures = [Figure::new("rate", "1/s"), Figure::time("time", "ms")];
        let rows = alternate("test", 3, &figures, contenders, &limits).unwrap();
        let told = |at: usize| {
            let ratio = rows[at].ratio.as_ref()?;
            Some((ratio.of.as_str(), ratio.to.as_str(), ratio.spread.median))
        };
        assert_eq!(rows.len(), 8);
        assert_eq!(told(0), None);
        assert_eq!(told(1), Some(("a", "b", 1.5)));
        assert_eq!(told(2), Some(("b", "p", 2.0)));
        assert_eq!(told(3), Some(("r", "a", 0.5)));
        // Half the time is twice as good.
        assert_eq!(told(5), Some(("a", "b", 2.0)));
        // The median of 30, 60 and 90.
        assert!((rows[0].share_of_limit.unwrap().share - 1.2).abs() < 1e-9);
    }
}
