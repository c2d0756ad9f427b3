//! Functions of one number that follow a product, in forms that vectorise.

use crate::exponential::{exp, multiply_add, sigmoid};

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

/// Through the complementary error function by formula 7.1.26 of Abramowitz and Stegun, whose error is below 1.5e-7.
#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    const POLYNOMIAL: [f32; 4] = [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / multiply_add::<FMA>(z, 0.327_591_1, 1.0);
    let mut sum = 1.061_405_4;
    for coefficient in POLYNOMIAL {
        sum = multiply_add::<FMA>(sum, t, coefficient);
    }
    let tail = 0.5 * sum * t * exp::<FMA>(-z * z);
    // Φ(x) is the tail on the left and what the tail leaves on the right.
    x * if x < 0.0 { tail } else { 1.0 - tail }
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
