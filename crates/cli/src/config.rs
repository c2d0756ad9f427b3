//! Configuration: the one place that reads environment variables and the configuration file.
//!
//! Precedence, weakest first: built-in default, file, environment, flag. [`GlobalArgs`] holds what flags and
//! environment gave, [`ConfigFile`] what the file gave, and [`Settings`] the result with nothing left open.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anser_core::Device;
use anser_embed::{Engine as EmbedEngine, NumberFormat};
use anser_models::{DEFAULT_CHAT, DEFAULT_EMBEDDER, DEFAULT_RERANKER};
use clap::Args;
use clap::builder::FalseyValueParser;
use etcetera::BaseStrategy;
use serde::Deserialize;

use crate::failure::Failure;

/// Every environment variable that Anser reads.
pub(crate) mod env {
    pub(crate) const CONFIG: &str = "ANSER_CONFIG";
    pub(crate) const DATA_DIR: &str = "ANSER_DATA_DIR";
    pub(crate) const MODELS_DIR: &str = "ANSER_MODELS_DIR";
    pub(crate) const LOCAL_MODELS: &str = "ANSER_LOCAL_MODELS";
    pub(crate) const OFFLINE: &str = "ANSER_OFFLINE";
    pub(crate) const PYTHON: &str = "ANSER_PYTHON";
    pub(crate) const THREADS: &str = "ANSER_THREADS";
    pub(crate) const DEVICE: &str = "ANSER_DEVICE";
    pub(crate) const EMBEDDER: &str = "ANSER_EMBEDDER";
    pub(crate) const EMBED_ENGINE: &str = "ANSER_EMBED_ENGINE";
    pub(crate) const EMBED_FORMAT: &str = "ANSER_EMBED_FORMAT";
    pub(crate) const RERANKER: &str = "ANSER_RERANKER";
    pub(crate) const CHAT: &str = "ANSER_CHAT";
    pub(crate) const ORGANIZATION: &str = "ANSER_ORGANIZATION";
    pub(crate) const TUNED_MEMORY: &str = "ANSER_TUNED_MEMORY";
    pub(crate) const JOB_MEMORY: &str = "ANSER_JOB_MEMORY";
    pub(crate) const EMBEDDING_CACHE: &str = "ANSER_EMBEDDING_CACHE";
    pub(crate) const FILTER_REPLIES: &str = "ANSER_FILTER_REPLIES";
    pub(crate) const LISTEN: &str = "ANSER_LISTEN";
    pub(crate) const API_KEYS: &str = "ANSER_API_KEYS";
    pub(crate) const LOG: &str = "ANSER_LOG";
    /// Read by the kernels themselves: the most that they may use of the processor.
    pub(crate) const INSTRUCTIONS: &str = anser_kernels::INSTRUCTIONS_VARIABLE;
}

