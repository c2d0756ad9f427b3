//! `anser models`: which models there are, which are here, and turning one into other files.

use std::path::PathBuf;

use anser_models::{
    ConvertTarget, EmbedderSettings, GraphFormat, ModelFiles, ModelRole, ModelSpec, ModelStatus, ModelStore, Pooling,
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::compose;
use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::{Terminal, bytes};

/// Subcommands of `anser models`.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  anser models list\n  anser models pull\n  anser models pull SmolLM2-135M-Instruct\n  anser \
                  models add intfloat/e5-small-v2 --query-prefix 'query: ' --passage-prefix 'passage: '\n  anser models \
                  convert all-MiniLM-L6-v2 --to onnx --format int8 --out minilm-int8"
)]
pub(crate) enum ModelsCommand {
    /// All models of the catalogue and whether they are here
    List,
    /// Download models; all of the default ones when none is named
    Pull {
        /// Names from `anser models list`
        names: Vec<String>,
    },
    /// Add an embedder of your own: a folder, or a repository of the model hub
    Add(AddArgs),
    /// Write an embedder of the BERT family as other files
    Convert(ConvertArgs),
    /// Delete a downloaded model; one of your own is also forgotten
    Rm {
        /// Its name
        name: String,
    },
}

/// Arguments of `anser models add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// A folder with weights, tokenizer.json and config.json, or owner/name or owner/name@revision of the hub
    source: String,
    /// Name under which it will be known; its own when none is given
    #[arg(long)]
    name: Option<String>,
    /// Put before every query, in place of what the model's files say
    #[arg(long, value_name = "TEXT")]
    query_prefix: Option<String>,
    /// Put before every passage, in place of what the model's files say
    #[arg(long, value_name = "TEXT")]
    passage_prefix: Option<String>,
    /// How token vectors become one, in place of what the model's files say
    #[arg(long, value_enum)]
    pooling: Option<PoolingChoice>,
    /// Most tokens to read of a text
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Lengths to which its vectors may be cut, for a model trained so
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    dimensions: Option<Vec<usize>>,
}

/// Poolings on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PoolingChoice {
    /// The first token's vector
    Cls,
    /// The mean of all tokens' vectors
    Mean,
    /// The last token's vector
    LastToken,
}

impl From<PoolingChoice> for Pooling {
    fn from(choice: PoolingChoice) -> Self {
        match choice {
            PoolingChoice::Cls => Self::Cls,
            PoolingChoice::Mean => Self::Mean,
            PoolingChoice::LastToken => Self::LastToken,
        }
    }
}

/// Arguments of `anser models convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// A name from `anser models list`, a folder, or owner/name of the hub
    source: String,
    /// What to write
    #[arg(long, value_enum)]
    to: Kind,
    /// Number format of the weights; int8 is for ONNX
    #[arg(long, value_enum, default_value_t = Format::F32)]
    format: Format,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Replace what lies in the folder
    #[arg(long)]
    force: bool,
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One graph with pooling and normalisation in it, for ONNX Runtime
    Onnx,
    /// Weights, for everything that reads Hugging Face's files
    Safetensors,
}

/// Number formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// 32-bit floats
    F32,
    /// Bytes with scales: a quarter of the size
    Int8,
}

impl ModelsCommand {
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        let store = compose::model_store(settings);
        match self {
            Self::List => list(&store, settings, terminal),
            Self::Pull { names } => pull(names, &store, settings, terminal),
            Self::Add(args) => add(args, &store, terminal),
            Self::Convert(args) => convert(args, &store, terminal),
            Self::Rm { name } => {
                let removed = store.remove(name)?;
                if terminal.is_json() {
                    return terminal.json(&json!({"model": name, "removed": removed}));
                }
                terminal.line(if removed { format!("removed {name}") } else { format!("{name} was not here") })
            }
        }
    }
}

fn pull(names: &[String], store: &ModelStore, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
    let progress = terminal.progress();
    let mut pulled = Vec::new();
    let defaults = [&settings.embedder, &settings.chat].into_iter().chain(settings.reranker.as_ref());
    let names: Vec<String> = if names.is_empty() { defaults.cloned().collect() } else { names.to_vec() };
    for name in &names {
        let files = if *name == settings.embedder {
            store.ensure_embedder(name, progress.as_ref())?
        } else {
            store.ensure(name, progress.as_ref())?
        };
        pulled.push(json!({"model": name, "path": files.dir}));
        if !terminal.is_json() {
            terminal.line(format!("{} is in {}", terminal.bold(name), files.dir.display()))?;
        }
    }
    let runtime = store.ensure_runtime(progress.as_ref())?;
    if terminal.is_json() {
        return terminal.json(&json!({"models": pulled, "runtime": runtime}));
    }
    terminal.line(format!("ONNX Runtime is {}", runtime.display()))
}

