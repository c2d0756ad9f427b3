//! The chat model through its public interface: a tiny random model that the tests write themselves shows the behaviour,
//! the default chat model shows that the answers are right.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adapters;
mod damaged;
mod folders;
mod llama_cpp;
mod peft;
mod real_model;
mod reference;
mod scoring;
mod tiny;
mod tiny_model;