/// Where the server listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Who tuned models belong to unless told otherwise.
const ORGANIZATION: &str = "anser";
/// Memory for tuned models unless told otherwise, in MiB: hundreds of adapters.
const TUNED_MEMORY: u64 = 1024;
/// Disk for vectors of texts embedded before unless told otherwise, in MiB: 600,000 texts of 384 dimensions.
const EMBEDDING_CACHE: u64 = 1024;
/// The reranker name that means "none".
const NO_RERANKER: &str = "none";

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Folder that holds collections and models [default: the platform's data folder]
    #[arg(long, global = true, value_name = "DIR", env = env::DATA_DIR)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Folder that holds downloaded models [default: models/ in the data folder]
    #[arg(long, global = true, value_name = "DIR", env = env::MODELS_DIR)]
    pub(crate) models_dir: Option<PathBuf>,
    /// Folder of model folders of your own, tried before any download
    #[arg(long, global = true, value_name = "DIR", env = env::LOCAL_MODELS)]
    pub(crate) local_models: Option<PathBuf>,
    /// Configuration file [default: anser/config.toml in the platform's configuration folder]
    #[arg(long, global = true, value_name = "FILE", env = env::CONFIG)]
    pub(crate) config: Option<PathBuf>,
    /// Never touch the network
    #[arg(long, global = true, env = env::OFFLINE, value_parser = FalseyValueParser::new())]
    pub(crate) offline: bool,
    /// Python interpreter whose pip fetches models [default: python3, then python]
    #[arg(long, global = true, value_name = "FILE", env = env::PYTHON, hide_short_help = true)]
    pub(crate) python: Option<PathBuf>,
    /// Threads for models and index building [default: all cores]
    #[arg(long, global = true, value_name = "N", env = env::THREADS)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// What computes: "cpu", "cuda", "cuda:1" (the second GPU) or "metal" [default: cpu]
    #[arg(long, global = true, value_name = "DEVICE", env = env::DEVICE)]
    pub(crate) device: Option<Device>,
    /// Embedding model
    #[arg(long, global = true, value_name = "NAME", env = env::EMBEDDER, hide_short_help = true)]
    pub(crate) embedder: Option<String>,
    /// What runs the embedding model: native, onnx or candle [default: the fastest correct one, as measured here]
    #[arg(long, global = true, value_name = "NAME", env = env::EMBED_ENGINE, hide_short_help = true)]
    pub(crate) embed_engine: Option<EmbedEngine>,
    /// Number format of the embedding model: f32, bf16 or int8 [default: the fastest correct one, as measured here]
    #[arg(long, global = true, value_name = "NAME", env = env::EMBED_FORMAT, hide_short_help = true)]
    pub(crate) embed_format: Option<NumberFormat>,
    /// Reranking model, or "none"
    #[arg(long, global = true, value_name = "NAME", env = env::RERANKER, hide_short_help = true)]
    pub(crate) reranker: Option<String>,
    /// Chat model
    #[arg(long, global = true, value_name = "NAME", env = env::CHAT, hide_short_help = true)]
    pub(crate) chat: Option<String>,
    /// Stands in the names of tuned models [default: anser]
    #[arg(long, global = true, value_name = "NAME", env = env::ORGANIZATION, hide_short_help = true)]
    pub(crate) organization: Option<String>,
    /// Most memory that tuned models may take beside their bases, in MiB [default: 1024]
    #[arg(long, global = true, value_name = "MIB", env = env::TUNED_MEMORY, hide_short_help = true)]
    pub(crate) tuned_memory: Option<u64>,
    /// Most memory that analyses may take together, in MiB [default: half of what there is]
    #[arg(long, global = true, value_name = "MIB", env = env::JOB_MEMORY, hide_short_help = true)]
    pub(crate) job_memory: Option<u64>,
    /// Most disk for vectors of texts embedded before, in MiB; 0 keeps none [default: 1024]
    #[arg(long, global = true, value_name = "MIB", env = env::EMBEDDING_CACHE, hide_short_help = true)]
    pub(crate) embedding_cache: Option<u64>,
    /// Print JSON for machines instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress bars
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// What to log to standard error
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = env::LOG,
        hide_short_help = true,
        help = "What to log to standard error, e.g. \"info\" or \"anser_server=debug\""
    )]
    pub(crate) log: Option<String>,
}

/// The configuration file, as typed. Unknown keys are errors.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    data_dir: Option<PathBuf>,
    models_dir: Option<PathBuf>,
    local_models: Option<PathBuf>,
    offline: Option<bool>,
    python: Option<PathBuf>,
    threads: Option<NonZeroUsize>,
    device: Option<String>,
    embedder: Option<String>,
    embed_engine: Option<String>,
    embed_format: Option<String>,
    reranker: Option<String>,
    chat: Option<String>,
    organization: Option<String>,
    tuned_memory: Option<u64>,
    job_memory: Option<u64>,
    embedding_cache: Option<u64>,
    filter_replies: Option<bool>,
    listen: Option<SocketAddr>,
}

