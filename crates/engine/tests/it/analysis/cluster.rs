//! Clustering as a job: planted topics come back, with what is said about them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anser_core::storage::DataDir;
use anser_core::{
    CancelToken, ChatMessage, Embedder, ErrorKind, FinishReason, GenerateOptions, Generation, GenerationTimings,
    Generator, GeneratorInfo, Progress, ProgressUnit, Prompt, Reranker, StopReason, StopSignal, TokenScores,
    TokenUsage,
};
use anser_engine::cluster::{ClusterAlgorithm, ClusterOptions, ClusterProjection, ClusterReport};
use anser_engine::{
    Analysis, AnalysisRequest, AnalysisSource, Engine, EngineOptions, FieldMapping, JobState, ModelLoader,
    ResultFormat, ServedModels, TunedModel,
};
use serde_json::{Value, json};

use super::{Bench, WordEmbedder};

/// Three topics of words that no other topic has.
const TOPICS: [[&str; 5]; 3] = [
    ["coffee", "roast", "beans", "espresso", "grinder"],
    ["kitten", "whiskers", "litter", "purring", "collar"],
    ["guitar", "strings", "amplifier", "chord", "pedal"],
];

/// A text of four words of a topic, the `n`-th of many.
fn text(topic: usize, n: usize) -> String {
    let words = TOPICS[topic];
    let (a, b) = (words[1 + n % 4], words[1 + (n / 4) % 4]);
    format!("{} {} {a} {b} and {} again", words[0], words[0], words[(n / 16) % 5])
}

/// `each` documents of every topic, whose attributes say which.
fn planted(bench: &Bench, each: usize) {
    let rows: Vec<(String, String, Value)> = (0..each * 3)
        .map(|at| {
            let (topic, n) = (at % 3, at / 3);
            let attributes = json!({
                "topic": TOPICS[topic][0], "score": topic * 2 + n % 2, "weight": f64::from(at as u32) / 7.0,
                "user": format!("user {at} of all"),
            });
            (format!("d{at:05}"), text(topic, n), attributes)
        })
        .collect();
    bench.fill("notes", rows.iter().map(|(id, text, attributes)| (id.as_str(), text.as_str(), attributes.clone())));
}

fn fixed(k: usize) -> ClusterOptions {
    ClusterOptions { k: Some(k), ..ClusterOptions::default() }
}

