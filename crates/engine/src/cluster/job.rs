//! The clustering job: scan, cluster, project, name, summarise.

use std::collections::BTreeMap;

use anser_core::{CancelToken, Document, Embedding, Progress, ProgressUnit};
use anser_index::Collection;
use anser_index::analysis::{
    Clustering, KMeansOptions, Keyword, Projection, Vectors, class_tfidf, project_2d, spherical_kmeans,
};

use super::columns::{ColumnKind, number, uniform_columns};
use super::report::{Assignment, ClusterOptions, ClusterReport, ClusterSummary, TypicalDocument};
use super::typical::{snippet, typical_members};
use crate::analysis::Work;
use crate::{Engine, EngineError};

/// Keywords that make up a cluster's label.
const LABEL_KEYWORDS: usize = 3;

impl Engine {
    /// Clusters all documents of the collection `name`; see [`cluster`].
    pub fn cluster(
        &self,
        name: &str,
        request: &ClusterOptions,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<ClusterReport, EngineError> {
        cluster(self.collection(name)?.as_ref(), request, cancel, progress)
    }
}

impl ClusterOptions {
    /// `InvalidInput` for an option out of range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Memory that the run takes beside the mapped vectors, in bytes.
    pub(crate) fn memory_bytes(&self, _rows: u64, _dimension: usize) -> u64 {
        0
    }

    /// Does the work.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        work.results.report(&work.subject.len())
    }
}

/// Clusters all documents of a collection by the meaning of their texts, and says what each cluster is about.
///
/// Fails with `InvalidInput` when the collection is empty or has fewer distinct documents than clusters are asked for,
/// with `Cancelled` soon after `cancel` is set.
pub fn cluster(
    collection: &Collection,
    request: &ClusterOptions,
    cancel: &CancelToken,
    progress: &dyn Progress,
) -> Result<ClusterReport, EngineError> {
    let name = collection.name().to_owned();
    let (mut documents, mut embeddings) = (Vec::new(), Vec::new());
    collection.scan(None, &mut |scanned| {
        documents.push(scanned.document);
        embeddings.push(scanned.embedding);
        Ok(())
    })?;
    cluster_documents(name, (documents, embeddings), request, (cancel, progress))
}

/// Clusters documents with one embedding each.
pub(super) fn cluster_documents(
    collection: String,
    (documents, embeddings): (Vec<Document>, Vec<Embedding>),
    request: &ClusterOptions,
    (cancel, progress): (&CancelToken, &dyn Progress),
) -> Result<ClusterReport, EngineError> {
    if documents.is_empty() {
        return Err(EngineError::invalid(
            "collection",
            format!("the collection \"{collection}\" has no documents to cluster; ingest some first"),
        ));
    }
    let options = KMeansOptions { count: request.count, seed: request.seed, ..KMeansOptions::default() };
    let vectors = Vectors::from_embeddings(&embeddings)?;
    let clustering = spherical_kmeans(&vectors, &options, cancel, progress)?;
    progress.start("naming clusters", Some(2), ProgressUnit::Items);
    let texts: Vec<String> = documents.iter().map(text_with_title).collect();
    // A label is made of keywords even when the caller wants none listed.
    let wanted = request.keywords.max(LABEL_KEYWORDS);
    let keywords = class_tfidf(&texts, &clustering.assignments, clustering.k(), wanted, cancel)?;
    progress.set(1);
    let projection = project_2d(&vectors, request.seed, cancel)?;
    progress.set(2);
    let clusters = summarise(&documents, &embeddings, &clustering, keywords, request);
    progress.finish();
    Ok(ClusterReport {
        collection,
        k: clustering.k(),
        documents: documents.len(),
        clusters,
        explained_variance: projection.explained_variance,
        assignments: assignments(documents, &clustering, &projection),
        criterion: clustering.criterion,
        scores: clustering.scores,
        silhouette: clustering.silhouette,
        converged: clustering.converged,
    })
}

fn text_with_title(document: &Document) -> String {
    match &document.title {
        Some(title) => format!("{title}\n{}", document.text),
        None => document.text.clone(),
    }
}

