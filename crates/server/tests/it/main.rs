//! The service, called as its clients call it, with models that are scripted instead of learned.

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