/// A table of a job as JSON.
fn table(bench: &Bench, job: &str, name: &str) -> Vec<Value> {
    let mut out = Vec::new();
    bench.engine.write_job_table(job, name, ResultFormat::Json, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// The message of a run that must fail as the caller's fault.
fn refused(bench: &Bench, options: ClusterOptions) -> String {
    let job = bench.run("notes", Analysis::Cluster(options));
    let failure = job.failure.unwrap();
    assert_eq!((job.state, failure.code.as_str()), (JobState::Failed, "invalid_request"), "{}", failure.message);
    failure.message
}

#[test]
fn planted_topics_are_found_named_and_counted() {
    let bench = Bench::new();
    planted(&bench, 40);
    let report: ClusterReport = bench.report("notes", Analysis::Cluster(ClusterOptions::default()));
    assert_eq!((report.k, report.documents, report.noise), (3, 120, 0));
    assert!(report.criterion.contains("silhouette") && report.silhouette.unwrap() > 0.5, "{}", report.criterion);
    assert!(report.scores.iter().any(|score| score.k == 3) && report.scores.len() > 3);
    for cluster in &report.clusters {
        assert_eq!((cluster.size, cluster.named_by.as_str()), (40, "keywords"));
        assert!((cluster.share - 1.0 / 3.0).abs() < 1e-9 && cluster.cohesion.unwrap() > 0.7);
        let topic = TOPICS.iter().position(|words| cluster.keywords[0].term == words[0]).unwrap();
        let terms: Vec<&str> = cluster.keywords.iter().map(|keyword| keyword.term.as_str()).collect();
        assert!(TOPICS[topic].iter().all(|word| terms.contains(word)), "{terms:?}");
        assert!(cluster.label.starts_with(TOPICS[topic][0]));
        assert_eq!(cluster.typical.len(), 3);
        assert!(cluster.typical.windows(2).all(|pair| pair[0].similarity >= pair[1].similarity));
        assert!(cluster.typical.iter().all(|document| document.text.starts_with(TOPICS[topic][0])));

        let score = &cluster.attributes["score"];
        assert_eq!((score.count, score.missing), (40, 0));
        assert!((score.mean.unwrap() - (topic as f64 * 2.0 + 0.5)).abs() < 1e-9, "{score:?}");
        assert_eq!(score.values.iter().map(|value| value.count).collect::<Vec<_>>(), [20, 20]);
        assert_eq!(cluster.attributes["topic"].values[0].value, TOPICS[topic][0]);
        assert!(!cluster.attributes.contains_key("user"), "what is different in every document says nothing");
        assert!(cluster.attributes["weight"].values.is_empty() && cluster.attributes["weight"].sd.is_some());
    }
    let stability = report.stability.unwrap();
    assert!(stability.mean_adjusted_rand > 0.99 && stability.verdict.contains("nearly the same"), "{stability:?}");
    assert_eq!((report.merges.len(), report.merges[1].size), (2, 120));
}

#[test]
fn tables_and_pictures_say_where_each_document_went() {
    let bench = Bench::new();
    planted(&bench, 20);
    let job = bench.run("notes", Analysis::Cluster(fixed(3)));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    let names: Vec<String> = bench.engine.job_results(&job.id).unwrap().into_iter().map(|result| result.name).collect();
    let expected =
        ["report.json", "documents.parquet", "centroids.parquet", "clusters.parquet", "map.html", "map.png", "map.svg"];
    assert_eq!(names, expected);
    let report: ClusterReport = bench.engine.job_report(&job.id).unwrap();
    let rows = table(&bench, &job.id, "documents");
    assert_eq!(rows.len(), 60);
    let mut csv = Vec::new();
    bench.engine.write_job_table(&job.id, "documents", ResultFormat::Csv, &mut csv).unwrap();
    let header = String::from_utf8(csv).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(header, "id,cluster,label,similarity,margin,x,y,title,text,score,topic,user,weight");
    let mut clusters: HashMap<u64, &str> = HashMap::new();
    for row in &rows {
        let (cluster, topic) = (row["cluster"].as_u64().unwrap(), row["topic"].as_str().unwrap());
        assert_eq!(*clusters.entry(cluster).or_insert(topic), topic);
        assert_eq!(row["label"], report.clusters[cluster as usize].label);
        assert!(row["similarity"].as_f64().unwrap() > 0.5 && row["margin"].as_f64().unwrap() > 0.0);
        assert!(row["x"].is_number() && row["y"].is_number() && row["text"].as_str().unwrap().starts_with(topic));
    }
    assert_eq!(clusters.len(), 3);
    let summary = table(&bench, &job.id, "clusters");
    assert_eq!((summary.len(), &summary[0]["size"]), (3, &json!(20)));
    assert!(summary[0]["mean_score"].is_number() && summary[0]["typical_ids"].as_str().unwrap().contains("; d"));
    let centroid = &table(&bench, &job.id, "centroids")[0];
    let squares: f64 = (0..64).map(|at| centroid[format!("v{at}")].as_f64().unwrap().powi(2)).sum();
    assert!((squares - 1.0).abs() < 1e-5);
    let svg = std::fs::read_to_string(bench.engine.job_result_path(&job.id, "map.svg").unwrap()).unwrap();
    assert!(svg.contains(&report.clusters[0].label) && svg.contains("3 clusters of 60 documents"), "{}", &svg[..600]);
    let page = std::fs::read_to_string(bench.engine.job_result_path(&job.id, "map.html").unwrap()).unwrap();
    for row in &rows {
        let hover = format!("\"{}\\n{}\"", row["id"].as_str().unwrap(), row["text"].as_str().unwrap());
        assert!(page.contains(&hover), "{hover}");
    }
}

#[test]
fn a_document_between_two_topics_is_the_most_borderline_one() {
    let bench = Bench::new();
    planted(&bench, 20);
    bench.fill("notes", [("between", "coffee roast beans kitten whiskers litter", json!({}))]);
    let report: ClusterReport = bench.report("notes", Analysis::Cluster(fixed(3)));
    let found: Vec<_> = report
        .clusters
        .iter()
        .filter_map(|cluster| cluster.borderline.iter().find(|d| d.id.as_str() == "between").map(|d| (cluster, d)))
        .collect();
    let [(cluster, document)] = found[..] else { panic!("it is borderline in one cluster: {found:?}") };
    assert_eq!(cluster.borderline[0].id, document.id);
    let labels = [&cluster.label, &report.clusters[document.other as usize].label];
    assert!(labels.iter().any(|l| l.contains("coffee")) && labels.iter().any(|l| l.contains("kitten")), "{labels:?}");
    assert!((document.similarity - document.other_similarity - document.margin).abs() < 1e-6);
    let clear = report.clusters.iter().flat_map(|c| &c.borderline).filter(|d| d.id.as_str() != "between");
    assert!(clear.into_iter().all(|other| other.margin > document.margin));
}

#[test]
fn noise_is_made_only_when_asked_for_and_is_labelled() {
    let bench = Bench::new();
    planted(&bench, 20);
    bench.fill("notes", [("odd", "seventeen unrelated volcano parliament teeth", json!({"score": 1000}))]);
    let report: ClusterReport = bench.report("notes", Analysis::Cluster(fixed(3)));
    assert_eq!(report.noise, 0);

    let options = ClusterOptions { noise_below: Some(0.45), ..fixed(3) };
    let job = bench.run("notes", Analysis::Cluster(options));
    let report: ClusterReport = bench.engine.job_report(&job.id).unwrap();
    assert_eq!((report.noise, report.k, report.documents), (1, 3, 61));
    assert_eq!(report.clusters.iter().map(|cluster| cluster.size).sum::<usize>(), 60);
    assert!(report.clusters.iter().all(|cluster| cluster.attributes["score"].max.unwrap() < 10.0));
    let rows = table(&bench, &job.id, "documents");
    let odd = rows.iter().find(|row| row["id"] == "odd").unwrap();
    assert_eq!((&odd["cluster"], &odd["label"], &odd["margin"]), (&Value::Null, &json!("noise"), &Value::Null));

    let everything = ClusterOptions { noise_below: Some(1.0), ..fixed(3) };
    assert!(refused(&bench, everything).contains("every document is noise"));
}

#[test]
fn hdbscan_finds_dense_topics_without_being_told_how_many() {
    let bench = Bench::new();
    planted(&bench, 30);
    bench.fill("notes", [("odd", "seventeen unrelated volcano parliament teeth", json!({}))]);
    let options = ClusterOptions {
        algorithm: ClusterAlgorithm::Hdbscan,
        min_cluster_size: Some(12),
        ..ClusterOptions::default()
    };
    let job = bench.run("notes", Analysis::Cluster(options.clone()));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    let report: ClusterReport = bench.engine.job_report(&job.id).unwrap();
    assert_eq!((report.k, report.algorithm), (3, ClusterAlgorithm::Hdbscan));
    assert!(report.criterion.contains("HDBSCAN") && report.stability.is_none());
    let rows = table(&bench, &job.id, "documents");
    let mut topics: BTreeMap<u64, &str> = BTreeMap::new();
    for row in &rows {
        if let (Some(cluster), Some(topic)) = (row["cluster"].as_u64(), row["topic"].as_str()) {
            assert_eq!(*topics.entry(cluster).or_insert(topic), topic);
        }
    }
    assert_eq!(topics.len(), 3);
    assert_eq!(rows.iter().find(|row| row["id"] == "odd").unwrap()["label"], "noise");
    let none = ClusterOptions { min_cluster_size: Some(90), ..options };
    assert!(refused(&bench, none).contains("lower min_cluster_size"));
}

#[test]
fn other_documents_are_assigned_to_the_clusters_of_a_job() {
    let bench = Bench::new();
    planted(&bench, 20);
    let first = bench.run("notes", Analysis::Cluster(fixed(3)));
    let before: ClusterReport = bench.engine.job_report(&first.id).unwrap();
    let path = bench.folder.path().join("new.csv");
    std::fs::write(&path, "id,text\nx,espresso grinder beans roast coffee\ny,amplifier pedal chord guitar\n").unwrap();
    let source = AnalysisSource::Path { path, format: None, fields: FieldMapping::default(), filter: None };
    let assign = ClusterOptions { assign: Some(first.id.clone()), ..ClusterOptions::default() };
    let job = bench.run_over(source, Analysis::Cluster(assign.clone()));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    let report: ClusterReport = bench.engine.job_report(&job.id).unwrap();
    assert_eq!((report.documents, report.k, report.assigned_to.as_deref()), (2, 3, Some(first.id.as_str())));
    let labels = |report: &ClusterReport| report.clusters.iter().map(|c| c.label.clone()).collect::<Vec<_>>();
    assert_eq!((labels(&report), &report.merges), (labels(&before), &before.merges));
    let rows = table(&bench, &job.id, "documents");
    assert!(rows[0]["label"].as_str().unwrap().contains("coffee"), "{}", rows[0]);
    assert!(rows[1]["label"].as_str().unwrap().contains("guitar"), "{}", rows[1]);
    let empty = report.clusters.iter().find(|cluster| cluster.label.contains("kitten")).unwrap();
    assert_eq!((empty.size, empty.cohesion, empty.typical.len()), (0, None, 0));

    // The documents that made the clusters go back to where they were, also through a job that was itself assigned.
    let again = bench.run("notes", Analysis::Cluster(ClusterOptions { assign: Some(job.id), ..assign.clone() }));
    let sizes = |report: &ClusterReport| report.clusters.iter().map(|c| c.size).collect::<Vec<_>>();
    assert_eq!(sizes(&bench.engine.job_report(&again.id).unwrap()), sizes(&before));

    let unknown = ClusterOptions { assign: Some("job-none".to_owned()), ..assign };
    assert!(refused(&bench, unknown).contains("no clustering job-none"));
}

#[test]
fn clusters_are_measured_against_an_attribute_with_the_truth() {
    let bench = Bench::new();
    planted(&bench, 20);
    let with = |truth: &str| ClusterOptions { truth: Some(truth.to_owned()), ..fixed(3) };
    let report: ClusterReport = bench.report("notes", Analysis::Cluster(with("topic")));
    let truth = report.truth.unwrap();
    assert_eq!((truth.classes, truth.documents), (3, 60));
    for measure in [truth.homogeneity, truth.completeness, truth.v_measure, truth.normalized_mutual_information] {
        assert!((measure - 1.0).abs() < 1e-9);
    }
    assert!((truth.adjusted_rand - 1.0).abs() < 1e-9);
    let report: ClusterReport = bench.report("notes", Analysis::Cluster(with("user")));
    let truth = report.truth.unwrap();
    assert!(truth.homogeneity < 0.5 && truth.v_measure < 0.5, "a class for each document is not found: {truth:?}");
    assert!(refused(&bench, with("colour")).contains("\"colour\""));
    let attributes = ClusterOptions { attributes: vec!["score".to_owned(), "colour".to_owned()], ..fixed(3) };
    assert!(refused(&bench, attributes).contains("\"colour\""));
}

#[test]
fn the_same_seed_gives_the_same_results() {
    let bench = Bench::new();
    planted(&bench, 20);
    for projection in [ClusterProjection::Pca, ClusterProjection::Tsne] {
        let options = ClusterOptions { projection, ..fixed(4) };
        let run = || {
            let job = bench.run("notes", Analysis::Cluster(options.clone()));
            (bench.engine.job_report::<ClusterReport>(&job.id).unwrap(), table(&bench, &job.id, "documents"))
        };
        let (first, second) = (run(), run());
        assert_eq!(first, second);
        assert_eq!(first.0.explained_variance.is_some(), projection == ClusterProjection::Pca);
    }
}

#[test]
fn degenerate_documents_give_a_defined_result_or_a_clear_error() {
    let bench = Bench::new();
    bench.fill("notes", [("a", "the same words", json!({})), ("b", "the same words", json!({}))]);
    let report: ClusterReport = bench.report("notes", Analysis::Cluster(ClusterOptions::default()));
    assert_eq!((report.k, report.silhouette, report.merges.len()), (1, None, 0));
    assert_eq!((report.clusters[0].size, report.clusters[0].borderline.len()), (2, 0));
    assert!(report.stability.is_none());
    assert!(refused(&bench, fixed(3)).contains("at most 1"));

    bench.fill("one", [("a", "and the", json!({}))]);
    let report: ClusterReport = bench.report("one", Analysis::Cluster(ClusterOptions::default()));
    assert_eq!((report.k, report.clusters[0].label.as_str()), (1, "cluster 0"));
    let job = bench.run("one", Analysis::Cluster(ClusterOptions { projection: ClusterProjection::Tsne, ..fixed(1) }));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);

    let source = AnalysisSource::Collection { name: "notes".to_owned(), filter: None };
    let analysis = Analysis::Cluster(ClusterOptions { k: Some(0), ..ClusterOptions::default() });
    let error = bench.engine.create_analysis_job(&AnalysisRequest { source, analysis }).unwrap_err();
    assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidInput, Some("k")));
}

