//! Workload files: what is measured, on what, how often.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;

use anser_core::Precision;
use anser_engine::Analysis;
use serde::{Deserialize, Serialize};

use crate::embedding::{EmbeddingTask, IngestTask, LatencyTask, ServerTask};
use crate::error::BenchError;
use crate::glosses::GlossCorpus;

/// Which of a workload's sizes is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scale {
    /// What a claim is to be based on.
    Full,
    /// All essential workloads together take some minutes.
    Essential,
    /// To see that everything works.
    Quick,
}

impl Scale {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Essential => "essential",
            Self::Quick => "quick",
        }
    }
}

/// A number that depends on the scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Amount {
    full: NonZeroUsize,
    /// Left out, the quick one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    essential: Option<NonZeroUsize>,
    quick: NonZeroUsize,
}

impl Amount {
    pub(crate) fn at(self, scale: Scale) -> usize {
        match scale {
            Scale::Full => self.full.get(),
            Scale::Essential => self.essential.unwrap_or(self.quick).get(),
            Scale::Quick => self.quick.get(),
        }
    }
}

/// One workload file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    /// What `--only` takes.
    pub(crate) name: String,
    /// One sentence.
    pub(crate) about: String,
    /// Whether it runs unless everything or something else is asked for.
    #[serde(default)]
    pub(crate) essential: bool,
    /// Everything random is drawn from it.
    pub(crate) seed: u64,
    /// Threads of every contender; left out, one for each core.
    pub(crate) threads: Option<NonZeroUsize>,
    /// Rounds; every contender runs once in each.
    pub(crate) repeats: Amount,
    /// What is done.
    pub(crate) task: Task,
}

impl Workload {
    pub(crate) fn thread_count(&self) -> usize {
        self.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }
}

/// What a workload does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    Embedding(EmbeddingTask),
    Latency(LatencyTask),
    Server(ServerTask),
    Ingest(IngestTask),
    Clustering(ClusteringTask),
    Duplicates(DuplicatesTask),
    Scale(ScaleTask),
    Search(SearchTask),
    Filtered(FilteredTask),
    Growth(GrowthTask),
    Generation(GenerationTask),
    Training(TrainingTask),
}

/// A column of a CSV file; the path is relative to the repository's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Corpus {
    pub(crate) file: PathBuf,
    pub(crate) column: String,
}

/// Unit vectors around common centres.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterShape {
    pub(crate) dimension: NonZeroUsize,
    pub(crate) clusters: NonZeroUsize,
    /// Length of the noise around a cluster's centre of length 1.
    pub(crate) noise: f32,
}

/// k-means from given centroids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusteringTask {
    pub(crate) vectors: Amount,
    pub(crate) shape: ClusterShape,
    pub(crate) k: NonZeroUsize,
    pub(crate) iterations: NonZeroUsize,
}

/// All pairs above a cosine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DuplicatesTask {
    pub(crate) vectors: Amount,
    pub(crate) shape: ClusterShape,
    /// One vector in so many has a near copy.
    pub(crate) copied: NonZeroUsize,
    /// Length of the noise between a vector and its copy.
    pub(crate) copy_noise: f32,
    pub(crate) threshold: f32,
}

/// Analyses of one large collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleTask {
    pub(crate) documents: Amount,
    pub(crate) shape: ClusterShape,
    /// What is done, one after another.
    pub(crate) analyses: Vec<Analysis>,
}

/// Nearest neighbours through graphs, beside libraries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchTask {
    pub(crate) corpus: GlossCorpus,
    pub(crate) vectors: Amount,
    pub(crate) queries: Amount,
    /// Times that the index is built with each number of threads.
    pub(crate) builds: Amount,
    /// Numbers of threads that build, and search.
    pub(crate) thread_counts: Vec<NonZeroUsize>,
    pub(crate) m: NonZeroUsize,
    pub(crate) ef_construction: NonZeroUsize,
    /// Beam widths that are tried, ascending.
    pub(crate) ef_search: Vec<NonZeroUsize>,
    /// Shares of the true neighbours that have to be found.
    pub(crate) recalls: Vec<f64>,
    pub(crate) k: NonZeroUsize,
    /// Libraries, as the peer's program calls them.
    pub(crate) peers: Vec<String>,
}

/// Nearest neighbours among those that a filter lets through, beside databases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilteredTask {
    pub(crate) corpus: GlossCorpus,
    pub(crate) vectors: Amount,
    pub(crate) queries: Amount,
    /// How many per cent of the vectors pass.
    pub(crate) percents: Vec<u8>,
    pub(crate) m: NonZeroUsize,
    pub(crate) ef_construction: NonZeroUsize,
    /// The peers' beam width.
    pub(crate) ef_search: NonZeroUsize,
    pub(crate) k: NonZeroUsize,
    /// Databases, as the peer's program calls them.
    pub(crate) peers: Vec<String>,
}

