//! What a user of the index can rely on, seen through its public interface only.

mod cache;
mod documents;
mod model;
mod recall;
mod search;
mod sharing;
mod store;
mod support;
