//! Comparing vectors: dot products of `f32` rows and of rows in one byte per number, one pair or many rows at once.
//!
//! Byte rows are unsigned and queries signed, because that is the one product of bytes that processors have: a row's
//! number x is kept as x + 128, so its product with a query q is the sum of (x + 128)·q less 128·Σq, which is the same
//! for all rows. Sums of bytes are exact on every instruction set.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::InstructionSet;
use crate::instructions::versions;

/// Running sums of a product of `f32`: four vectors of AVX-512, which hides the time an addition takes.
const LANES: usize = 64;

#[inline(always)]
fn dot_f32_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for lane in 0..LANES {
            sums[lane] = if FMA { a[lane].mul_add(b[lane], sums[lane]) } else { sums[lane] + a[lane] * b[lane] };
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    let sums: [f32; LANES / 4] = halves(halves::<LANES, { LANES / 2 }>(sums));
    let sums: [f32; LANES / 16] = halves(halves::<{ LANES / 4 }, { LANES / 8 }>(sums));
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}

/// Adds the upper half of `sums` to the lower: a few vector instructions, and less is lost than in one long sum.
#[inline(always)]
fn halves<const N: usize, const HALF: usize>(sums: [f32; N]) -> [f32; HALF] {
    std::array::from_fn(|lane| sums[lane] + sums[lane + HALF])
}

versions! {
    /// Dot product of two vectors of equal length (of the shorter one, where they differ). The order of additions depends
    /// on the length and the instruction set only, so the same two vectors give the same bits wherever they lie.
    pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 = dot_f32_body
}

#[inline(always)]
fn dot_i8_body<const FMA: bool>(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

versions! {
    /// Dot product of two rows of signed bytes of equal length (of the shorter one, where they differ). Exact up to
    /// 131,071 numbers.
    pub fn dot_i8(a: &[i8], b: &[i8]) -> i32 = dot_i8_body
}

#[inline(always)]
fn dot_bytes_body<const FMA: bool>(row: &[u8], query: &[i8]) -> i32 {
    row.iter().zip(query).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

versions! {
    /// Dot product of unsigned with signed bytes of equal length, without instructions for it.
    fn dot_bytes_widened(row: &[u8], query: &[i8]) -> i32 = dot_bytes_body
}

#[inline(always)]
fn dot_centred_body<const FMA: bool>(a: &[u8], b: &[u8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| (i32::from(*a) - 128) * (i32::from(*b) - 128)).sum()
}

versions! {
    /// Dot product of bytes that stand for 128 less.
    fn dot_centred(a: &[u8], b: &[u8]) -> i32 = dot_centred_body
}

/// Rows of unsigned bytes, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct ByteRows<'a> {
    bytes: &'a [u8],
    stride: usize,
}

impl<'a> ByteRows<'a> {
    /// Rows of `stride` bytes; what is left over at the end belongs to no row.
    pub fn new(bytes: &'a [u8], stride: usize) -> Self {
        Self { bytes, stride }
    }

    /// The bytes of `row`.
    #[inline]
    pub fn row(&self, row: u32) -> Option<&'a [u8]> {
        let start = (row as usize).checked_mul(self.stride)?;
        self.bytes.get(start..start.checked_add(self.stride)?)
    }
}

/// Dot products of `query` with the rows `wanted`, in `out` one after the other, as far as both reach. Only as many bytes
/// of a row count as the query has. A row that does not exist gets [`i32::MIN`]. Rows are fetched from memory ahead of
/// being compared, so many at once are faster than one by one.
pub fn dot_byte_rows(set: InstructionSet, rows: ByteRows<'_>, query: &[i8], wanted: &[u32], out: &mut [i32]) {
    let query = &query[..query.len().min(rows.stride)];
    let count = wanted.len().min(out.len());
    let (wanted, out) = (&wanted[..count], &mut out[..count]);
    #[cfg(target_arch = "x86_64")]
    if set.has_wide_byte_products() {
        // SAFETY: an instruction set exists only where the processor has it.
        #[expect(unsafe_code, reason = "a function compiled for more instructions than the target's baseline")]
        return unsafe { x86::products::<false>(rows, unsigned(query), wanted, out) };
    }
    for (row, out) in wanted.iter().zip(out) {
        *out = rows.row(*row).map_or(i32::MIN, |row| dot_bytes_widened(set, row, query));
    }
}

/// Products of `row` with the rows `wanted` when a byte x stands for x - 128, in `out` as [`dot_byte_rows`] does; only a
/// row that does not exist gets [`i32::MIN`].
pub fn compare_byte_rows(set: InstructionSet, rows: ByteRows<'_>, row: u32, wanted: &[u32], out: &mut [i32]) {
    let count = wanted.len().min(out.len());
    let (wanted, out) = (&wanted[..count], &mut out[..count]);
    let Some(query) = rows.row(row) else { return out.fill(i32::MIN) };
    #[cfg(target_arch = "x86_64")]
    if set.has_wide_byte_products() {
        // SAFETY: an instruction set exists only where the processor has it.
        #[expect(unsafe_code, reason = "a function compiled for more instructions than the target's baseline")]
        return unsafe { x86::products::<true>(rows, query, wanted, out) };
    }
    for (row, out) in wanted.iter().zip(out) {
        *out = rows.row(*row).map_or(i32::MIN, |row| dot_centred(set, row, query));
    }
}

/// The same bits as unsigned bytes.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the standard library has no safe way to see signed bytes as unsigned ones")]
fn unsigned(bytes: &[i8]) -> &[u8] {
    // SAFETY: both have the same size and alignment, and every bit pattern is a number of either.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

/// Asks for the memory of `numbers` without waiting for it.
#[inline]
pub fn prefetch<T: Copy>(numbers: &[T]) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(numbers);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}
