//! Functions of one number that follow a product.

use crate::gelu::{coarse_gelu, gelu};
use crate::simd::Simd;

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

#[expect(unsafe_code, reason = "vector instructions; callers promise that the processor has them")]
impl Unary {
    /// The function of each lane; `coarse` when the result is rounded to 16 bits or fewer.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    #[inline(always)]
    pub(crate) unsafe fn apply<S: Simd>(self, x: S::Floats, coarse: bool) -> S::Floats {
        // SAFETY: passed on from the caller.
        unsafe {
            match self {
                Self::Gelu if coarse => coarse_gelu::<S>(x),
                Self::Gelu => gelu::<S>(x),
                Self::GeluTanh => gelu_tanh::<S>(x),
                Self::Relu => S::clamp(x, 0.0, f32::INFINITY),
                Self::Silu => S::multiply(x, sigmoid::<S>(x)),
                Self::Tanh => {
                    let twice = sigmoid::<S>(S::add(x, x));
                    S::subtract(S::add(twice, twice), S::splat(1.0))
                }
            }
        }
    }
}

/// x/2·(1 + tanh(u)) is x·sigmoid(2u).
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions; the caller promises that the processor has them")]
unsafe fn gelu_tanh<S: Simd>(x: S::Floats) -> S::Floats {
    const TWICE_ROOT: f32 = 1.595_769;
    // SAFETY: passed on from the caller.
    unsafe {
        let cubic = S::multiply_add(S::multiply(x, x), S::splat(0.044_715 * TWICE_ROOT), S::splat(TWICE_ROOT));
        S::multiply(x, sigmoid::<S>(S::multiply(x, cubic)))
    }
}

/// 1 / (1 + e^-x).
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions; the caller promises that the processor has them")]
unsafe fn sigmoid<S: Simd>(x: S::Floats) -> S::Floats {
    // SAFETY: passed on from the caller.
    unsafe { S::divide(S::splat(1.0), S::add(S::splat(1.0), exp::<S>(S::multiply(x, S::splat(-1.0))))) }
}

/// As [`crate::exponential::exp`].
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions; the caller promises that the processor has them")]
unsafe fn exp<S: Simd>(x: S::Floats) -> S::Floats {
    use crate::exponential::{LN_2_HIGH, LN_2_LOW, ROUND, TAYLOR};
    // SAFETY: passed on from the caller.
    unsafe {
        let x = S::clamp(x, -87.0, 88.0);
        let shifted = S::multiply_add(x, S::splat(std::f32::consts::LOG2_E), S::splat(ROUND));
        let n = S::subtract(shifted, S::splat(ROUND));
        let r = S::multiply_add(n, S::splat(-LN_2_HIGH), x);
        let r = S::multiply_add(n, S::splat(-LN_2_LOW), r);
        let mut sum = S::splat(1.0 / 5040.0);
        for coefficient in TAYLOR {
            sum = S::multiply_add(sum, r, S::splat(coefficient));
        }
        S::scale_by_power(S::multiply_add(sum, r, S::splat(1.0)), shifted)
    }
}
