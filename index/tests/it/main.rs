//! What a user of the index can rely on, seen through its public interface only.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod crash;
mod documents;
mod filtered;
mod model;
mod recall;
mod search;
mod sharing;
mod store;
mod support;
