//! How well clusters found without labels agree with labels that are known, over several seeds.

use std::collections::BTreeMap;
use std::time::Instant;

use anser_core::ProgressUnit;
use anser_index::analysis::{
    ClusterCount, KMeansOptions, adjusted_rand, normalized_mutual_information, spherical_kmeans, v_measure,
};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::analysis::Work;

/// Most seeds of one evaluation.
const MOST_SEEDS: u64 = 1000;

/// What to evaluate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterEvaluationOptions {
    /// The attribute that holds the label. Documents without it are left out.
    pub truth: String,
    /// How many clusters; left out, as many as there are labels.
    pub k: Option<usize>,
    /// Runs, with the seeds from 0 on; 1 to 1000.
    pub seeds: u64,
}

impl Default for ClusterEvaluationOptions {
    fn default() -> Self {
        Self { truth: String::new(), k: None, seeds: 10 }
    }
}

/// How well clusters agree with labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterEvaluation {
    /// The collection or file.
    pub source: String,
    /// Documents with a label.
    pub documents: usize,
    /// Documents without one.
    pub left_out: usize,
    /// How many labels there are.
    pub classes: usize,
    /// How many clusters were made.
    pub k: usize,
    /// Mean v-measure over all runs.
    pub mean_v_measure: f64,
    /// Standard deviation of the v-measure over runs (n - 1); 0 for one run.
    pub sd_v_measure: f64,
    /// Each run.
    pub runs: Vec<ClusterEvaluationRun>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterEvaluationRun {
    /// Its seed.
    pub seed: u64,
    /// Harmonic mean of homogeneity and completeness (Rosenberg and Hirschberg 2007), in [0, 1].
    pub v_measure: f64,
    /// 1 when every cluster has documents of one label only.
    pub homogeneity: f64,
    /// 1 when all documents of a label are in one cluster.
    pub completeness: f64,
    /// Normalised mutual information, arithmetic mean.
    pub normalized_mutual_information: f64,
    /// Adjusted Rand index: 1 for equal partitions, about 0 for unrelated ones.
    pub adjusted_rand: f64,
    /// How long clustering took.
    pub seconds: f64,
}

impl ClusterEvaluationOptions {
    /// `InvalidInput` for an option out of range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.truth.is_empty() {
            return Err(EngineError::invalid("truth", "name the attribute that holds the label"));
        }
        if !(1..=MOST_SEEDS).contains(&self.seeds) {
            let message = format!("seeds is {}, but must lie between 1 and {MOST_SEEDS}", self.seeds);
            return Err(EngineError::invalid("seeds", message));
        }
        Ok(())
    }

    /// Memory that the run takes beside the mapped vectors, in bytes: a copy of the labelled ones, and what clustering
    /// keeps of each.
    #[expect(clippy::unused_self, reason = "every kind of analysis is asked alike")]
    pub(crate) fn memory_bytes(&self, rows: u64, dimension: usize) -> u64 {
        rows * (4 * dimension as u64 + 64)
    }

    /// Clusters with every seed and compares with the labels.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let subject = work.subject;
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        for (row, value) in subject.attribute(&self.truth)?.into_iter().enumerate() {
            let Some(value) = value else { continue };
            let next = numbers.len() as u32;
            labels.push(*numbers.entry(value.display()).or_insert(next));
            rows.push(row);
        }
        if rows.is_empty() {
            let message = format!("no document of \"{}\" has the attribute \"{}\"", subject.name, self.truth);
            return Err(EngineError::invalid("truth", message));
        }
        let vectors = subject.vectors.gather(&rows);
        let k = self.k.unwrap_or(numbers.len());
        work.progress.start("clustering with several seeds", Some(self.seeds), ProgressUnit::Items);
        let one = |seed: u64| -> Result<ClusterEvaluationRun, EngineError> {
            let options = KMeansOptions { count: ClusterCount::Fixed(k), seed, ..KMeansOptions::default() };
            let started = Instant::now();
            let found = spherical_kmeans(&vectors, &options, work.cancel, &anser_core::NoProgress)?;
            let seconds = started.elapsed().as_secs_f64();
            let agreement = v_measure(&labels, &found.assignments);
            work.progress.set(seed + 1);
            Ok(ClusterEvaluationRun {
                seed,
                v_measure: agreement.v_measure,
                homogeneity: agreement.homogeneity,
                completeness: agreement.completeness,
                normalized_mutual_information: normalized_mutual_information(&labels, &found.assignments),
                adjusted_rand: adjusted_rand(&labels, &found.assignments),
                seconds,
            })
        };
        let runs: Vec<ClusterEvaluationRun> = (0..self.seeds).map(one).collect::<Result<_, _>>()?;
        work.progress.finish();
        let values: Vec<f64> = runs.iter().map(|run| run.v_measure).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        work.results.report(&ClusterEvaluation {
            source: subject.name.clone(),
            documents: rows.len(),
            left_out: subject.len() - rows.len(),
            classes: numbers.len(),
            k,
            mean_v_measure: mean,
            sd_v_measure: if values.len() > 1 { (squares / (values.len() - 1) as f64).sqrt() } else { 0.0 },
            runs,
        })
    }
}
