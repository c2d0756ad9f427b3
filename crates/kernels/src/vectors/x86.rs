//! Byte products and prefetching on x86-64.

use std::arch::x86_64::{
    __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_maskz_loadu_epi8,
    _mm512_reduce_add_epi32, _mm512_setzero_si512,
};

use super::ByteRows;

/// Bytes of a cache line and of a vector.
const LINE: usize = 64;
/// Rows that are compared together, and fetched ahead.
const TOGETHER: usize = 4;

/// See [`super::dot_byte_rows`]; `query` is no longer than a row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn dot_byte_rows(rows: ByteRows<'_>, query: &[i8], wanted: &[u32], out: &mut [i32]) {
    let (groups, rest) = wanted.as_chunks::<TOGETHER>();
    let (outs, out_rest) = out.as_chunks_mut::<TOGETHER>();
    fetch(rows, wanted.get(..TOGETHER).unwrap_or(wanted));
    for (at, (group, out)) in groups.iter().zip(outs).enumerate() {
        let next = (at + 1) * TOGETHER;
        fetch(rows, wanted.get(next..next + TOGETHER).unwrap_or(wanted.get(next..).unwrap_or(&[])));
        match group.map(|row| rows.row(row)) {
            [Some(a), Some(b), Some(c), Some(d)] => *out = products([a, b, c, d], query),
            some => *out = some.map(|row| row.map_or(i32::MIN, |row| products([row], query)[0])),
        }
    }
    for (row, out) in rest.iter().zip(out_rest) {
        *out = rows.row(*row).map_or(i32::MIN, |row| products([row], query)[0]);
    }
}

fn fetch(rows: ByteRows<'_>, wanted: &[u32]) {
    for row in wanted {
        if let Some(row) = rows.row(*row) {
            prefetch(row);
        }
    }
}

/// Products of `query` with rows that are at least as long.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[expect(unsafe_code, reason = "loads through pointers into slices whose length was compared")]
fn products<const N: usize>(rows: [&[u8]; N], query: &[i8]) -> [i32; N] {
    assert!(rows.iter().all(|row| row.len() >= query.len()), "a row is shorter than the query");
    let mut sums = [_mm512_setzero_si512(); N];
    let whole = query.len() / LINE;
    for line in 0..whole {
        // SAFETY: the line lies within the query, and every row is at least as long.
        let q: __m512i = unsafe { _mm512_loadu_si512(query.as_ptr().add(line * LINE).cast()) };
        for (sum, row) in sums.iter_mut().zip(rows) {
            // SAFETY: as above.
            let r = unsafe { _mm512_loadu_si512(row.as_ptr().add(line * LINE).cast()) };
            *sum = _mm512_dpbusd_epi32(*sum, r, q);
        }
    }
    let rest = query.len() % LINE;
    if rest > 0 {
        let mask = u64::MAX >> (LINE - rest);
        // SAFETY: the mask covers what the query has after its whole lines, and every row is at least as long.
        let q = unsafe { _mm512_maskz_loadu_epi8(mask, query.as_ptr().add(whole * LINE)) };
        for (sum, row) in sums.iter_mut().zip(rows) {
            // SAFETY: as above.
            let r = unsafe { _mm512_maskz_loadu_epi8(mask, row.as_ptr().add(whole * LINE).cast()) };
            *sum = _mm512_dpbusd_epi32(*sum, r, q);
        }
    }
    sums.map(|sum| _mm512_reduce_add_epi32(sum))
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
