//! Rows of a segment in one byte per number: what a search compares with before it looks at the vectors themselves.
//!
//! A row x is kept as a scale s and bytes c + 128 with c in [-127, 127], so that s·c is close to x. Products of unsigned
//! with signed bytes are one instruction; the 128 comes off as one number per query, 128 times the sum of its bytes.

use anser_kernels::{ByteRows, InstructionSet, compare_byte_rows, dot_byte_rows};
use arrow::buffer::{Buffer, ScalarBuffer};

use super::vectors::{Vectors, dot};
use crate::{IndexError, Result};

/// First words of the file: "ANSRCODE" and the layout's version.
const MAGIC: [u32; 3] = [0x5253_4e41, 0x4544_4f43, 1];
/// Bytes before the rows, so that they begin on a cache line.
const HEADER_BYTES: usize = 64;
/// Rows are padded to whole cache lines.
const LINE: usize = 64;
/// Rows that are scored in one go.
const TOGETHER: usize = 64;
/// The byte of a zero.
const ZERO: u8 = 128;
/// Largest byte of a row or query.
const LARGEST: f32 = 127.0;

/// The codes of all rows of a segment, usually mapped from a file.
#[derive(Debug, Clone)]
pub(crate) struct Codes {
    rows: usize,
    dimension: usize,
    stride: usize,
    /// No row is longer.
    longest: f32,
    /// `rows * stride` bytes, row after row.
    bytes: Buffer,
    scales: ScalarBuffer<f32>,
    /// Length of what each row lost.
    losses: ScalarBuffer<f32>,
    instructions: InstructionSet,
}

/// A query in bytes.
#[derive(Debug, Clone)]
pub(crate) struct CodedQuery {
    /// Signed bytes, padded with zeros to the codes' stride.
    bytes: Vec<i8>,
    scale: f32,
    /// 128 times the sum of the bytes.
    offset: i32,
    /// Length of what the query lost.
    pub(crate) loss: f32,
}

impl Codes {
    /// The bytes of the file that holds the codes of all rows.
    pub(crate) fn encode(vectors: &Vectors) -> Result<Vec<u8>> {
        let (rows, dimension) = (vectors.len(), vectors.dimension());
        let stride = stride(dimension);
        let mut file = Vec::with_capacity(HEADER_BYTES + rows * (stride + 2 * size_of::<f32>()));
        let word = |n: usize| {
            u32::try_from(n)
                .map_err(|_| IndexError::internal(format!("codes of {n} entries do not fit 32-bit numbers")))
        };
        for head in MAGIC.into_iter().chain([word(rows)?, word(dimension)?, word(stride)?]) {
            file.extend(head.to_le_bytes());
        }
        file.resize(HEADER_BYTES, 0);
        let (mut scales, mut losses, mut longest) = (Vec::with_capacity(rows), Vec::with_capacity(rows), 0.0_f32);
        for (_, _, vector) in vectors.iter() {
            let start = file.len();
            let (scale, loss) = quantise(vector, |byte| file.push((i16::from(byte) + i16::from(ZERO)) as u8));
            file.resize(start + stride, ZERO);
            longest = longest.max(dot(vector, vector).sqrt());
            scales.push(scale);
            losses.push(loss);
        }
        for (at, byte) in longest.next_up().to_le_bytes().into_iter().enumerate() {
            file[6 * size_of::<u32>() + at] = byte;
        }
        file.extend(scales.iter().chain(&losses).flat_map(|number| number.to_le_bytes()));
        Ok(file)
    }

