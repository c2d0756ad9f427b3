//! The service, called as its clients call it, with models that are scripted instead of learned.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod answers;
mod chat;
mod collections;
mod documents;
mod embeddings;
mod health;
mod limits;
mod models;
mod page;
mod socket;
mod support;
