//! The hot loops: matrix products on packed weights, chosen at run time by what the processor can do, and the row
//! kernels that a transformer's forward and backward pass are made of.
//!
//! A kernel takes the [`InstructionSet`] it may use, so that tests can run every path of a machine. Results do not
//! depend on the number of threads: a sum is always taken in the same order.

mod element;
mod instructions;
mod matmul;
mod packed;

pub use element::{Element, Rows, RowsMut, WeightFormat, convert, widen};
pub use instructions::InstructionSet;
pub use matmul::{Matrix, MatrixMut, matmul};
pub use packed::{LowRank, Output, PackedMatrix};
