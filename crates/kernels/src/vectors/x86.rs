//! Byte products and prefetching on x86-64.

use std::arch::x86_64::{
    __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_maskz_loadu_epi8,
    _mm512_reduce_add_epi32, _mm512_set1_epi8, _mm512_setzero_si512, _mm512_xor_si512,
};

use super::ByteRows;

/// Bytes of a cache line and of a vector.
const LINE: usize = 64;
/// Rows that are compared together, and fetched ahead.
const TOGETHER: usize = 4;

/// Products of the bytes `query` with rows that are no shorter; `wanted` is as long as `out`. The query's bytes are signed,
/// or with `CENTRED` are unsigned and stand, as those of the rows do, for 128 less.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn products<const CENTRED: bool>(rows: ByteRows<'_>, query: &[u8], wanted: &[u32], out: &mut [i32]) {
    let (groups, rest) = wanted.as_chunks::<TOGETHER>();
    let (outs, out_rest) = out.as_chunks_mut::<TOGETHER>();
    let offset = if CENTRED { 128 * sum_centred(query) } else { 0 };
    fetch(rows, wanted.get(..TOGETHER).unwrap_or(wanted));
    for (at, (group, out)) in groups.iter().zip(outs).enumerate() {
        let next = (at + 1) * TOGETHER;
        fetch(rows, wanted.get(next..next + TOGETHER).or_else(|| wanted.get(next..)).unwrap_or(&[]));
        match group.map(|row| rows.row(row)) {
            [Some(a), Some(b), Some(c), Some(d)] => *out = together::<CENTRED, 4>([a, b, c, d], query, offset),
            some => *out = some.map(|row| row.map_or(i32::MIN, |row| together::<CENTRED, 1>([row], query, offset)[0])),
        }
    }
    if let &[a, b] = rest
        && let (Some(a), Some(b)) = (rows.row(a), rows.row(b))
    {
        out_rest.copy_from_slice(&together::<CENTRED, 2>([a, b], query, offset));
        return;
    }
    if let &[a, b, c] = rest
        && let (Some(a), Some(b), Some(c)) = (rows.row(a), rows.row(b), rows.row(c))
    {
        out_rest.copy_from_slice(&together::<CENTRED, 3>([a, b, c], query, offset));
        return;
    }
    for (row, out) in rest.iter().zip(out_rest) {
        *out = rows.row(*row).map_or(i32::MIN, |row| together::<CENTRED, 1>([row], query, offset)[0]);
    }
}

#[inline]
fn fetch(rows: ByteRows<'_>, wanted: &[u32]) {
    for row in wanted {
        if let Some(row) = rows.row(*row) {
            prefetch(row);
        }
    }
}

/// Products of `query` with rows that are at least as long, less `offset`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn together<const CENTRED: bool, const N: usize>(rows: [&[u8]; N], query: &[u8], offset: i32) -> [i32; N] {
    let mut sums = [_mm512_setzero_si512(); N];
    let top_bits = _mm512_set1_epi8(i8::MIN);
    for start in (0..query.len()).step_by(LINE) {
        // Less 128 is the top bit turned over; what lies past the query's end must stay zero.
        let q = match load(query, start) {
            q if CENTRED => _mm512_xor_si512(q, top_bits),
            q => q,
        };
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = _mm512_dpbusd_epi32(*sum, load(&row[..query.len()], start), q);
        }
    }
    sums.map(|sum| _mm512_reduce_add_epi32(sum) - offset)
}

/// The sum of bytes that stand for 128 less.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sum_centred(bytes: &[u8]) -> i32 {
    let mut sum = _mm512_setzero_si512();
    for start in (0..bytes.len()).step_by(LINE) {
        sum = _mm512_dpbusd_epi32(sum, load(bytes, start), _mm512_set1_epi8(1));
    }
    _mm512_reduce_add_epi32(sum) - 128 * bytes.len() as i32
}

/// The line of `bytes` from `start` on, filled up with zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[expect(unsafe_code, reason = "vector loads through a pointer into a slice whose length was compared")]
fn load(bytes: &[u8], start: usize) -> __m512i {
    match bytes.get(start..) {
        // SAFETY: so many bytes are there.
        Some(line) if line.len() >= LINE => unsafe { _mm512_loadu_si512(line.as_ptr().cast()) },
        Some(line) if !line.is_empty() => {
            // SAFETY: the mask covers what is there.
            unsafe { _mm512_maskz_loadu_epi8(u64::MAX >> (LINE - line.len()), line.as_ptr().cast()) }
        }
        _ => _mm512_setzero_si512(),
    }
}

/// See [`super::prefetch`].
#[inline]
#[expect(unsafe_code, reason = "prefetching takes a pointer, but reads nothing")]
pub(super) fn prefetch<T: Copy>(numbers: &[T]) {
    let start = numbers.as_ptr().cast::<i8>();
    for at in (0..size_of_val(numbers)).step_by(LINE) {
        // SAFETY: the address lies within the slice, and SSE belongs to every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(at)) };
    }
}
