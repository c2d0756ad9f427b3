//! A clustering from end to end: find the clusters, say what each is about, keep the results.

use anser_core::ProgressUnit;
use anser_index::analysis::{ClassTfidf, Keyword};

use super::attributes::AttributeTallies;
use super::naming::{ClusterName, keyword_names, written_names};
use super::options::{ClusterAlgorithm, ClusterOptions};
use super::partition::Partition;
use super::picture::{self, Places};
use super::report::{AttributeSummary, ClusterReport, ClusterSummary};
use super::saved::{self, SavedClusters};
use super::typical::{Listed, listed_documents};
use super::{quality, tables, truth};
use crate::EngineError;
use crate::analysis::Work;

/// Texts whose words are counted at a time.
const TEXTS_AT_ONCE: usize = 512;

/// Keywords that names are made of even when the caller wants none listed.
const FEWEST_KEYWORDS: usize = 8;

impl ClusterOptions {
    /// Does the work: `report.json` ([`ClusterReport`]), the tables `documents`, `clusters` and `centroids`, and the map
    /// as `map.svg`, `map.png` and `map.html`.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let saved = self.assign.as_deref().map(|job| saved::load(work, job)).transpose()?;
        let partition = match &saved {
            Some(saved) => self.assign_to(work, saved)?,
            None => Partition::find(&work.subject.vectors, self, (work.cancel, work.progress))?,
        };
        let truth = self.truth.as_deref().map(|attribute| truth::compare(work, &partition, attribute)).transpose()?;
        let counted = self.read_texts(work, &partition)?;
        let listed = listed_documents(work, &partition, (self.examples.max(1), self.borderline))?;
        let mut notes = Vec::new();
        let described = self.describe(work, saved.as_ref(), &counted, &listed, &mut notes)?;
        let clusters = self.summaries(&partition, described, counted.attributes, listed);
        let places = Places::find(work, self)?;
        let watch = (work.cancel, work.progress);
        let stability = match saved {
            Some(_) => None,
            None => quality::other_seeds(&work.subject.vectors, &partition, self, watch, &mut notes)?,
        };
        let noise = partition.assignments.iter().filter(|cluster| cluster.is_none()).count();
        if noise * 2 > work.subject.len() {
            notes.push(format!("more than half of the documents are noise; {} leaves fewer out", self.less_noise()));
        }
        let report = ClusterReport {
            source: work.subject.name.clone(),
            algorithm: saved.as_ref().map_or(self.algorithm, |saved| saved.report.algorithm),
            assigned_to: self.assign.clone(),
            embedder: work.subject.embedder.clone(),
            seed: self.seed,
            documents: work.subject.len(),
            k: partition.k(),
            criterion: partition.criterion.clone(),
            scores: partition.scores.clone(),
            silhouette: partition.silhouette,
            silhouette_documents: partition.silhouette_documents,
            converged: partition.converged,
            noise,
            noise_share: noise as f64 / work.subject.len() as f64,
            stability,
            clusters,
            merges: match &saved {
                Some(saved) => saved.report.merges.clone(),
                None => quality::merges(&partition)?,
            },
            truth,
            projection: self.projection,
            explained_variance: places.explained_variance,
            notes,
        };
        saved::save(work, &report.clusters, &partition.centroids)?;
        tables::write_clusters(work, &report.clusters)?;
        tables::write_rows(work, &partition, &report.clusters, &places.points)?;
        picture::draw(work, &report, &partition, &places)?;
        work.results.report(&report)
    }

    fn assign_to(&self, work: &Work<'_>, saved: &SavedClusters) -> Result<Partition, EngineError> {
        let how = match saved.report.algorithm {
            ClusterAlgorithm::KMeans => "",
            ClusterAlgorithm::Hdbscan => ", each to the nearest mean direction",
        };
        let job = self.assign.as_deref().unwrap_or_default();
        let criterion = format!("assigned to the {} clusters of {job}{how}", saved.report.k);
        let centroids = saved.centroids.gather(&(0..saved.centroids.len()).collect::<Vec<_>>());
        let watch = (work.cancel, work.progress);
        Partition::assigned(&work.subject.vectors, centroids, (self.noise_below, criterion), watch)
    }

    /// What to change so that less becomes noise.
    fn less_noise(&self) -> &'static str {
        match (self.noise_below, self.min_samples) {
            (Some(_), _) => "a lower noise_below",
            (None, None) => "a lower min_samples, such as 2,",
            (None, Some(_)) => "a lower min_samples or min_cluster_size",
        }
    }

    /// Reads every text once: its words, and its document's attributes.
    fn read_texts(&self, work: &Work<'_>, partition: &Partition) -> Result<Counted, EngineError> {
        work.progress.start("counting words", Some(work.subject.len() as u64), ProgressUnit::Items);
        let mut words = ClassTfidf::new(partition.k());
        let mut attributes = AttributeTallies::new(&self.attributes, partition.k());
        let mut waiting: Vec<(u32, String)> = Vec::with_capacity(TEXTS_AT_ONCE);
        for (at, document) in work.subject.documents()?.enumerate() {
            work.cancel.check()?;
            let document = document?;
            if let Some(cluster) = partition.assignments[at] {
                attributes.add(cluster, &document.attributes);
                let text = match document.title {
                    Some(title) => format!("{title}\n{}", document.text),
                    None => document.text,
                };
                waiting.push((cluster, text));
            }
            if waiting.len() == TEXTS_AT_ONCE {
                words.add(&waiting)?;
                waiting.clear();
                work.progress.set(at as u64 + 1);
            }
        }
        words.add(&waiting)?;
        attributes.check()?;
        work.progress.finish();
        let keywords = words.keywords(self.keywords.max(FEWEST_KEYWORDS));
        Ok(Counted { keywords, attributes: attributes.summaries() })
    }

    /// Keywords and names: those of the job assigned to, or new ones.
    fn describe(
        &self,
        work: &Work<'_>,
        saved: Option<&SavedClusters>,
        counted: &Counted,
        listed: &[Listed],
        notes: &mut Vec<String>,
    ) -> Result<Vec<(ClusterName, Vec<Keyword>)>, EngineError> {
        if let Some(saved) = saved {
            let name =
                |cluster: &ClusterSummary| ClusterName { label: cluster.label.clone(), by: cluster.named_by.clone() };
            return Ok(saved.report.clusters.iter().map(|c| (name(c), c.keywords.clone())).collect());
        }
        let names = match &self.name_with {
            None => keyword_names(&counted.keywords),
            Some(model) => {
                let (names, note) = written_names(work, model, &counted.keywords, listed)?;
                if let Some(note) = note {
                    work.progress.note(&note);
                    notes.push(note);
                }
                names
            }
        };
        let listed = counted.keywords.iter().map(|keywords| keywords.iter().take(self.keywords).cloned().collect());
        Ok(names.into_iter().zip(listed).collect())
    }

    fn summaries(
        &self,
        partition: &Partition,
        described: Vec<(ClusterName, Vec<Keyword>)>,
        attributes: Vec<std::collections::BTreeMap<String, AttributeSummary>>,
        listed: Vec<Listed>,
    ) -> Vec<ClusterSummary> {
        let figures = partition.sizes().into_iter().zip(partition.cohesions());
        let parts = figures.zip(described).zip(attributes).zip(listed);
        let documents = partition.assignments.len();
        (0_u32..)
            .zip(parts)
            .map(|(cluster, ((((size, cohesion), (name, keywords)), attributes), mut listed))| {
                listed.typical.truncate(self.examples);
                ClusterSummary {
                    cluster,
                    label: name.label,
                    named_by: name.by,
                    size,
                    share: size as f64 / documents as f64,
                    cohesion,
                    keywords,
                    typical: listed.typical,
                    borderline: listed.borderline,
                    attributes,
                }
            })
            .collect()
    }
}

/// What reading the texts gave.
struct Counted {
    keywords: Vec<Vec<Keyword>>,
    attributes: Vec<std::collections::BTreeMap<String, AttributeSummary>>,
}
