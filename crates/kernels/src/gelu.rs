//! The Gaussian error linear unit (Hendrycks and Gimpel 2016), x·Φ(x) with the normal distribution's Φ, in a form that
//! vectorises: polynomials only, no exponential and no division.
//!
//! On |x| ≤ c, Φ(x) = 1/2 + x·P(2x²/c² − 1); beyond c, x counts as ±c there. P is the polynomial whose error |x·ΔΦ(x)| has
//! the least maximum (iteratively reweighted least squares in Chebyshev polynomials) among those with Φ(±c) = 1 and 0, so
//! that large arguments give x and 0. Its variable runs from -1 to 1, which keeps the coefficients small.

use crate::simd::Simd;

/// c and the coefficients of P for results in `f32`.
const FINE: (f32, [f32; 14]) = (
    5.25,
    [
        0.134_659_33,
        -0.067_126_41,
        0.049_647_28,
        -0.039_777_84,
        0.032_014_87,
        -0.024_898_13,
        0.018_583_475,
        -0.013_377_029,
        0.008_475_255,
        -0.004_245_561_7,
        0.002_493_478_3,
        -0.002_176_834_8,
        0.001_214_460_4,
        -0.000_248_247_13,
    ],
);

/// c and the coefficients of P for results that are rounded to 16 or 8 bits.
const COARSE: (f32, [f32; 10]) = (
    4.5,
    [
        0.156_904_2,
        -0.077_176_22,
        0.054_721_717,
        -0.040_429_447,
        0.028_287_792,
        -0.017_512_7,
        0.010_835_615,
        -0.007_801_605_4,
        0.004_220_078_3,
        -0.000_938_329_57,
    ],
);

/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions; the caller promises that the processor has them")]
unsafe fn by_polynomial<S: Simd, const N: usize>(x: S::Floats, (end, coefficients): (f32, [f32; N])) -> S::Floats {
    // SAFETY: passed on from the caller.
    unsafe {
        let inside = S::clamp(x, -end, end);
        let t = S::multiply_add(S::multiply(inside, inside), S::splat(2.0 / (end * end)), S::splat(-1.0));
        let mut sum = S::splat(coefficients[N - 1]);
        for &coefficient in coefficients[..N - 1].iter().rev() {
            sum = S::multiply_add(sum, t, S::splat(coefficient));
        }
        S::multiply(x, S::multiply_add(inside, sum, S::splat(0.5)))
    }
}

/// x·Φ(x) within 1e-6, or within a quarter of a millionth of x where that is more.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions; the caller promises that the processor has them")]
pub(crate) unsafe fn gelu<S: Simd>(x: S::Floats) -> S::Floats {
    // SAFETY: passed on from the caller.
    unsafe { by_polynomial::<S, 14>(x, FINE) }
}

/// x·Φ(x) within 2e-5, in three quarters of the time: for results that are rounded to 16 or 8 bits.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions; the caller promises that the processor has them")]
pub(crate) unsafe fn coarse_gelu<S: Simd>(x: S::Floats) -> S::Floats {
    // SAFETY: passed on from the caller.
    unsafe { by_polynomial::<S, 10>(x, COARSE) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;
    use crate::instructions::Kernel;

    /// Both at one number.
    #[derive(Clone, Copy)]
    struct Both(f32);

    #[expect(unsafe_code, reason = "vector instructions")]
    impl Kernel for Both {
        type Output = (f32, f32);
        const BRAIN_FLOATS: bool = false;
        const BYTES: bool = false;

        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> (f32, f32) {
            // SAFETY: passed on from the caller; no vector has more than 16 lanes.
            unsafe {
                let (mut fine, mut coarse) = ([0.0; 16], [0.0; 16]);
                S::store(fine.as_mut_ptr(), gelu::<S>(S::splat(self.0)));
                S::store(coarse.as_mut_ptr(), coarse_gelu::<S>(S::splat(self.0)));
                (fine[S::LANES - 1], coarse[0])
            }
        }
    }

    /// The error function's Taylor series, which alternates: in `f64` it is good to 1e-9 for the arguments below.
    fn exact(x: f64) -> f64 {
        let z = x.abs() / std::f64::consts::SQRT_2;
        let (mut term, mut sum) = (z, z);
        for n in 1..200_u32 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        let erf = (sum * 2.0 / std::f64::consts::PI.sqrt()).min(1.0);
        x * 0.5 * (1.0 + erf.copysign(x))
    }

    #[test]
    fn both_are_as_near_to_the_exact_function_as_they_say() {
        let sets = InstructionSet::available();
        for step in -12_000..12_000_i32 {
            let x = step as f32 * 5e-4;
            let exact = exact(f64::from(x));
            for &set in &sets {
                let (fine, coarse) = set.run(Both(x));
                assert!(
                    (f64::from(fine) - exact).abs() < 1e-6_f64.max(2.5e-7 * exact.abs()),
                    "gelu({x}) = {fine}, not {exact}"
                );
                assert!((f64::from(coarse) - exact).abs() < 2e-5, "gelu({x}) = {coarse}, not {exact}");
            }
        }
    }

    #[test]
    fn far_arguments_give_themselves_or_nothing() {
        for set in InstructionSet::available() {
            for x in [7.0_f32, 1e3, 1e30] {
                let ((fine, coarse), (fine_least, coarse_least)) = (set.run(Both(x)), set.run(Both(-x)));
                for (value, least) in [(fine, fine_least), (coarse, coarse_least)] {
                    assert!((value / x - 1.0).abs() < 3e-7 && least.abs() / x < 3e-7, "gelu({x}) = {value}, {least}");
                }
            }
            let (fine, coarse) = set.run(Both(f32::NAN));
            assert!(fine.is_nan() && coarse.is_nan());
        }
    }
}
