//! AVX2 with fused multiply-add, and with the products of bytes that AVX-VNNI adds.

#![expect(unsafe_code, reason = "intrinsics; whoever calls promises that the processor has them")]
#![expect(unsafe_op_in_unsafe_fn, reason = "each function is hardly more than one intrinsic")]

use std::arch::x86_64::{
    __m256, __m256i, _CMP_UNORD_Q, _mm_loadu_si128, _mm_packus_epi16, _mm_storel_epi64, _mm_storeu_si128,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32, _mm256_div_ps,
    _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_ps,
    _mm256_min_ps, _mm256_mul_ps, _mm256_mullo_epi32, _mm256_packus_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_slli_epi16, _mm256_slli_epi32, _mm256_srai_epi16, _mm256_srli_epi16, _mm256_srli_epi32,
    _mm256_storeu_ps, _mm256_sub_ps,
};

use super::Simd;

/// AVX2, with AVX-VNNI (products of bytes).
#[derive(Clone, Copy)]
pub(crate) struct Avx2<const VNNI: bool>;

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    const LANES: usize = 8;
    const VECTORS: usize = 2;
    const ROWS: usize = 6;
    const BYTE_ROWS: usize = 4;
    const BRAIN_FLOATS: bool = false;
    type Floats = __m256;
    type Integers = __m256i;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        _mm256_set1_ps(value)
    }

    #[inline(always)]
    unsafe fn splat_integer(value: i32) -> __m256i {
        _mm256_set1_epi32(value)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        _mm256_loadu_ps(from)
    }

    #[inline(always)]
    unsafe fn load_brain(from: *const u16) -> __m256 {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()))))
    }

    #[inline(always)]
    unsafe fn load_integers(from: *const i32) -> __m256i {
        _mm256_loadu_si256(from.cast())
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        _mm256_storeu_ps(to, value);
    }

    #[inline(always)]
    unsafe fn store_brain(to: *mut u16, value: __m256) {
        let bits = _mm256_castps_si256(value);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(value, value);
        let quiet = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc0_0000));
        let rounded = _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(rounded), quiet, nan));
        let halves = _mm256_srli_epi32::<16>(rounded);
        // Packing works in each half of the register; the permutation brings the halves together.
        let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(halves, halves));
        _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed));
    }

    #[inline(always)]
    unsafe fn store_bytes(to: *mut u8, value: __m256) {
        let bytes = _mm256_and_si256(_mm256_castps_si256(value), _mm256_set1_epi32(0xff));
        let halves = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(bytes, bytes));
        let packed = _mm_packus_epi16(_mm256_castsi256_si128(halves), _mm256_castsi256_si128(halves));
        _mm_storel_epi64(to.cast(), packed);
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn subtract(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn multiply(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn divide(a: __m256, b: __m256) -> __m256 {
        _mm256_div_ps(a, b)
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        _mm256_min_ps(a, b)
    }

    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        _mm256_max_ps(a, b)
    }

    // The second operand is the result when one of them is NaN.
    #[inline(always)]
    unsafe fn clamp(value: __m256, low: f32, high: f32) -> __m256 {
        _mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), value))
    }

    #[inline(always)]
    unsafe fn scale_by_power(value: __m256, shifted: __m256) -> __m256 {
        let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted));
        _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value), exponent))
    }

    #[inline(always)]
    unsafe fn multiply_integers(a: __m256i, b: __m256i) -> __m256i {
        _mm256_mullo_epi32(a, b)
    }

    #[inline(always)]
    unsafe fn to_floats(value: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(value)
    }

    #[inline(always)]
    unsafe fn lower(pairs: __m256i) -> __m256 {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs))
    }

    #[inline(always)]
    unsafe fn upper(pairs: __m256i) -> __m256 {
        _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32.cast_signed())))
    }

    // The processor's product of unsigned with signed bytes saturates at 16 bits, so bytes are widened first.
    #[inline(always)]
    unsafe fn add_byte_products(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
        if VNNI {
            return _mm256_dpbusd_avx_epi32(sum, x, w);
        }
        let even = _mm256_madd_epi16(
            _mm256_and_si256(x, _mm256_set1_epi32(0x00ff_00ff)),
            _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w)),
        );
        let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(x), _mm256_srai_epi16::<8>(w));
        _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
    }
}
