//! One file for each family of routes.

pub(crate) mod answers;
pub(crate) mod chat;
pub(crate) mod cluster;
pub(crate) mod collections;
pub(crate) mod completions;
pub(crate) mod documents;
pub(crate) mod embeddings;
pub(crate) mod export;
pub(crate) mod files;
pub(crate) mod fine_tuning;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod models;
pub(crate) mod moderations;
pub(crate) mod page;
pub(crate) mod predictors;
pub(crate) mod recommend;
pub(crate) mod responses;
pub(crate) mod search;
