//! The chat model through its public interface: a tiny random model that the tests write themselves shows the behaviour,
//! the default chat model shows that the answers are right.

mod damaged;
mod real_model;
mod tiny;
mod tiny_model;
