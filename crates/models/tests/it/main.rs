//! Models are obtained from each source, verified and kept.

mod real;
