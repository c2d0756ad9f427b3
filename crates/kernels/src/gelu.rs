//! The Gaussian error linear unit (Hendrycks and Gimpel 2016), x·Φ(x) with the normal distribution's Φ, in a form that
//! vectorises: polynomials only, no exponential and no division.
//!
//! On |x| ≤ c, Φ(x) = 1/2 + x·P(2x²/c² − 1); beyond c, x counts as ±c there. P is the polynomial whose error |x·ΔΦ(x)| has
//! the least maximum (iteratively reweighted least squares in Chebyshev polynomials) among those with Φ(±c) = 1 and 0, so
//! that large arguments give x and 0. Its variable runs from -1 to 1, which keeps the coefficients small.

use crate::exponential::multiply_add;

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
        0.156_904_21,
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

#[inline(always)]
fn by_polynomial<const N: usize, const FMA: bool>(x: f32, (end, coefficients): (f32, [f32; N])) -> f32 {
    let inside = x.clamp(-end, end);
    let t = multiply_add::<FMA>(inside * inside, 2.0 / (end * end), -1.0);
    let mut sum = coefficients[N - 1];
    for &coefficient in coefficients[..N - 1].iter().rev() {
        sum = multiply_add::<FMA>(sum, t, coefficient);
    }
    x * multiply_add::<FMA>(inside, sum, 0.5)
}

/// x·Φ(x) within 1e-6, or within an eighth of a millionth of x where that is more.
#[inline(always)]
pub(crate) fn gelu<const FMA: bool>(x: f32) -> f32 {
    by_polynomial::<14, FMA>(x, FINE)
}

/// x·Φ(x) within 2e-5, in three quarters of the time: for results that are rounded to 16 or 8 bits.
#[cfg_attr(not(test), expect(dead_code, reason = "for epilogues that round"))]
#[inline(always)]
pub(crate) fn coarse_gelu<const FMA: bool>(x: f32) -> f32 {
    by_polynomial::<10, FMA>(x, COARSE)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for step in -60_000..60_000_i32 {
            let x = step as f32 * 1e-4;
            let exact = exact(f64::from(x));
            for value in [gelu::<true>(x), gelu::<false>(x)] {
                assert!((f64::from(value) - exact).abs() < 1e-6, "gelu({x}) = {value}, not {exact}");
            }
            for value in [coarse_gelu::<true>(x), coarse_gelu::<false>(x)] {
                assert!((f64::from(value) - exact).abs() < 2e-5, "gelu({x}) = {value}, not {exact}");
            }
        }
    }

    #[test]
    fn far_arguments_give_themselves_or_nothing() {
        for x in [7.0_f32, 1e3, 1e30] {
            for (value, least) in
                [(gelu::<true>(x), gelu::<true>(-x)), (coarse_gelu::<true>(x), coarse_gelu::<true>(-x))]
            {
                assert!((value / x - 1.0).abs() < 3e-7 && least.abs() / x < 3e-7, "gelu({x}) = {value}, {least}");
            }
        }
        assert!(gelu::<true>(f32::NAN).is_nan() && coarse_gelu::<true>(f32::NAN).is_nan());
    }
}
