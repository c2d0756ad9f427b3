//! The diversity job: who is in which subset, the figures of each, clusters, the table.

use std::sync::Arc;

use anser_core::{Attributes, ErrorKind, ProgressUnit};
use anser_index::Filter;
use anser_index::analysis::{ClassTfidf, ClusterCount, Clustering, KMeansOptions, spherical_kmeans};
use arrow::array::{ArrayRef, BooleanArray, Float32Array, UInt32Array};
use arrow::datatypes::{DataType, Field};

use super::side::{Side, equal_size};
use super::{ClusterCoverage, DiversityComparison, DiversityOptions, DiversityReport, EqualSize, Interval};
use crate::EngineError;
use crate::analysis::Work;
use crate::table::write_documents;

/// Starts of the clustering.
const RESTARTS: usize = 3;

/// Keywords that make up a cluster's label.
const LABEL_KEYWORDS: usize = 3;

/// Texts counted at a time.
const TEXTS: usize = 512;

impl DiversityOptions {
    /// Does the work: `report.json` ([`DiversityReport`]) and the table `documents` of all documents of the source, in
    /// order of id, with the columns `id`, `cluster` (u32), `subset` (bool: is in the subset), `compare` (bool: is one of the
    /// compared; only when there is a comparison), `mean_distance` (f32, mean cosine distance to the other documents of the
    /// subset: the lowest say what many say, the highest add most), `title`, `text` and the attributes.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let (first, second) = self.choose(work)?;
        let clustering = self.cluster(work)?;
        work.progress.start("measuring", None, ProgressUnit::Items);
        let file = work.folder.join("subset.f32");
        let first = Side::measure((self.subset.clone(), first), work.subject, &file, self, work.cancel)?;
        let second = match (&self.compare, second) {
            (Some(filter), Some(rows)) => {
                // Other draws than the first's, so that equal subsets are not resampled alike.
                let options = Self { seed: self.seed.wrapping_add(1), ..self.clone() };
                let file = work.folder.join("compare.f32");
                Some(Side::measure((Some(filter.clone()), rows), work.subject, &file, &options, work.cancel)?)
            }
            _ => None,
        };
        let report = self.report(work, &clustering, (&first, second.as_ref()))?;
        work.progress.finish();
        write(work, &clustering.assignments, (&first, second.as_ref()))?;
        work.results.report(&report)
    }

    /// The rows of the subset and of the documents it is compared with. `InvalidInput` when either has fewer than 2.
    fn choose(&self, work: &Work<'_>) -> Result<(Vec<usize>, Option<Vec<usize>>), EngineError> {
        let (mut first, mut second) = (Vec::new(), self.compare.as_ref().map(|_| Vec::new()));
        if self.subset.is_none() && self.compare.is_none() {
            first = (0..work.subject.len()).collect();
        } else {
            work.progress.start("choosing documents", Some(work.subject.len() as u64), ProgressUnit::Items);
            let passes = |filter: &Option<Filter>, attributes: &Attributes| {
                filter.as_ref().is_none_or(|f| f.matches(attributes))
            };
            for (row, document) in work.subject.documents()?.enumerate() {
                work.cancel.check()?;
                let attributes = document?.attributes;
                if passes(&self.subset, &attributes) {
                    first.push(row);
                }
                if let Some(rows) = second.as_mut().filter(|_| passes(&self.compare, &attributes)) {
                    rows.push(row);
                }
                work.progress.set(row as u64 + 1);
            }
            work.progress.finish();
        }
        check_size(work, "subset", self.subset.as_ref(), first.len())?;
        if let Some(rows) = &second {
            check_size(work, "compare", self.compare.as_ref(), rows.len())?;
        }
        Ok((first, second))
    }

    /// Clusters all documents of the source. Where nobody said how many clusters, fewer are made of fewer different
    /// documents.
    fn cluster(&self, work: &Work<'_>) -> Result<Clustering, EngineError> {
        let k = self.cluster_count(work.subject.len());
        let run = |count: ClusterCount| {
            let options = KMeansOptions { count, seed: self.seed, restarts: RESTARTS, ..KMeansOptions::default() };
            spherical_kmeans(&work.subject.vectors, &options, work.cancel, work.progress)
        };
        match run(ClusterCount::Fixed(k)) {
            Err(error) if error.kind() == ErrorKind::InvalidInput && self.clusters.is_none() => {
                Ok(run(ClusterCount::Auto { min: k, max: k })?)
            }
            other => Ok(other?),
        }
    }

    fn report(
        &self,
        work: &Work<'_>,
        clustering: &Clustering,
        (first, second): (&Side<'_>, Option<&Side<'_>>),
    ) -> Result<DiversityReport, EngineError> {
        let sizes: Vec<usize> = clustering.clusters.iter().map(|cluster| cluster.size).collect();
        let count = |side: &Side<'_>| side.counts(&clustering.assignments, sizes.len());
        let (counts, compared_counts) = (count(first), second.map(count));
        let subset = first.report(&sizes, &counts);
        let compare = second.zip(compared_counts.as_ref()).map(|(second, counts)| second.report(&sizes, counts));
        let comparison = match second.zip(compare.as_ref()) {
            Some((second, figures)) => Some(DiversityComparison {
                effective_clusters: figures.coverage.effective - subset.coverage.effective,
                ..self.comparison(work, (first, second))?
            }),
            None => None,
        };
        let labels = labels(work, &clustering.assignments, sizes.len())?;
        let clusters = labels.into_iter().zip(&sizes).enumerate().map(|(at, (label, documents))| ClusterCoverage {
            cluster: at as u32,
            label,
            documents: *documents,
            subset: counts[at],
            compare: compared_counts.as_ref().map(|counts| counts[at]),
        });
        Ok(DiversityReport {
            source: work.subject.name.clone(),
            embedder: work.subject.embedder.model.clone(),
            documents: work.subject.len(),
            clusters: clusters.collect(),
            subset,
            compare,
            comparison,
        })
    }

    /// Two sides against each other, all but the clusters.
    fn comparison(
        &self,
        work: &Work<'_>,
        (first, second): (&Side<'_>, &Side<'_>),
    ) -> Result<DiversityComparison, EngineError> {
        let mut is_first = vec![false; work.subject.len()];
        first.rows.iter().for_each(|&row| is_first[row] = true);
        let interval: Option<Interval> = first.spread.interval_of_difference(&second.spread);
        let documents = equal_size(first, second);
        Ok(DiversityComparison {
            overlap: second.rows.iter().filter(|row| is_first[**row]).count(),
            mean_distance: second.mean_distance() - first.mean_distance(),
            mean_distance_interval: interval,
            significant: interval.is_some_and(|interval| interval.low > 0.0 || interval.high < 0.0),
            vendi_at_equal_size: EqualSize {
                documents,
                subset: first.vendi_at(documents, self.seed, work.cancel)?,
                compare: second.vendi_at(documents, self.seed, work.cancel)?,
            },
            effective_clusters: 0.0,
        })
    }
}