/// Configuration with every question answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    /// Whether `data_dir` was chosen by hand, so that a command to type next must name it again.
    pub(crate) data_dir_given: bool,
    pub(crate) models_dir: PathBuf,
    pub(crate) local_models: Option<PathBuf>,
    pub(crate) offline: bool,
    pub(crate) python: Option<PathBuf>,
    pub(crate) threads: usize,
    pub(crate) device: Device,
    pub(crate) embedder: String,
    /// `None` leaves it to a measurement.
    pub(crate) embed_engine: Option<EmbedEngine>,
    pub(crate) embed_format: Option<NumberFormat>,
    pub(crate) reranker: Option<String>,
    pub(crate) chat: String,
    pub(crate) organization: String,
    /// In MiB.
    pub(crate) tuned_memory: u64,
    /// In MiB; half of what there is, unless told otherwise.
    pub(crate) job_memory: Option<u64>,
    /// In MiB; 0 keeps none.
    pub(crate) embedding_cache: u64,
    pub(crate) filter_replies: bool,
    pub(crate) listen: SocketAddr,
}

impl Settings {
    /// Resolves flags and environment over the file over the defaults.
    pub(crate) fn resolve(args: &GlobalArgs) -> Result<Self, Failure> {
        let dirs = etcetera::choose_base_strategy()
            .map_err(|e| Failure::usage(format!("cannot find your home folder ({e}); name a folder with --data-dir")));
        let file = match (&args.config, &dirs) {
            (Some(path), _) => read_file(path)?,
            (None, Ok(dirs)) => {
                let path = dirs.config_dir().join("anser").join("config.toml");
                if path.exists() { read_file(&path)? } else { ConfigFile::default() }
            }
            (None, Err(_)) => ConfigFile::default(),
        };
        let data_dir = match args.data_dir.clone().or(file.data_dir) {
            Some(dir) => dir,
            None => dirs?.data_dir().join("anser"),
        };
        let default_listen = || DEFAULT_LISTEN.parse().map_err(|e| Failure::failed(format!("{DEFAULT_LISTEN}: {e}")));
        Ok(Self {
            models_dir: args.models_dir.clone().or(file.models_dir).unwrap_or_else(|| data_dir.join("models")),
            data_dir_given: args.data_dir.is_some(),
            data_dir,
            local_models: args.local_models.clone().or(file.local_models),
            offline: args.offline || file.offline.unwrap_or(false),
            python: args.python.clone().or(file.python),
            threads: args
                .threads
                .or(file.threads)
                .or_else(|| std::thread::available_parallelism().ok())
                .map_or(1, NonZeroUsize::get),
            device: match (args.device, file.device) {
                (Some(device), _) => device,
                (None, Some(text)) => {
                    text.parse().map_err(|e| Failure::usage(format!("device in the configuration file: {e}")))?
                }
                (None, None) => Device::Cpu,
            },
            embedder: args.embedder.clone().or(file.embedder).unwrap_or_else(|| DEFAULT_EMBEDDER.to_owned()),
            embed_engine: args
                .embed_engine
                .map_or_else(|| named("embed_engine", file.embed_engine), |e| Ok(Some(e)))?,
            embed_format: args
                .embed_format
                .map_or_else(|| named("embed_format", file.embed_format), |f| Ok(Some(f)))?,
            reranker: Some(args.reranker.clone().or(file.reranker).unwrap_or_else(|| DEFAULT_RERANKER.to_owned()))
                .filter(|name| name != NO_RERANKER),
            chat: args.chat.clone().or(file.chat).unwrap_or_else(|| DEFAULT_CHAT.to_owned()),
            organization: args.organization.clone().or(file.organization).unwrap_or_else(|| ORGANIZATION.to_owned()),
            tuned_memory: args.tuned_memory.or(file.tuned_memory).unwrap_or(TUNED_MEMORY),
            job_memory: args.job_memory.or(file.job_memory),
            embedding_cache: args.embedding_cache.or(file.embedding_cache).unwrap_or(EMBEDDING_CACHE),
            filter_replies: file.filter_replies.unwrap_or(false),
            listen: file.listen.map_or_else(default_listen, Ok)?,
        })
    }
}

