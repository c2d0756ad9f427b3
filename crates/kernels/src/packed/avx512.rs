//! Products of rows with packed panels in AVX-512: a tile of the result stays in registers over the whole depth.

use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, __mmask16, _mm256_mask_storeu_epi16, _mm512_add_ps,
    _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_load_si512,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps,
};
use std::mem::transmute;

use super::{LANES, Line, VECTORS};

/// Rows of a tile. With three vectors of columns, 24 of the 32 registers hold sums.
const TILE: usize = 8;

/// A left operand: rows of 32-bit steps, each one `f32` or a pair of brain floats.
#[derive(Clone, Copy)]
pub(super) struct Left {
    /// The first row.
    pub(super) rows: *const u8,
    /// Bytes from one row to the next.
    pub(super) stride: usize,
    /// Steps of a row.
    pub(super) steps: usize,
}

/// Where a tile's sums go.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// Over what is there.
    F32(*mut f32),
    /// Added to what is there.
    Add(*mut f32),
    /// Rounded to brain floats.
    Bf16(*mut u16),
}

/// A block of the result: `rows` rows of at most one panel's columns.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) target: Target,
    /// Numbers from one row to the next.
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Multiplies all rows of `terms` (left operands with their panels) and adds up the products.
///
/// # Safety
/// The processor has AVX-512 F, BW and VL, with `BF16` also BF16. Each left operand has `block.rows` readable rows of its
/// steps, each panel as many steps of lines, and the target `block.rows` writable rows of `block.columns` numbers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
pub(super) unsafe fn panel_bf16(terms: [(Left, *const Line); 2], block: Block) {
    // SAFETY: passed on from the caller.
    unsafe { panel::<true>(terms, block) }
}

/// The same with `f32` steps, without BF16.
///
/// # Safety
/// As for [`panel_bf16`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
pub(super) unsafe fn panel_f32(terms: [(Left, *const Line); 2], block: Block) {
    // SAFETY: passed on from the caller.
    unsafe { panel::<false>(terms, block) }
}

#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn panel<const BF16: bool>(terms: [(Left, *const Line); 2], block: Block) {
    // SAFETY: passed on from the caller; fewer vectors only for columns that the block does not have.
    unsafe {
        match block.columns.div_ceil(LANES) {
            1 => rows::<BF16, 1>(terms, block),
            2 => rows::<BF16, 2>(terms, block),
            _ => rows::<BF16, VECTORS>(terms, block),
        }
    }
}

#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn rows<const BF16: bool, const NV: usize>(terms: [(Left, *const Line); 2], block: Block) {
    let mut row = 0;
    while row < block.rows {
        // SAFETY: `row` plus the tile's rows never exceeds the block's rows.
        unsafe {
            match block.rows - row {
                1 => tile::<BF16, 1, NV>(terms, block, row),
                2 => tile::<BF16, 2, NV>(terms, block, row),
                3 => tile::<BF16, 3, NV>(terms, block, row),
                4 => tile::<BF16, 4, NV>(terms, block, row),
                5 => tile::<BF16, 5, NV>(terms, block, row),
                6 => tile::<BF16, 6, NV>(terms, block, row),
                7 => tile::<BF16, 7, NV>(terms, block, row),
                _ => tile::<BF16, TILE, NV>(terms, block, row),
            }
        }
        row += TILE;
    }
}

#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn tile<const BF16: bool, const MR: usize, const NV: usize>(
    terms: [(Left, *const Line); 2],
    block: Block,
    row: usize,
) {
    // SAFETY: the caller promises readable steps and lines, and writable rows; masks keep writes inside the columns.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); NV]; MR];
        for (left, lines) in terms {
            let first = left.rows.add(row * left.stride);
            for step in 0..left.steps {
                let line = lines.add(step * VECTORS);
                let mut panel = [_mm512_setzero_ps(); NV];
                for (vector, value) in panel.iter_mut().enumerate() {
                    *value = _mm512_castsi512_ps(_mm512_load_si512(line.add(vector).cast::<__m512i>()));
                }
                for (index, sums) in sums.iter_mut().enumerate() {
                    let bits = first.add(index * left.stride + step * 4).cast::<i32>().read_unaligned();
                    let value = _mm512_castsi512_ps(_mm512_set1_epi32(bits));
                    for (sum, &panel) in sums.iter_mut().zip(&panel) {
                        *sum = if BF16 {
                            _mm512_dpbf16_ps(
                                *sum,
                                transmute::<__m512i, __m512bh>(_mm512_castps_si512(value)),
                                transmute::<__m512i, __m512bh>(_mm512_castps_si512(panel)),
                            )
                        } else {
                            _mm512_fmadd_ps(value, panel, *sum)
                        };
                    }
                }
            }
        }
        for (index, sums) in sums.iter().enumerate() {
            for (vector, &sum) in sums.iter().enumerate() {
                let kept = (block.columns - vector * LANES).min(LANES);
                let mask = (0xffff_u32 >> (LANES - kept)) as __mmask16;
                store::<BF16>(block.target, (row + index) * block.stride + vector * LANES, sum, mask);
            }
        }
    }
}

#[inline(always)]
#[expect(unsafe_code, reason = "masked stores through raw pointers; the caller promises their extent")]
unsafe fn store<const BF16: bool>(target: Target, offset: usize, sum: __m512, mask: __mmask16) {
    // SAFETY: the caller promises that the masked lanes at `offset` are the target's; the vector types have the same bits.
    unsafe {
        match target {
            Target::F32(values) => _mm512_mask_storeu_ps(values.add(offset), mask, sum),
            Target::Add(values) => {
                let old = _mm512_maskz_loadu_ps(mask, values.add(offset));
                _mm512_mask_storeu_ps(values.add(offset), mask, _mm512_add_ps(old, sum));
            }
            Target::Bf16(values) if BF16 => {
                let rounded = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(sum));
                _mm256_mask_storeu_epi16(values.add(offset).cast::<i16>(), mask, rounded);
            }
            // A product of f32 panels is never rounded on a processor without the instruction for it.
            Target::Bf16(_) => {}
        }
    }
}