fn check_size(work: &Work<'_>, param: &'static str, filter: Option<&Filter>, found: usize) -> Result<(), EngineError> {
    let name = &work.subject.name;
    let message = match (found, filter) {
        (0, Some(_)) => format!("no document of \"{name}\" satisfies the filter {param}; widen it"),
        (1, Some(_)) => {
            format!(
                "only 1 document of \"{name}\" satisfies the filter {param}, and diversity is about 2 or more; widen it"
            )
        }
        (0 | 1, None) => {
            let message =
                format!("\"{name}\" has only {found} document here, and diversity is about 2 or more; add some");
            return Err(EngineError::invalid("source", message));
        }
        _ => return Ok(()),
    };
    Err(EngineError::invalid(param, message))
}

/// Keywords of each cluster.
fn labels(work: &Work<'_>, assignments: &[u32], clusters: usize) -> Result<Vec<String>, EngineError> {
    work.progress.start("naming clusters", Some(assignments.len() as u64), ProgressUnit::Items);
    let mut terms = ClassTfidf::new(clusters);
    let mut waiting: Vec<(u32, String)> = Vec::with_capacity(TEXTS);
    for (row, document) in work.subject.documents()?.enumerate() {
        work.cancel.check()?;
        waiting.push((assignments[row], document?.text));
        if waiting.len() == TEXTS || row + 1 == assignments.len() {
            terms.add(&waiting)?;
            waiting.clear();
            work.progress.set(row as u64 + 1);
        }
    }
    work.progress.finish();
    let words = |keywords: Vec<anser_index::analysis::Keyword>| {
        keywords.into_iter().map(|keyword| keyword.term).collect::<Vec<_>>().join(", ")
    };
    Ok(terms.keywords(LABEL_KEYWORDS).into_iter().map(words).collect())
}

fn write(
    work: &Work<'_>,
    assignments: &[u32],
    (first, second): (&Side<'_>, Option<&Side<'_>>),
) -> Result<(), EngineError> {
    let member = |side: &Side<'_>| {
        let mut member = vec![false; assignments.len()];
        side.rows.iter().for_each(|&row| member[row] = true);
        member
    };
    let (is_first, is_second) = (member(first), second.map(member));
    let mut own = vec![Field::new("cluster", DataType::UInt32, false), Field::new("subset", DataType::Boolean, false)];
    own.extend(is_second.as_ref().map(|_| Field::new("compare", DataType::Boolean, false)));
    own.push(Field::new("mean_distance", DataType::Float32, false));
    let flags = |member: &[bool]| -> ArrayRef { Arc::new(BooleanArray::from(member.to_vec())) };
    write_documents(work, "documents", own, &mut |places| {
        let distance = |row: usize| Some(first.distance(work.subject.vectors.row(row), is_first[row]));
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(assignments[places.clone()].iter().map(|cluster| Some(*cluster)).collect::<UInt32Array>()),
            flags(&is_first[places.clone()]),
        ];
        arrays.extend(is_second.as_ref().map(|member| flags(&member[places.clone()])));
        arrays.push(Arc::new(places.map(distance).collect::<Float32Array>()));
        arrays
    })
}