/// Asks the job to stop when a stage begins, and holds it there until whoever passes that on must have done so.
struct StopsAt(&'static str, StopSignal);

impl Progress for StopsAt {
    fn start(&self, what: &str, _: Option<u64>, _: ProgressUnit) {
        if what == self.0 {
            self.1.stop(StopReason::Cancel);
            std::thread::sleep(Duration::from_millis(800));
        }
    }
    fn set(&self, _: u64) {}
    fn note(&self, _: &str) {}
    fn finish(&self) {}
}

#[test]
fn a_cancelled_clustering_leaves_no_results() {
    let bench = Bench::new();
    planted(&bench, 20);
    let source = AnalysisSource::Collection { name: "notes".to_owned(), filter: None };
    let request = AnalysisRequest { source, analysis: Analysis::Cluster(fixed(3)) };
    let job = bench.engine.create_analysis_job(&request).unwrap();
    let stop = StopSignal::default();
    let progress = StopsAt("counting words", stop.clone());
    let job = bench.engine.run_job_here(&job.id, &stop, &mut |_| {}, &progress).unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    assert!(bench.engine.job_results(&job.id).unwrap().is_empty());
}

#[test]
fn a_name_from_a_model_that_is_not_there_falls_back_to_keywords_and_says_so() {
    let bench = Bench::new();
    planted(&bench, 20);
    let options = ClusterOptions { name_with: Some("none".to_owned()), ..fixed(3) };
    let report: ClusterReport = bench.report("notes", Analysis::Cluster(options));
    assert!(report.clusters.iter().all(|cluster| cluster.named_by == "keywords"));
    assert!(report.notes.iter().any(|note| note.contains("the names are keywords")), "{:?}", report.notes);
}

/// A chat model that knows a name for two topics, the same one, and talks about the third.
struct Namer(GeneratorInfo);

impl Generator for Namer {
    fn info(&self) -> &GeneratorInfo {
        &self.0
    }
    fn count_tokens(&self, text: &str) -> anser_core::Result<usize> {
        Ok(text.len())
    }
    fn count_prompt_tokens(&self, _: &[ChatMessage]) -> anser_core::Result<usize> {
        Ok(1)
    }
    fn generate(
        &self,
        prompt: Prompt<'_>,
        _: &GenerateOptions,
        _: &CancelToken,
        _: &mut dyn FnMut(&str),
    ) -> anser_core::Result<Generation> {
        let Prompt::Chat(messages) = prompt else { panic!("names are asked for in a chat") };
        let asked = &messages[messages.len() - 1].content;
        assert!(asked.contains("again"), "the typical texts are shown: {asked}");
        let text =
            if asked.contains("kitten") { "I would call this group, well, let me see: pets" } else { "\"Hobby\"" };
        Ok(Generation {
            text: text.to_owned(),
            finish_reason: FinishReason::Stop,
            usage: TokenUsage::default(),
            timings: GenerationTimings::default(),
        })
    }
    fn score(&self, _: Prompt<'_>, _: &str, _: &CancelToken) -> anser_core::Result<TokenScores> {
        Ok(TokenScores::default())
    }
    fn memory_bytes(&self) -> u64 {
        0
    }
}

struct NamingLoader;

impl ModelLoader for NamingLoader {
    fn embedder_name(&self) -> &'static str {
        "words"
    }
    fn reranker_name(&self) -> Option<&str> {
        None
    }
    fn generator_name(&self) -> &'static str {
        "namer"
    }
    fn embedder(&self) -> anser_core::Result<Arc<dyn Embedder>> {
        Ok(Arc::new(WordEmbedder::new()))
    }
    fn reranker(&self) -> anser_core::Result<Arc<dyn Reranker>> {
        Err(anser_core::Error::internal("there is no reranker"))
    }
    fn generator(&self) -> anser_core::Result<Arc<dyn Generator>> {
        Ok(Arc::new(Namer(GeneratorInfo { model: "namer".to_owned(), context_length: 512 })))
    }
    fn tuned(&self, _: &TunedModel) -> anser_core::Result<Arc<dyn Generator>> {
        Err(anser_core::Error::internal("there is no tuned model"))
    }
}

