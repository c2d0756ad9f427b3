//! What a user of the index can rely on, seen through its public interface only.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod canary;
mod compact;
mod crash;
mod damage;
mod documents;
mod filtered;
mod formats;
mod kill;
mod limits;
mod model;
mod odd;
mod recall;
mod reembed;
mod salvage;
mod search;
mod sharing;
mod store;
mod support;
mod work;
