//! The JSON that goes over the wire: OpenAI's types and our own. OpenAI's requests may hold unknown keys, ours may not.

pub(crate) mod answers;
pub(crate) mod chat;
pub(crate) mod cluster;
pub(crate) mod collections;
pub(crate) mod embeddings;
pub(crate) mod error;
pub(crate) mod list;
pub(crate) mod models;