/// The value of a key of the file that holds one of a few names.
fn named<T: FromStr<Err = String>>(key: &str, value: Option<String>) -> Result<Option<T>, Failure> {
    let parsed = value.map(|value| value.parse()).transpose();
    parsed.map_err(|reason| Failure::usage(format!("the configuration file, {key}: {reason}")))
}

fn read_file(path: &Path) -> Result<ConfigFile, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("cannot read the configuration file {}: {e}", path.display())))?;
    parse_file(&text).map_err(|e| Failure::usage(format!("the configuration file {}: {e}", path.display())))
}

fn parse_file(text: &str) -> Result<ConfigFile, String> {
    toml::from_str(text).map_err(|e| e.to_string().trim_end().replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings(args: &GlobalArgs, file: &str) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, file).unwrap();
        Settings::resolve(&GlobalArgs { config: Some(path), ..args.clone() })
    }

    #[test]
    fn the_device_comes_from_flag_or_file_and_is_the_processor_otherwise() {
        let none = GlobalArgs::default();
        assert_eq!(settings(&none, "").unwrap().device, Device::Cpu);
        assert_eq!(settings(&none, "device = \"cuda:1\"").unwrap().device, Device::Cuda(1));
        let flag = GlobalArgs { device: Some(Device::Metal), ..GlobalArgs::default() };
        assert_eq!(settings(&flag, "device = \"cuda:1\"").unwrap().device, Device::Metal);
        let error = settings(&none, "device = \"gpu\"").unwrap_err();
        assert!(format!("{error:?}").contains("cuda:1"), "{error:?}");
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let file = "data_dir = \"/from-file\"\nthreads = 3\nreranker = \"none\"\n";
        let from_file = settings(&GlobalArgs::default(), file).unwrap();
        assert_eq!(from_file.data_dir, Path::new("/from-file"));
        assert_eq!(from_file.models_dir, Path::new("/from-file/models"));
        assert_eq!(from_file.threads, 3);
        assert_eq!(from_file.reranker, None);
        assert_eq!(from_file.chat, DEFAULT_CHAT);

        let args = GlobalArgs { data_dir: Some("/from-flag".into()), ..GlobalArgs::default() };
        assert_eq!(settings(&args, file).unwrap().data_dir, Path::new("/from-flag"));
    }

    #[test]
    fn the_engine_of_the_embedder_is_chosen_by_name_or_left_open() {
        let open = settings(&GlobalArgs::default(), "").unwrap();
        assert_eq!((open.embed_engine, open.embed_format), (None, None));
        let file = "embed_engine = \"onnx\"\nembed_format = \"bf16\"\n";
        let chosen = settings(&GlobalArgs::default(), file).unwrap();
        assert_eq!((chosen.embed_engine, chosen.embed_format), (Some(EmbedEngine::Onnx), Some(NumberFormat::Bf16)));
        let args = GlobalArgs { embed_engine: Some(EmbedEngine::Native), ..GlobalArgs::default() };
        assert_eq!(settings(&args, file).unwrap().embed_engine, Some(EmbedEngine::Native));
        let error = settings(&GlobalArgs::default(), "embed_format = \"int4\"\n").unwrap_err();
        assert!(error.to_string().contains("embed_format: \"int4\" is no number format"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = settings(&GlobalArgs::default(), "treads = 3\n").unwrap_err();
        assert!(error.to_string().contains("treads"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_panic(text in ".{0,200}") {
            let _ = parse_file(&text);
        }
    }
}