/// One summary for each cluster.
fn summarise(
    documents: &[Document],
    embeddings: &[Embedding],
    clustering: &Clustering,
    keywords: Vec<Vec<Keyword>>,
    request: &ClusterOptions,
) -> Vec<ClusterSummary> {
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); clustering.k()];
    for (at, &cluster) in clustering.assignments.iter().enumerate() {
        members[cluster as usize].push(at);
    }
    let numeric: Vec<String> = uniform_columns(documents.iter().map(|d| &d.attributes))
        .into_iter()
        .filter(|(_, kind)| matches!(kind, ColumnKind::Integer | ColumnKind::Float))
        .map(|(name, _)| name)
        .collect();
    let parts = clustering.clusters.iter().zip(&members).zip(keywords);
    (0_u32..)
        .zip(parts)
        .map(|(number, ((cluster, members), mut keywords))| {
            let label = label(number, &keywords);
            keywords.truncate(request.keywords);
            let similarities = &clustering.similarities;
            let typical = typical_members(documents, embeddings, similarities, members, request.examples);
            ClusterSummary {
                cluster: number,
                label,
                size: cluster.size,
                share: cluster.size as f64 / documents.len() as f64,
                cohesion: cluster.cohesion,
                keywords,
                typical: typical.into_iter().map(|at| typical_document(&documents[at], similarities[at])).collect(),
                attribute_means: means(documents, members, &numeric),
            }
        })
        .collect()
}

fn label(number: u32, keywords: &[Keyword]) -> String {
    if keywords.is_empty() {
        return format!("cluster {number}");
    }
    keywords.iter().take(LABEL_KEYWORDS).map(|k| k.term.as_str()).collect::<Vec<_>>().join(", ")
}

fn typical_document(document: &Document, similarity: f32) -> TypicalDocument {
    let Document { id, title, text, .. } = document;
    TypicalDocument { id: id.clone(), title: title.clone(), text: snippet(text), similarity }
}

/// The mean of each numeric attribute over the members that have it; attributes that none has are left out.
fn means(documents: &[Document], members: &[usize], numeric: &[String]) -> BTreeMap<String, f64> {
    let mean = |name: &String| {
        let values = members.iter().filter_map(|&at| documents[at].attributes.get(name).and_then(number));
        let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
        (count > 0).then(|| (name.clone(), sum / count as f64))
    };
    numeric.iter().filter_map(mean).collect()
}

