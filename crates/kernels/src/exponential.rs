//! The exponential function, in a form that vectorises.

/// Adding and taking away 1.5·2^23 rounds to the nearest integer and leaves it in the lowest bits.
pub(crate) const ROUND: f32 = 12_582_912.0;
pub(crate) const LN_2_HIGH: f32 = 0.693_359_4;
pub(crate) const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Coefficients of e^r from r^6 down to r.
pub(crate) const TAYLOR: [f32; 6] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];

/// e^x within two units in the last place for x in [-87, 88]; below it about 1.6e-38 instead of less, above it capped.
///
/// Splits x into n·ln 2 + r with |r| ≤ ln 2 / 2 (Cody and Waite), takes the Taylor polynomial of degree 7 at r and puts n into
/// the exponent bits.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = multiply_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FMA>(n, -LN_2_LOW, multiply_add::<FMA>(n, -LN_2_HIGH, x));
    let mut sum = 1.0 / 5040.0;
    for coefficient in TAYLOR {
        sum = multiply_add::<FMA>(sum, r, coefficient);
    }
    sum = multiply_add::<FMA>(sum, r, 1.0);
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) << 23;
    f32::from_bits(sum.to_bits().wrapping_add(exponent))
}

/// a·b + c, in one instruction where there is one: a call of the library's function would cost more than it saves.
#[inline(always)]
pub(crate) fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_within_a_few_units_of_the_exact_one() {
        for step in 0..175_000_u32 {
            let x = -87.0 + step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            for value in [exp::<true>(x), exp::<false>(x)] {
                let error = (f64::from(value) / exact - 1.0).abs();
                assert!(error < 4e-7, "exp({x}) = {value}, not {exact}");
            }
        }
    }

    #[test]
    fn far_arguments_are_capped() {
        assert!(exp::<true>(-1e30) < 1e-37 && exp::<true>(f32::NEG_INFINITY) < 1e-37);
        assert!(exp::<true>(1e30).is_finite());
        assert!((exp::<true>(0.0) - 1.0).abs() < 1e-7 && exp::<true>(f32::NAN).is_nan());
    }
}
