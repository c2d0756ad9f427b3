//! The HTTP service: OpenAI's routes for models, embeddings, chat, completions, responses, moderations, files and
//! fine-tuning, and our own for collections, documents, search and answers with citations.
//!
//! [`serve`] runs it on a socket; [`router`] gives the same routes without one. Everything it does is done by
//! [`anser_engine::Engine`], whose calls block and therefore run on threads of their own.

mod call;
mod error;
mod extract;
mod filter;
mod generation;
mod metrics;
mod middleware;
mod options;
mod pieces;
mod router;
mod routes;
mod serve;
mod sse;
mod state;
mod upload;
mod wire;

pub use error::ServerError;
pub use options::{ApiKey, ServerOptions};
pub use router::router;
pub use serve::{bind, serve};
