//! AVX-512 F, BW, DQ and VL, and what later processors add.

#![expect(unsafe_code, reason = "intrinsics; whoever calls promises that the processor has them")]
#![expect(unsafe_op_in_unsafe_fn, reason = "each function is hardly more than one intrinsic")]

use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, __mmask16, _CMP_UNORD_Q, _mm_storeu_si128, _mm256_loadu_si256,
    _mm256_mask_storeu_epi16, _mm256_storeu_si256, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512,
    _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_epi8, _mm512_cvtepi32_epi16,
    _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_div_ps, _mm512_dpbf16_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_madd_epi16,
    _mm512_mask_mov_epi32, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps,
    _mm512_mullo_epi32, _mm512_reduce_max_ps, _mm512_reduce_min_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_slli_epi16, _mm512_slli_epi32, _mm512_srai_epi16, _mm512_srli_epi16, _mm512_srli_epi32, _mm512_storeu_ps,
    _mm512_sub_ps,
};
use std::mem::transmute;

use super::Simd;

/// AVX-512, with VNNI (products of bytes) and with BF16 (products of brain floats).
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const VNNI: bool, const BF16: bool>;

#[inline(always)]
fn first(count: usize) -> __mmask16 {
    (0xffff_u32 >> (16 - count)) as __mmask16
}

impl<const VNNI: bool, const BF16: bool> Avx512<VNNI, BF16> {
    #[inline(always)]
    unsafe fn to_brain(value: __m512) -> __m256i {
        if BF16 {
            return transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value));
        }
        let bits = _mm512_castps_si512(value);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
        let rounded = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0_0000));
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded))
    }
}

impl<const VNNI: bool, const BF16: bool> Simd for Avx512<VNNI, BF16> {
    const LANES: usize = 16;
    const VECTORS: usize = 3;
    const ROWS: usize = 8;
    const BYTE_ROWS: usize = 8;
    const BRAIN_FLOATS: bool = BF16;
    type Floats = __m512;
    type Integers = __m512i;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }

    #[inline(always)]
    unsafe fn splat_integer(value: i32) -> __m512i {
        _mm512_set1_epi32(value)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        _mm512_loadu_ps(from)
    }

    #[inline(always)]
    unsafe fn load_brain(from: *const u16) -> __m512 {
        let numbers = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(numbers))
    }

    #[inline(always)]
    unsafe fn load_integers(from: *const i32) -> __m512i {
        _mm512_loadu_si512(from.cast())
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        _mm512_storeu_ps(to, value);
    }

    #[inline(always)]
    unsafe fn store_brain(to: *mut u16, value: __m512) {
        _mm256_storeu_si256(to.cast(), Self::to_brain(value));
    }

    #[inline(always)]
    unsafe fn store_bytes(to: *mut u8, value: __m512) {
        _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_castps_si512(value)));
    }

    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize) -> __m512 {
        _mm512_maskz_loadu_ps(first(count), from)
    }

    #[inline(always)]
    unsafe fn store_some(to: *mut f32, value: __m512, count: usize) {
        _mm512_mask_storeu_ps(to, first(count), value);
    }

    #[inline(always)]
    unsafe fn store_some_brain(to: *mut u16, value: __m512, count: usize) {
        _mm256_mask_storeu_epi16(to.cast(), first(count), Self::to_brain(value));
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn subtract(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn multiply(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn divide(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }

    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }

    #[inline(always)]
    unsafe fn least(value: __m512) -> f32 {
        _mm512_reduce_min_ps(value)
    }

    #[inline(always)]
    unsafe fn greatest(value: __m512) -> f32 {
        _mm512_reduce_max_ps(value)
    }

    #[inline(always)]
    unsafe fn any_nan(value: __m512) -> bool {
        _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value) != 0
    }

    // The second operand is the result when one of them is NaN.
    #[inline(always)]
    unsafe fn clamp(value: __m512, low: f32, high: f32) -> __m512 {
        _mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), value))
    }

    #[inline(always)]
    unsafe fn scale_by_power(value: __m512, shifted: __m512) -> __m512 {
        let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
        _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(value), exponent))
    }

    #[inline(always)]
    unsafe fn multiply_integers(a: __m512i, b: __m512i) -> __m512i {
        _mm512_mullo_epi32(a, b)
    }

    #[inline(always)]
    unsafe fn to_floats(value: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(value)
    }

    #[inline(always)]
    unsafe fn lower(pairs: __m512i) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))
    }

    #[inline(always)]
    unsafe fn upper(pairs: __m512i) -> __m512 {
        _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32.cast_signed())))
    }

    #[inline(always)]
    unsafe fn add_brain_products(sum: __m512, x: __m512i, w: __m512i) -> __m512 {
        if BF16 {
            return _mm512_dpbf16_ps(sum, transmute::<__m512i, __m512bh>(x), transmute::<__m512i, __m512bh>(w));
        }
        let sum = Self::multiply_add(Self::lower(x), Self::lower(w), sum);
        Self::multiply_add(Self::upper(x), Self::upper(w), sum)
    }

    #[inline(always)]
    unsafe fn add_byte_products(sum: __m512i, x: __m512i, w: __m512i) -> __m512i {
        if VNNI {
            return _mm512_dpbusd_epi32(sum, x, w);
        }
        let even = _mm512_madd_epi16(
            _mm512_and_si512(x, _mm512_set1_epi32(0x00ff_00ff)),
            _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(w)),
        );
        let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(x), _mm512_srai_epi16::<8>(w));
        _mm512_add_epi32(sum, _mm512_add_epi32(even, odd))
    }
}
