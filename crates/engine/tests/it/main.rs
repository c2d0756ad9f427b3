//! Integration tests of the engine.

mod ingest;