    /// Reads a file of codes of `rows` rows of `dimension` numbers. Nothing but its size and header is looked at; whatever
    /// the bytes are, a search with them cannot go astray.
    pub(crate) fn decode(file: Buffer, rows: usize, dimension: usize) -> Result<Self> {
        let wrong = |reason: &str| IndexError::corrupt("codes file", reason);
        if file.as_ptr().align_offset(align_of::<u32>()) != 0 || cfg!(target_endian = "big") {
            return Err(wrong("it is not made of 32-bit little-endian words"));
        }
        if file.len() < HEADER_BYTES {
            return Err(wrong("it ends too early"));
        }
        let head = ScalarBuffer::<u32>::new(file.clone(), 0, MAGIC.len() + 4);
        if head[..MAGIC.len()] != MAGIC {
            return Err(wrong("it does not begin as a file of codes does"));
        }
        let stride = stride(dimension);
        if head[MAGIC.len()..MAGIC.len() + 3].iter().map(|n| *n as usize).ne([rows, dimension, stride]) {
            return Err(wrong("it belongs to other vectors"));
        }
        let longest = f32::from_bits(head[MAGIC.len() + 3]);
        let end = rows.checked_mul(stride).and_then(|bytes| bytes.checked_add(HEADER_BYTES));
        let len = end.and_then(|end| end.checked_add(rows.checked_mul(2 * size_of::<f32>())?));
        let (Some(end), true) = (end, len == Some(file.len())) else {
            return Err(wrong("its length does not fit its rows"));
        };
        let bytes = file.slice_with_length(HEADER_BYTES, rows * stride);
        let numbers = end / size_of::<f32>();
        let scales = ScalarBuffer::new(file.clone(), numbers, rows);
        let losses = ScalarBuffer::new(file, numbers + rows, rows);
        let instructions = InstructionSet::best();
        Ok(Self { rows, dimension, stride, longest, bytes, scales, losses, instructions })
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Bytes that they keep in memory once every row was looked at.
    pub(crate) fn memory(&self) -> usize {
        HEADER_BYTES + self.rows * (self.stride + 2 * size_of::<f32>())
    }

    /// No row is longer than this.
    pub(crate) fn longest(&self) -> f32 {
        self.longest
    }

    /// The length of what `row` lost: the distance between it and its code.
    pub(crate) fn loss(&self, row: u32) -> f32 {
        self.losses.get(row as usize).copied().unwrap_or(f32::INFINITY)
    }

    /// `vector` in bytes, to be compared with rows.
    pub(crate) fn query(&self, vector: &[f32]) -> CodedQuery {
        let mut bytes = Vec::with_capacity(self.stride);
        let (scale, loss) = quantise(vector, |byte| bytes.push(byte));
        bytes.resize(self.stride, 0);
        let offset = i32::from(ZERO) * bytes.iter().map(|byte| i32::from(*byte)).sum::<i32>();
        CodedQuery { bytes, scale, offset, loss }
    }

    /// Approximate dot products of `query` with `rows`, one after the other in `out`; a row that does not exist scores
    /// minus infinity.
    pub(crate) fn score(&self, query: &CodedQuery, rows: &[u32], out: &mut Vec<f32>) {
        let products = |rows: &[u32], sums: &mut [i32]| {
            dot_byte_rows(self.instructions, self.rows(), &query.bytes, rows, sums);
        };
        self.scaled((query.scale, query.offset), rows, products, out);
    }

    /// The same for the code of `row` as the query.
    pub(crate) fn compare(&self, row: u32, rows: &[u32], out: &mut Vec<f32>) {
        let products = |rows: &[u32], sums: &mut [i32]| {
            compare_byte_rows(self.instructions, self.rows(), row, rows, sums);
        };
        let scale = self.scales.get(row as usize).copied().unwrap_or(0.0);
        self.scaled((scale, 0), rows, products, out);
    }

    #[inline]
    fn scaled(
        &self,
        (scale, offset): (f32, i32),
        rows: &[u32],
        products: impl Fn(&[u32], &mut [i32]),
        out: &mut Vec<f32>,
    ) {
        let mut sums = [0; TOGETHER];
        out.clear();
        for rows in rows.chunks(TOGETHER) {
            let sums = &mut sums[..rows.len()];
            products(rows, sums);
            out.extend(rows.iter().zip(sums).map(|(row, sum)| match self.scales.get(*row as usize) {
                Some(other) => sum.wrapping_sub(offset) as f32 * (scale * other),
                None => f32::NEG_INFINITY,
            }));
        }
    }

    fn rows(&self) -> ByteRows<'_> {
        ByteRows::new(&self.bytes, self.stride)
    }
}