fn assignments(documents: Vec<Document>, clustering: &Clustering, projection: &Projection) -> Vec<Assignment> {
    let places = clustering.assignments.iter().zip(&clustering.similarities).zip(&projection.points);
    documents
        .into_iter()
        .zip(places)
        .map(|(document, ((&cluster, &similarity), &[x, y]))| Assignment {
            document_id: document.id,
            cluster,
            similarity,
            x,
            y,
            title: document.title,
            text: document.text,
            attributes: document.attributes,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use anser_core::storage::DataDir;
    use anser_core::{AttributeValue, ByteSpan, EmbedderInfo, ErrorKind, NoProgress};
    use anser_index::analysis::ClusterCount;
    use anser_index::{IndexOptions, NewChunk, NewDocument, Store};

    use super::*;
    use crate::cluster::fixtures::{TOPICS, sample_documents, sample_report};

    #[test]
    fn a_report_names_its_clusters_after_what_they_are_about() {
        let report = sample_report(30);
        assert_eq!((report.k, report.documents, report.assignments.len()), (TOPICS.len(), 90, 90));
        assert!(report.silhouette.unwrap() > 0.5 && report.converged);
        for cluster in &report.clusters {
            assert_eq!(cluster.size, 30);
            assert!((cluster.share - 1.0 / 3.0).abs() < 1e-12);
            let topic = TOPICS.iter().find(|t| cluster.label.contains(t[0])).unwrap();
            let terms: Vec<&str> = cluster.keywords.iter().map(|k| k.term.as_str()).collect();
            assert!(topic.iter().all(|word| terms.contains(word)), "{terms:?} for {topic:?}");
            assert_eq!(cluster.typical.len(), 2);
            assert!(cluster.typical.iter().all(|d| topic.iter().any(|word| d.text.contains(word))));
            assert!(cluster.typical[0].similarity >= cluster.typical[1].similarity);
        }
    }

    #[test]
    fn means_are_of_numeric_attributes_only_and_skip_missing_values() {
        let mut sample = sample_documents(4);
        for (at, document) in sample.0.iter_mut().enumerate() {
            document.attributes.insert("lang".to_owned(), AttributeValue::String("en".to_owned()));
            if at % 3 == 0 && at > 3 {
                document.attributes.remove("score");
            }
        }
        let request = ClusterOptions { count: ClusterCount::Fixed(3), ..ClusterOptions::default() };
        let watch = (&CancelToken::new(), &NoProgress as &dyn Progress);
        let report = cluster_documents("c".to_owned(), sample.clone(), &request, watch).unwrap();
        for cluster in &report.clusters {
            let scores: Vec<f64> = report
                .assignments
                .iter()
                .filter(|a| a.cluster == cluster.cluster)
                .filter_map(|a| a.attributes.get("score").and_then(number))
                .collect();
            let expected = scores.iter().sum::<f64>() / scores.len() as f64;
            assert_eq!(cluster.attribute_means.keys().collect::<Vec<_>>(), ["score"]);
            assert!((cluster.attribute_means["score"] - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn a_stored_collection_gives_the_report_of_its_documents() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let store = Store::open(&data, IndexOptions::default()).unwrap();
        let embedder = EmbedderInfo {
            model: "planted".to_owned(),
            dimension: 5,
            max_tokens: 100,
            fingerprint: "planted".to_owned(),
        };
        let collection = store.create("notes", &embedder).unwrap();
        let request = ClusterOptions { count: ClusterCount::Fixed(3), ..ClusterOptions::default() };
        let run = || cluster(&collection, &request, &CancelToken::new(), &NoProgress);
        assert!(run().unwrap_err().to_string().contains("\"notes\" has no documents"));
        let (documents, embeddings) = sample_documents(10);
        let new: Vec<NewDocument> = documents
            .into_iter()
            .zip(embeddings)
            .map(|(document, embedding)| {
                let span = ByteSpan::new(0, document.text.len()).unwrap();
                let chunk = NewChunk { span, text: document.text.clone(), tokens: 9, embedding };
                NewDocument { document, fingerprint: String::new(), chunks: vec![chunk] }
            })
            .collect();
        collection.upsert(&new).unwrap();
        let report = run().unwrap();
        assert_eq!((report.collection.as_str(), report.documents), ("notes", 30));
        assert!(report.clusters.iter().all(|c| c.size == 10 && c.attribute_means.contains_key("score")));
        let texts: HashSet<&str> = report.assignments.iter().map(|a| a.text.as_str()).collect();
        assert!(new.iter().all(|n| texts.contains(n.document.text.as_str())));
    }

    #[test]
    fn the_json_of_a_report_repeats_no_document() {
        let json = serde_json::to_value(sample_report(5)).unwrap();
        let keys: Vec<&String> = json["assignments"][0].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["document_id", "cluster", "similarity", "x", "y"]);
        assert_eq!(json["clusters"][0]["keywords"].as_array().unwrap().len(), 6);
    }

    #[test]
    fn too_many_clusters_and_empty_collections_are_the_callers_fault() {
        let watch = (&CancelToken::new(), &NoProgress as &dyn Progress);
        let request = ClusterOptions { count: ClusterCount::Fixed(7), ..ClusterOptions::default() };
        let many = cluster_documents("c".to_owned(), sample_documents(2), &request, watch).unwrap_err();
        assert_eq!(many.kind(), ErrorKind::InvalidInput);
        assert!(many.to_string().contains("at most 6"));
        let empty = cluster_documents("c".to_owned(), (Vec::new(), Vec::new()), &request, watch).unwrap_err();
        assert!(empty.to_string().contains("has no documents"));
        let cancelled = CancelToken::new();
        cancelled.cancel();
        let request = ClusterOptions { count: ClusterCount::Fixed(2), ..ClusterOptions::default() };
        let stopped = cluster_documents("c".to_owned(), sample_documents(2), &request, (&cancelled, &NoProgress));
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
