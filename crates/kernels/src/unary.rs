//! Functions of one number that follow a product, in forms that vectorise.

use crate::exponential::{multiply_add, sigmoid};
use crate::gelu::gelu;

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    /// Gaussian error linear unit, x·Φ(x) (Hendrycks and Gimpel 2016).
    Gelu,
    /// Its approximation x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) of the same paper.
    GeluTanh,
    /// x where it is positive, else zero.
    Relu,
    /// x / (1 + e^-x), also called swish.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

impl Unary {
    /// The function at one number.
    #[inline(always)]
    pub(crate) fn at<const FMA: bool>(self, x: f32) -> f32 {
        match self {
            Self::Gelu => gelu::<FMA>(x),
            Self::GeluTanh => gelu_tanh::<FMA>(x),
            Self::Relu => x.max(0.0),
            Self::Silu => x * sigmoid::<FMA>(x),
            Self::Tanh => tanh::<FMA>(x),
        }
    }
}

#[inline(always)]
fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    // x/2·(1 + tanh(u)) = x·sigmoid(2u).
    const TWICE_SQRT_2_BY_PI: f32 = 1.595_769_1;
    x * sigmoid::<FMA>(TWICE_SQRT_2_BY_PI * x * multiply_add::<FMA>(0.044_715 * x, x, 1.0))
}

#[inline(always)]
fn tanh<const FMA: bool>(x: f32) -> f32 {
    multiply_add::<FMA>(2.0, sigmoid::<FMA>(2.0 * x), -1.0)
}