/// Bytes of a row.
fn stride(dimension: usize) -> usize {
    dimension.next_multiple_of(LINE)
}

/// Gives `emit` the bytes nearest to `vector` over its scale; returns the scale and the length of what got lost.
fn quantise(vector: &[f32], mut emit: impl FnMut(i8)) -> (f32, f32) {
    let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let scale = if largest.is_finite() { largest / LARGEST } else { 0.0 };
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let mut lost = 0.0_f64;
    for x in vector {
        let byte = (x * inverse).round_ties_even() as i8;
        let byte = byte.max(-(LARGEST as i8));
        lost += (f64::from(*x) - f64::from(scale) * f64::from(byte)).powi(2);
        emit(byte);
    }
    (scale, (lost.sqrt() as f32).next_up())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ann::made;

    proptest! {
        #[test]
        fn codes_are_as_near_as_they_say(count in 2usize..40, dimension in 1usize..200, scale in 0.0f32..2.0, seed: u64) {
            let mut rows = made::clustered(count, dimension, (5, 0.5), seed);
            for x in &mut rows[count / 2] {
                *x *= scale;
            }
            let vectors = made::vectors(&rows);
            let codes = made::codes(&vectors);
            let query = &made::clustered(1, dimension, (1, 0.0), seed ^ 1)[0];
            let coded = codes.query(query);
            let all: Vec<u32> = (0..count as u32).collect();
            let (mut scores, mut compared) = (Vec::new(), Vec::new());
            codes.score(&coded, &all, &mut scores);
            codes.compare(0, &all, &mut compared);
            for (row, score) in rows.iter().zip(&scores) {
                let at = all[rows.iter().position(|other| std::ptr::eq(other, row)).unwrap()];
                let loss = codes.loss(at);
                prop_assert!(dot(row, row).sqrt() <= codes.longest());
                let bound = loss * 1.001 + coded.loss * (codes.longest() + loss) + 1e-5;
                prop_assert!((dot(query, row) - score).abs() <= bound, "{} is not {}", score, dot(query, row));
                let both = codes.loss(0) * codes.longest() + loss * (codes.longest() + codes.loss(0)) + 1e-5;
                prop_assert!((dot(&rows[0], row) - compared[at as usize]).abs() <= both);
            }
            codes.score(&coded, &[count as u32, u32::MAX], &mut scores);
            prop_assert_eq!(&scores, &[f32::NEG_INFINITY; 2]);
        }

        #[test]
        fn damaged_bytes_never_panic(at in 0usize..2000, byte: u8, cut in 0usize..2000, noise: Vec<u8>) {
            let vectors = made::vectors(&made::clustered(9, 5, (3, 0.5), 1));
            let good = Codes::encode(&vectors).unwrap();
            let mut bad = good.clone();
            let len = bad.len();
            bad[at % len] = byte;
            if let Ok(codes) = Codes::decode(Buffer::from(&bad[..]), 9, 5) {
                let mut scores = Vec::new();
                codes.score(&codes.query(vectors.row(0)), &[0, 8, 9], &mut scores);
                codes.compare(3, &[0, 8, 9], &mut scores);
            }
            prop_assert!(Codes::decode(Buffer::from(&good[..cut % len]), 9, 5).is_err());
            prop_assert!(Codes::decode(Buffer::from(&noise[..]), 9, 5).is_err());
            prop_assert!(Codes::decode(Buffer::from(&good[..]), 9, 6).is_err());
            prop_assert!(Codes::decode(Buffer::from(&good[..]), 8, 5).is_err());
        }
    }
}
