//! The hot loops: matrix products on packed weights, chosen at run time by what the processor can do, the row kernels
//! that a transformer's forward and backward pass are made of, and the products that compare vectors.
//!
//! A kernel takes the [`InstructionSet`] it may use, so that tests can run every path of a machine. Results do not
//! depend on the number of threads: a sum is always taken in the same order.

#![expect(clippy::inline_always, reason = "a body is compiled once for each instruction set by being inlined there")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "views of operands are passed as slices are, and those to write cannot be copied"
)]
#![expect(
    clippy::missing_panics_doc,
    reason = "operands that do not fit are the caller's defect, everywhere in this crate"
)]

mod attention;
mod bidirectional;
mod cross_entropy;
mod dropout;
mod element;
mod epilogue;
mod exponential;
mod finish;
mod gelu;
mod instructions;
mod layer_norm;
mod matmul;
mod outer;
mod packed;
mod quantised;
mod rows;
mod simd;
mod unary;
mod vectors;

pub use attention::{Attended, AttentionGradients, AttentionInput, AttentionScratch, attend, attend_backward};
pub use bidirectional::{HeadScratch, attend_to_all};
pub use cross_entropy::{
    CrossEntropyScratch, OutputMatrix, TargetScores, WeightedTargets, cross_entropy, logit_gradients,
};
pub use dropout::{DropoutRow, add_dropped_out, drop_out};
pub use element::{Element, Rows, RowsMut, WeightFormat, convert, widen};
pub use epilogue::Epilogue;
pub use instructions::{INSTRUCTIONS_VARIABLE, InstructionSet};
pub use layer_norm::{LayerNorm, layer_norm, mean_row};
pub use matmul::{Matrix, MatrixMut, matmul};
pub use outer::outer_sum;
pub use packed::{LowRank, PackedMatrix, Part};
pub use quantised::{QuantisedMatrix, QuantisedRows};
pub use rows::{
    RmsNorm, RmsNormBackward, Rotary, gated_unit, gated_unit_backward, rms_norm, rms_norm_backward,
    rms_norm_weight_gradient, rotate, weigh_rows,
};
pub use unary::Unary;
pub use vectors::{ByteRows, compare_byte_rows, dot_byte_rows, dot_f32, dot_i8, prefetch};