#[test]
fn a_chat_model_writes_names_that_are_all_different() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path().join("data")).unwrap();
    let engine = Engine::open(&data, ServedModels::new(NamingLoader), None, EngineOptions::default()).unwrap();
    let bench = Bench { engine: Arc::new(engine), folder };
    planted(&bench, 20);
    let options = ClusterOptions { name_with: Some("namer".to_owned()), ..fixed(3) };
    let report: ClusterReport = bench.report("notes", Analysis::Cluster(options));
    let labels: BTreeMap<&str, (&str, &str)> = report
        .clusters
        .iter()
        .map(|c| (c.keywords[0].term.as_str(), (c.label.as_str(), c.named_by.as_str())))
        .collect();
    let hobbies = [labels["coffee"], labels["guitar"]];
    assert!(hobbies.contains(&("Hobby", "namer")), "{labels:?}");
    assert!(hobbies.iter().all(|(label, _)| label.starts_with("Hobby")) && hobbies[0] != hobbies[1], "{labels:?}");
    assert!(labels["kitten"].0.starts_with("kitten, ") && labels["kitten"].1 == "keywords", "{labels:?}");
    assert!(report.notes.iter().any(|note| note.contains("1 of 3 replies of namer")), "{:?}", report.notes);
}

#[test]
fn twenty_thousand_rows_of_a_file_are_clustered() {
    let bench = Bench::new();
    let path = bench.folder.path().join("many.csv");
    let mut rows = "id,text,topic\n".to_owned();
    for at in 0..20_001 {
        writeln!(rows, "{at},{} {at},{}", text(at % 3, at / 3), at % 3).unwrap();
    }
    std::fs::write(&path, rows).unwrap();
    let source = AnalysisSource::Path { path, format: None, fields: FieldMapping::default(), filter: None };
    let options =
        ClusterOptions { k_min: Some(2), k_max: Some(5), truth: Some("topic".to_owned()), ..ClusterOptions::default() };
    let job = bench.run_over(source, Analysis::Cluster(options));
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    let report: ClusterReport = bench.engine.job_report(&job.id).unwrap();
    assert_eq!((report.documents, report.k), (20_001, 3));
    assert!(report.criterion.contains("sample") && report.truth.unwrap().v_measure > 0.999, "{}", report.criterion);
    assert_eq!(table(&bench, &job.id, "documents").len(), 20_001);
}