fn add(args: &AddArgs, store: &ModelStore, terminal: &Terminal) -> Result<(), Failure> {
    let embedder = EmbedderSettings {
        pooling: args.pooling.map(Pooling::from),
        query_prefix: args.query_prefix.clone(),
        passage_prefix: args.passage_prefix.clone(),
        max_tokens: args.max_tokens,
        dimensions: args.dimensions.clone(),
    };
    let ModelFiles { spec, dir } =
        store.add(&args.source, args.name.as_deref(), &embedder, terminal.progress().as_ref())?;
    if terminal.is_json() {
        return terminal.json(&json!({
            "model": spec.name, "path": dir, "dimension": spec.dimension, "dimensions": spec.dimensions,
            "max_tokens": spec.max_tokens, "pooling": spec.pooling, "query_prefix": spec.query_prefix,
            "passage_prefix": spec.passage_prefix, "bytes": spec.total_bytes(),
        }));
    }
    terminal.line(format!(
        "added {}, {} in {}",
        terminal.bold(&spec.name),
        bytes(spec.total_bytes()),
        dir.display()
    ))?;
    terminal.line(description(&spec))?;
    terminal.line(format!("next: anser --embedder {} ingest FILE", spec.name))
}

/// What is known of an embedder, in a line.
fn description(spec: &ModelSpec) -> String {
    let pooling = match spec.pooling {
        Some(Pooling::Cls) => "first token's vector",
        Some(Pooling::Mean) | None => "mean of the tokens' vectors",
        Some(Pooling::LastToken) => "last token's vector",
    };
    let prefixes = [("queries", &spec.query_prefix), ("passages", &spec.passage_prefix)];
    let prefixes = prefixes.into_iter().filter(|(_, prefix)| !prefix.is_empty());
    let parts = [
        format!("{} dimensions", spec.dimension.unwrap_or(0)),
        pooling.to_owned(),
        format!("{} tokens", spec.max_tokens.unwrap_or(0)),
    ];
    let prefixes = prefixes.map(|(what, prefix)| format!("{what} begin with {prefix:?}"));
    parts.into_iter().chain(prefixes).collect::<Vec<_>>().join(", ")
}

fn convert(args: &ConvertArgs, store: &ModelStore, terminal: &Terminal) -> Result<(), Failure> {
    let target = match (args.to, args.format) {
        (Kind::Onnx, Format::F32) => ConvertTarget::Onnx(GraphFormat::F32),
        (Kind::Onnx, Format::Int8) => ConvertTarget::Onnx(GraphFormat::Int8),
        (Kind::Safetensors, Format::F32) => ConvertTarget::Safetensors,
        (Kind::Safetensors, Format::Int8) => {
            return Err(Failure::usage("safetensors are written in f32 only; choose --format f32, or --to onnx"));
        }
    };
    let files = store.ensure_embedder(&args.source, terminal.progress().as_ref())?;
    let written = files.convert(target, &args.out, args.force)?;
    let (before, after) = (files.spec.total_bytes(), written.iter().map(|file| file.bytes).sum::<u64>());
    if terminal.is_json() {
        let files: Vec<_> = written.iter().map(|file| json!({"name": file.name, "bytes": file.bytes})).collect();
        return terminal.json(&json!({
            "model": args.source, "path": args.out, "files": files, "bytes": after, "source_bytes": before,
        }));
    }
    let rows = written.iter().map(|file| [file.name.clone(), bytes(file.bytes)]).collect();
    terminal.table(["file", "size"], rows)?;
    let out = args.out.display();
    terminal.line(format!(
        "{} is in {out}, {} where it had {}",
        terminal.bold(&args.source),
        bytes(after),
        bytes(before)
    ))?;
    terminal.line(format!("next: anser --embedder {out} ingest FILE"))
}

fn list(store: &ModelStore, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
    let mut listed = Vec::new();
    for spec in store.catalogue().models() {
        let (state, path) = match store.status(&spec.name)? {
            ModelStatus::Present { path, bytes } => ((format!("here, {}", self::bytes(bytes))), Some(path)),
            ModelStatus::Missing => ("not downloaded".to_owned(), None),
            ModelStatus::Damaged { reason } => (format!("damaged: {reason}"), None),
        };
        listed.push((spec, state, path));
    }
    if terminal.is_json() {
        let models = listed.iter().map(|(spec, state, path)| {
            let embeds = spec.role == ModelRole::Embedder && path.is_some();
            json!({
                "name": spec.name, "role": format!("{:?}", spec.role).to_lowercase(), "licence": spec.licence,
                "dimension": spec.dimension, "max_tokens": spec.max_tokens, "state": state, "path": path,
                "engine": embeds.then(|| compose::measured_engines(settings, &spec.name)).flatten(),
            })
        });
        return terminal.json(&models.collect::<Vec<_>>());
    }
    let rows = listed.iter().map(|(spec, state, _)| {
        [
            spec.name.clone(),
            format!("{:?}", spec.role).to_lowercase(),
            state.clone(),
            spec.licence.clone(),
            spec.description.clone(),
        ]
    });
    terminal.table(["name", "role", "state", "licence", "what it is"], rows.collect())
}
