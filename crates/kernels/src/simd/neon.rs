//! NEON, which every 64-bit Arm processor has, and the products of bytes that later ones add.

#![expect(unsafe_code, reason = "intrinsics; whoever calls promises that the processor has them")]
#![expect(unsafe_op_in_unsafe_fn, reason = "each function is hardly more than one intrinsic")]

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, vaddq_f32, vaddq_s32, vaddq_u32, vandq_s32, vandq_u32, vbslq_u32, vceqq_f32,
    vcombine_u16, vcvtq_f32_s32, vdivq_f32, vdupq_n_f32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u32, veorq_s8, vfmaq_f32,
    vget_high_s16, vget_lane_u32, vget_low_s8, vget_low_s16, vld1_u16, vld1q_f32, vld1q_s32, vmaxq_f32, vminq_f32,
    vmovl_high_s8, vmovl_s8, vmovn_u16, vmovn_u32, vmull_s16, vmulq_f32, vmulq_s32, vpaddq_s32, vreinterpret_u32_u8,
    vreinterpretq_f32_s32, vreinterpretq_f32_u32, vreinterpretq_s8_s32, vreinterpretq_u32_f32, vshll_n_u16,
    vshlq_n_s32, vshlq_n_u32, vshrn_n_u32, vshrq_n_u32, vst1_u16, vst1q_f32, vsubq_f32,
};

use super::Simd;

/// NEON, with its products of bytes.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const DOT: bool>;

impl<const DOT: bool> Simd for Neon<DOT> {
    const LANES: usize = 4;
    const VECTORS: usize = 3;
    const ROWS: usize = 8;
    const BYTE_ROWS: usize = 8;
    const BRAIN_FLOATS: bool = false;
    const CENTRED_BYTES: bool = true;
    type Floats = float32x4_t;
    type Integers = int32x4_t;

    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        vdupq_n_f32(value)
    }

    #[inline(always)]
    unsafe fn splat_integer(value: i32) -> int32x4_t {
        vdupq_n_s32(value)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        vld1q_f32(from)
    }

    #[inline(always)]
    unsafe fn load_brain(from: *const u16) -> float32x4_t {
        vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from)))
    }

    #[inline(always)]
    unsafe fn load_integers(from: *const i32) -> int32x4_t {
        vld1q_s32(from)
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        vst1q_f32(to, value);
    }

    #[inline(always)]
    unsafe fn store_brain(to: *mut u16, value: float32x4_t) {
        let bits = vreinterpretq_u32_f32(value);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
        let rounded = vbslq_u32(vceqq_f32(value, value), rounded, vdupq_n_u32(0x7fc0_0000));
        vst1_u16(to, vshrn_n_u32::<16>(rounded));
    }

    #[inline(always)]
    unsafe fn store_bytes(to: *mut u8, value: float32x4_t) {
        let halves = vmovn_u32(vreinterpretq_u32_f32(value));
        let bytes = vreinterpret_u32_u8(vmovn_u16(vcombine_u16(halves, halves)));
        to.cast::<u32>().write_unaligned(vget_lane_u32::<0>(bytes));
    }

    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vaddq_f32(a, b)
    }

    #[inline(always)]
    unsafe fn subtract(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vsubq_f32(a, b)
    }

    #[inline(always)]
    unsafe fn multiply(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmulq_f32(a, b)
    }

    #[inline(always)]
    unsafe fn divide(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vdivq_f32(a, b)
    }

    #[inline(always)]
    unsafe fn multiply_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }

    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vminq_f32(a, b)
    }

    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmaxq_f32(a, b)
    }

    #[inline(always)]
    unsafe fn clamp(value: float32x4_t, low: f32, high: f32) -> float32x4_t {
        vminq_f32(vdupq_n_f32(high), vmaxq_f32(vdupq_n_f32(low), value))
    }

    #[inline(always)]
    unsafe fn scale_by_power(value: float32x4_t, shifted: float32x4_t) -> float32x4_t {
        let exponent = vshlq_n_u32::<23>(vreinterpretq_u32_f32(shifted));
        vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(value), exponent))
    }

    #[inline(always)]
    unsafe fn multiply_integers(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        vmulq_s32(a, b)
    }

    #[inline(always)]
    unsafe fn to_floats(value: int32x4_t) -> float32x4_t {
        vcvtq_f32_s32(value)
    }

    #[inline(always)]
    unsafe fn lower(pairs: int32x4_t) -> float32x4_t {
        vreinterpretq_f32_s32(vshlq_n_s32::<16>(pairs))
    }

    #[inline(always)]
    unsafe fn upper(pairs: int32x4_t) -> float32x4_t {
        vreinterpretq_f32_s32(vandq_s32(pairs, vdupq_n_s32(0xffff_0000_u32.cast_signed())))
    }

    #[inline(always)]
    unsafe fn add_byte_products(sum: int32x4_t, x: int32x4_t, w: int32x4_t) -> int32x4_t {
        // Less 128 is the top bit turned over.
        let x = veorq_s8(vreinterpretq_s8_s32(x), vdupq_n_s8(i8::MIN));
        let w = vreinterpretq_s8_s32(w);
        if DOT { add_dot_products(sum, x, w) } else { add_widened_products(sum, x, w) }
    }
}

/// `sdot`, whose intrinsic is not stable yet. Only for processors that have it.
#[inline(always)]
unsafe fn add_dot_products(mut sum: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
    std::arch::asm!(
        "sdot {sum:v}.4s, {x:v}.16b, {w:v}.16b",
        sum = inout(vreg) sum,
        x = in(vreg) x,
        w = in(vreg) w,
        options(pure, nomem, nostack, preserves_flags),
    );
    sum
}

#[inline(always)]
unsafe fn add_widened_products(sum: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
    let (x_low, x_high) = (vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x));
    let (w_low, w_high) = (vmovl_s8(vget_low_s8(w)), vmovl_high_s8(w));
    let first = vmull_s16(vget_low_s16(x_low), vget_low_s16(w_low));
    let second = vmull_s16(vget_high_s16(x_low), vget_high_s16(w_low));
    let third = vmull_s16(vget_low_s16(x_high), vget_low_s16(w_high));
    let fourth = vmull_s16(vget_high_s16(x_high), vget_high_s16(w_high));
    // Each holds the four products of one lane.
    vaddq_s32(sum, vpaddq_s32(vpaddq_s32(first, second), vpaddq_s32(third, fourth)))
}
