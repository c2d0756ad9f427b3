//! The service, called as its clients call it, with models that are scripted instead of learned.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod answers;
mod chat;
mod collections;
mod completions;
mod documents;
mod embeddings;
mod files;
mod fine_tuning;
mod health;
mod jobs;
mod limits;
mod models;
mod moderations;
mod official_client;
mod own_vectors;
mod page;
mod predictors;
mod recommend;
mod responses;
mod search;
mod socket;
mod support;