/// One collection at several sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrowthTask {
    pub(crate) corpus: GlossCorpus,
    /// Vectors, ascending.
    pub(crate) sizes: Vec<Amount>,
    pub(crate) queries: Amount,
    /// Documents that are inserted one by one at the largest size.
    pub(crate) inserts: Amount,
    pub(crate) m: NonZeroUsize,
    pub(crate) ef_construction: NonZeroUsize,
    /// Beam widths that are tried, ascending.
    pub(crate) ef_search: Vec<NonZeroUsize>,
    /// Share of the true neighbours that has to be found.
    pub(crate) recall: f64,
    pub(crate) k: NonZeroUsize,
}

/// A chat model's reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GenerationTask {
    /// Name in the catalogue.
    pub(crate) model: String,
    /// How many weights it has.
    pub(crate) parameters: u64,
    pub(crate) corpus: Corpus,
    /// Texts in the prompt.
    pub(crate) texts: Amount,
    /// Most tokens of the reply.
    pub(crate) max_tokens: Amount,
}

/// Fine-tuning steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainingTask {
    /// Name in the catalogue.
    pub(crate) model: String,
    /// Weights of its blocks' matrices.
    pub(crate) block_parameters: u64,
    /// Weights of its output matrix.
    pub(crate) head_parameters: u64,
    /// Rank of the adapters.
    pub(crate) rank: NonZeroUsize,
    /// Their scale, times the rank.
    pub(crate) alpha: f64,
    pub(crate) learning_rate: f64,
    /// Sequences in a step.
    pub(crate) sequences: NonZeroUsize,
    /// Tokens in a sequence.
    pub(crate) sequence_tokens: NonZeroUsize,
    /// Number formats that both sides train in.
    pub(crate) precisions: Vec<Precision>,
}

/// Every workload file in `folder`, in order of file name.
pub(crate) fn read_all(folder: &Path) -> Result<Vec<Workload>, BenchError> {
    let entries = fs::read_dir(folder).map_err(BenchError::io("list", folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(BenchError::io("list", folder))?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Workload, BenchError> {
    let text = fs::read_to_string(path).map_err(BenchError::io("read", path))?;
    parse(&text).map_err(|reason| BenchError::Workload { path: path.to_path_buf(), reason })
}

/// A workload from the text of its file, or what is wrong with it and where.
fn parse(text: &str) -> Result<Workload, String> {
    toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUPLICATES: &str = "
name = 'duplicates'
about = 'what'
seed = 1
repeats = { full = 5, quick = 2 }
[task.duplicates]
vectors = { full = 100, quick = 10 }
shape = { dimension = 4, clusters = 2, noise = 0.5 }
copied = 5
copy_noise = 0.1
threshold = 0.9
";

    #[test]
    fn a_workload_says_what_to_do_at_both_scales() {
        let workload = parse(DUPLICATES).unwrap();
        assert_eq!((workload.repeats.at(Scale::Full), workload.repeats.at(Scale::Quick)), (5, 2));
        assert!(workload.thread_count() >= 1);
        let Task::Duplicates(task) = &workload.task else { panic!("{workload:?}") };
        assert_eq!((task.vectors.at(Scale::Quick), task.copied.get()), (10, 5));
        let two = parse(&DUPLICATES.replace("seed = 1", "seed = 1\nthreads = 2")).unwrap();
        assert_eq!(two.thread_count(), 2);
    }

    #[test]
    fn unknown_keys_are_refused_at_every_depth() {
        let spellings = [
            DUPLICATES.replace("seed = 1", "seed = 1\nthread = 2"),
            DUPLICATES.replace("quick = 2", "quick = 2, slow = 9"),
            DUPLICATES.replace("noise = 0.5", "noise = 0.5, noisy = true"),
            DUPLICATES.replace("task.duplicates", "task.dupes"),
        ];
        for (text, key) in spellings.iter().zip(["thread", "slow", "noisy", "dupes"]) {
            let reason = parse(text).unwrap_err();
            assert!(reason.contains("unknown") && reason.contains(&format!("`{key}`")), "{reason}");
        }
    }

    #[test]
    fn zeros_and_missing_keys_are_refused() {
        assert!(parse(&DUPLICATES.replace("full = 5", "full = 0")).unwrap_err().contains("nonzero"));
        assert!(parse(&DUPLICATES.replace("dimension = 4, ", "")).unwrap_err().contains("`dimension`"));
    }

    #[test]
    fn the_workloads_that_ship_are_understood_and_named_after_their_files() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/workloads"));
        let names: Vec<String> = read_all(folder).unwrap().into_iter().map(|w| w.name).collect();
        assert_eq!(
            names,
            [
                "clustering",
                "duplicates",
                "embedding",
                "filtered",
                "generation",
                "growth",
                "ingest",
                "latency",
                "scale",
                "search",
                "server",
                "training"
            ]
        );
    }
}
