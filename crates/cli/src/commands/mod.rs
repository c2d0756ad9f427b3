//! The commands, one file each.

mod analysis;
mod ask;
mod cache;
mod chat;
mod classify;
mod cluster;
mod collections;
mod completions;
mod demo;
mod diversity;
mod doctor;
mod duplicates;
mod eval;
mod export;
mod files;
mod ingest;
mod jobs;
mod map;
mod models;
mod moderate;
mod outliers;
mod predictors;
mod recommend;
mod reembed;
mod regress;
mod repair;
mod search;
mod serve;
mod tune;

use clap::Subcommand;

use crate::config::Settings;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Index the bundled shop data, answer questions about it, cluster it, and serve the page
    Demo(demo::DemoArgs),
    /// Serve the HTTP API and the page
    Serve(serve::ServeArgs),
    /// Read files into a collection
    Ingest(ingest::IngestArgs),
    /// Write a collection's documents, and their vectors, into a file
    Export(export::ExportArgs),
    /// Find the passages nearest to a query
    Search(search::SearchArgs),
    /// Answer a question from a collection, with citations
    Ask(ask::AskArgs),
    /// Find documents like some and unlike others
    Recommend(recommend::RecommendArgs),
    /// Talk to a chat model, tuned or not
    Chat(chat::ChatArgs),
    /// Group a collection's documents by meaning
    Cluster(cluster::ClusterArgs),
    /// Draw a map on which documents that mean similar things lie together
    Map(map::MapArgs),
    /// Find the documents that are most unlike the others
    Outliers(outliers::OutliersArgs),
    /// Find documents that say nearly the same, and delete all but one of them
    Duplicates(duplicates::DuplicatesArgs),
    /// Measure how varied documents are, or compare two choices of them
    Diversity(diversity::DiversityArgs),
    /// Put documents into classes that it learns from labelled ones
    #[command(subcommand)]
    Classify(classify::ClassifyCommand),
    /// Predict a number, such as a score, from a text
    #[command(subcommand)]
    Regress(regress::RegressCommand),
    /// List, show and delete collections
    #[command(subcommand)]
    Collections(collections::CollectionsCommand),
    /// Make a collection's vectors anew by another model, beside its searches, or go back to those of before
    Reembed(reembed::ReembedArgs),
    /// List, download and remove models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Tune a chat model on your own questions and answers
    #[command(subcommand)]
    Tune(tune::TuneCommand),
    /// List and end jobs of every kind
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// List, print and delete uploaded files and results
    #[command(subcommand)]
    Files(files::FilesCommand),
    /// Look whether texts are offensive
    Moderate(moderate::ModerateArgs),
    /// Measure retrieval and answers on questions with known answers
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Check this machine and say how to mend what is wrong
    Doctor(doctor::DoctorArgs),
    /// Show or clear the vectors kept of texts embedded before
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(&self, settings: &Settings, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Self::Demo(args) => args.run(settings, terminal),
            Self::Serve(args) => args.run(settings, terminal),
            Self::Ingest(args) => args.run(settings, terminal),
            Self::Search(args) => args.run(settings, terminal),
            Self::Export(args) => args.run(settings, terminal),
            Self::Ask(args) => args.run(settings, terminal),
            Self::Recommend(args) => args.run(settings, terminal),
            Self::Chat(args) => args.run(settings, terminal),
            Self::Cluster(args) => args.run(settings, terminal),
            Self::Map(args) => args.run(settings, terminal),
            Self::Outliers(args) => args.run(settings, terminal),
            Self::Duplicates(args) => args.run(settings, terminal),
            Self::Diversity(args) => args.run(settings, terminal),
            Self::Classify(command) => command.run(settings, terminal),
            Self::Regress(command) => command.run(settings, terminal),
            Self::Collections(command) => command.run(settings, terminal),
            Self::Reembed(args) => args.run(settings, terminal),
            Self::Models(command) => command.run(settings, terminal),
            Self::Tune(command) => command.run(settings, terminal),
            Self::Jobs(command) => command.run(settings, terminal),
            Self::Files(command) => command.run(settings, terminal),
            Self::Moderate(args) => args.run(settings, terminal),
            Self::Eval(command) => command.run(settings, terminal),
            Self::Doctor(args) => args.run(settings, terminal),
            Self::Cache(command) => command.run(settings, terminal),
            Self::Completions(args) => args.run(),
        }
    }
}
