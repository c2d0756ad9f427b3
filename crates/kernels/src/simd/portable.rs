//! What every processor can do: four lanes in plain code.

#![expect(unsafe_code, reason = "loads and stores through pointers; whoever calls promises their extent")]
#![expect(unsafe_op_in_unsafe_fn, reason = "each function is hardly more than one operation")]

use super::Simd;
use crate::element::Element;

const LANES: usize = 4;

/// Plain code.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn zip<T: Copy, U>(a: [T; LANES], b: [T; LANES], combine: impl Fn(T, T) -> U) -> [U; LANES] {
    std::array::from_fn(|lane| combine(a[lane], b[lane]))
}

impl Simd for Portable {
    const LANES: usize = LANES;
    const VECTORS: usize = 3;
    const ROWS: usize = 4;
    const BYTE_ROWS: usize = 4;
    const BRAIN_FLOATS: bool = false;
    type Floats = [f32; LANES];
    type Integers = [i32; LANES];

    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn splat_integer(value: i32) -> [i32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; LANES] {
        from.cast::<[f32; LANES]>().read_unaligned()
    }

    #[inline(always)]
    unsafe fn load_brain(from: *const u16) -> [f32; LANES] {
        from.cast::<[u16; LANES]>().read_unaligned().map(|bits| Element::to_f32(half::bf16::from_bits(bits)))
    }

    #[inline(always)]
    unsafe fn load_integers(from: *const i32) -> [i32; LANES] {
        from.cast::<[i32; LANES]>().read_unaligned()
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; LANES]) {
        to.cast::<[f32; LANES]>().write_unaligned(value);
    }

    #[inline(always)]
    unsafe fn store_brain(to: *mut u16, value: [f32; LANES]) {
        to.cast::<[u16; LANES]>()
            .write_unaligned(value.map(|value| <half::bf16 as Element>::from_f32(value).to_bits()));
    }

    #[inline(always)]
    unsafe fn store_bytes(to: *mut u8, value: [f32; LANES]) {
        to.cast::<[u8; LANES]>().write_unaligned(value.map(|value| value.to_bits() as u8));
    }

    #[inline(always)]
    unsafe fn add(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn subtract(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn multiply(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn divide(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        zip(zip(a, b, |a, b| a * b), c, |product, c| product + c)
    }

    #[inline(always)]
    unsafe fn min(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn max(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn clamp(value: [f32; LANES], low: f32, high: f32) -> [f32; LANES] {
        value.map(|value| value.clamp(low, high))
    }

    #[inline(always)]
    unsafe fn scale_by_power(value: [f32; LANES], shifted: [f32; LANES]) -> [f32; LANES] {
        zip(value, shifted, |value, shifted| f32::from_bits(value.to_bits().wrapping_add(shifted.to_bits() << 23)))
    }

    #[inline(always)]
    unsafe fn multiply_integers(a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        zip(a, b, i32::wrapping_mul)
    }

    #[inline(always)]
    unsafe fn to_floats(value: [i32; LANES]) -> [f32; LANES] {
        value.map(|value| value as f32)
    }

    #[inline(always)]
    unsafe fn lower(pairs: [i32; LANES]) -> [f32; LANES] {
        pairs.map(|pair| f32::from_bits(pair.cast_unsigned() << 16))
    }

    #[inline(always)]
    unsafe fn upper(pairs: [i32; LANES]) -> [f32; LANES] {
        pairs.map(|pair| f32::from_bits(pair.cast_unsigned() & 0xffff_0000))
    }

    #[inline(always)]
    unsafe fn add_byte_products(sum: [i32; LANES], x: [i32; LANES], w: [i32; LANES]) -> [i32; LANES] {
        let products = zip(x, w, |x, w| {
            let pairs = x.to_le_bytes().into_iter().zip(w.to_le_bytes());
            pairs.map(|(x, w)| i32::from(x) * i32::from(w.cast_signed())).sum::<i32>()
        });
        zip(sum, products, i32::wrapping_add)
    }
}
