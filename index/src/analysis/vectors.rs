//! The vectors that an analysis works on, and what every analysis does with them first: count the distinct ones, take a
//! sample, multiply two.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anser_core::{CancelToken, Embedding};
use memmap2::Mmap;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use crate::{IndexError, Result};

/// Accumulators of one dot product: enough for the compiler to use full vector registers.
const LANES: usize = 16;
/// Rows counted between two looks at the cancel token.
const COUNTED: usize = 4096;

/// Unit vectors of one dimension, row after row: in memory, or mapped from a file so that a million of them need no heap.
#[derive(Debug)]
pub struct Vectors {
    values: Values,
    dimension: usize,
}

#[derive(Debug)]
enum Values {
    Owned(Vec<f32>),
    Mapped(Mmap),
}

impl Vectors {
    /// Vectors in memory. `values` holds whole rows of `dimension` numbers; `InvalidInput` when it does not. Rows are
    /// taken to have length 1.
    pub fn new(values: Vec<f32>, dimension: usize) -> Result<Self> {
        check_whole_rows(values.len(), dimension)?;
        Ok(Self { values: Values::Owned(values), dimension })
    }

    /// A copy of embeddings; `InvalidInput` when two differ in dimension.
    pub fn from_embeddings<'a>(embeddings: impl IntoIterator<Item = &'a Embedding>) -> Result<Self> {
        let (mut values, mut dimension) = (Vec::new(), None);
        for (at, embedding) in embeddings.into_iter().enumerate() {
            let first = *dimension.get_or_insert(embedding.dimension());
            if embedding.dimension() != first {
                return Err(IndexError::invalid(format!(
                    "vector {at} has {} dimensions but the first has {first}; all must come from one embedder",
                    embedding.dimension()
                )));
            }
            values.extend_from_slice(embedding.as_slice());
        }
        Self::new(values, dimension.unwrap_or(1))
    }

    /// Maps a file that a [`VectorFile`] wrote. The file must stay as it is while it is mapped.
    pub fn map(path: &Path, dimension: usize) -> Result<Self> {
        let file = File::open(path).map_err(IndexError::io("open", path))?;
        let bytes = file.metadata().map_err(IndexError::io("read", path))?.len() as usize;
        check_whole_rows(bytes / size_of::<f32>(), dimension)?;
        if bytes == 0 {
            return Self::new(Vec::new(), dimension);
        }
        #[expect(unsafe_code, reason = "mapping is what keeps a million vectors off the heap")]
        // SAFETY: the file lies in a folder that this process alone writes into, and is complete before it is mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(IndexError::io("map", path))?;
        Ok(Self { values: Values::Mapped(map), dimension })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.as_slice().len() / self.dimension
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Numbers in a row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// One vector.
    pub fn row(&self, at: usize) -> &[f32] {
        self.rows(at..at + 1)
    }

    /// Vectors in a range, row after row.
    pub fn rows(&self, range: Range<usize>) -> &[f32] {
        &self.as_slice()[range.start * self.dimension..range.end * self.dimension]
    }

    /// All of them, row after row.
    pub fn as_slice(&self) -> &[f32] {
        match &self.values {
            Values::Owned(values) => values,
            Values::Mapped(map) => bytemuck::cast_slice(map),
        }
    }

    /// The vectors one by one.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f32> {
        self.as_slice().chunks_exact(self.dimension)
    }

    /// A copy of those at `indices`, in that order.
    #[must_use]
    pub fn gather(&self, indices: &[usize]) -> Self {
        let values = indices.iter().flat_map(|&at| self.row(at).iter().copied()).collect();
        Self { values: Values::Owned(values), dimension: self.dimension }
    }

    /// `Err` of kind `InvalidInput` when there are none.
    pub(crate) fn check_some(&self) -> Result<()> {
        if self.is_empty() {
            return Err(IndexError::invalid("there are no vectors to analyse; add documents to the collection first"));
        }
        Ok(())
    }
}

impl<'a> IntoIterator for &'a Vectors {
    type Item = &'a [f32];
    type IntoIter = std::slice::ChunksExact<'a, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn check_whole_rows(values: usize, dimension: usize) -> Result<()> {
    if dimension == 0 || !values.is_multiple_of(dimension) {
        return Err(IndexError::invalid(format!("{values} numbers are no whole rows of {dimension}")));
    }
    Ok(())
}

/// A file of vectors being written, to be mapped once it is whole.
#[derive(Debug)]
pub struct VectorFile {
    out: BufWriter<File>,
    path: PathBuf,
    dimension: usize,
}

impl VectorFile {
    /// Begins a file at `path`, in place of what was there.
    pub fn create(path: &Path, dimension: usize) -> Result<Self> {
        let file = File::create(path).map_err(IndexError::io("create", path))?;
        Ok(Self { out: BufWriter::with_capacity(1 << 20, file), path: path.to_path_buf(), dimension })
    }

    /// Appends a vector; `InvalidInput` when it has another dimension.
    pub fn push(&mut self, vector: &[f32]) -> Result<()> {
        if vector.len() != self.dimension {
            let message = format!("a vector has {} dimensions, not {}", vector.len(), self.dimension);
            return Err(IndexError::invalid(message));
        }
        self.out.write_all(bytemuck::cast_slice(vector)).map_err(IndexError::io("write", &self.path))
    }

    /// Ends the file and maps it.
    pub fn finish(mut self) -> Result<Vectors> {
        self.out.flush().map_err(IndexError::io("write", &self.path))?;
        drop(self.out);
        Vectors::map(&self.path, self.dimension)
    }
}

/// How many different vectors there are, counted up to `limit`: stops reading once that many are seen.
/// `Cancelled` when `cancel` is set before that.
pub(super) fn count_distinct<'a>(
    vectors: impl IntoIterator<Item = &'a [f32]>,
    limit: usize,
    cancel: &CancelToken,
) -> Result<usize> {
    let mut seen: HashSet<Vec<u32>> = HashSet::new();
    for (at, vector) in vectors.into_iter().enumerate() {
        if seen.len() >= limit {
            break;
        }
        if at.is_multiple_of(COUNTED) {
            cancel.check()?;
        }
        // Adding zero makes -0 and +0 one value.
        seen.insert(vector.iter().map(|v| (v + 0.0).to_bits()).collect());
    }
    Ok(seen.len())
}

/// `amount` of the indices below `total`, drawn without replacement, in rising order; all of them when there are no more.
pub(super) fn sample_indices(total: usize, amount: usize, seed: u64) -> Vec<usize> {
    if total <= amount {
        return (0..total).collect();
    }
    let mut chosen = sample(&mut ChaCha8Rng::seed_from_u64(seed), total, amount).into_vec();
    chosen.sort_unstable();
    chosen
}

/// Dot product of two slices of equal length; the same inputs give the same bits on every run.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_dot_product_reads_every_element_of_every_length() {
        for length in 0..70_u16 {
            let a: Vec<f32> = (0..length).map(f32::from).collect();
            let b = vec![2.0_f32; usize::from(length)];
            let expected = f32::from(length) * (f32::from(length) - 1.0);
            assert!((dot(&a, &b) - expected.max(0.0)).abs() < 1e-3, "length {length}");
        }
    }

    #[test]
    fn counting_distinct_vectors_stops_at_the_limit_and_joins_both_zeros() {
        let unit = |v: Vec<f32>| Embedding::normalize(v).unwrap();
        let vectors = [unit(vec![1.0, 0.0]), unit(vec![1.0, -0.0]), unit(vec![0.0, 1.0]), unit(vec![-1.0, 0.0])];
        let vectors = Vectors::from_embeddings(&vectors).unwrap();
        let cancel = CancelToken::new();
        assert_eq!(count_distinct(&vectors, 10, &cancel).unwrap(), 3);
        assert_eq!(count_distinct(&vectors, 2, &cancel).unwrap(), 2);
    }

    #[test]
    fn counting_distinct_vectors_ends_soon_after_it_is_cancelled() {
        let (cancel, read) = (CancelToken::new(), Cell::new(0));
        let rows = std::iter::repeat_n(&[1.0_f32][..], 100 * COUNTED).inspect(|_| {
            read.set(read.get() + 1);
            if read.get() == 3 * COUNTED / 2 {
                cancel.cancel();
            }
        });
        let error = count_distinct(rows, 2, &cancel).unwrap_err();
        assert_eq!(error.kind(), anser_core::ErrorKind::Cancelled);
        assert!(read.get() <= 2 * COUNTED + 1, "{} rows were read", read.get());
    }

    #[test]
    fn a_sample_has_no_repeats_and_depends_on_the_seed_only() {
        let a = sample_indices(1000, 50, 7);
        assert_eq!(a, sample_indices(1000, 50, 7));
        assert_ne!(a, sample_indices(1000, 50, 8));
        assert!(a.windows(2).all(|w| w[0] < w[1]) && a.len() == 50);
        assert_eq!(sample_indices(3, 50, 7), [0, 1, 2]);
    }

    #[test]
    fn a_mapped_file_holds_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.f32");
        let mut file = VectorFile::create(&path, 2).unwrap();
        file.push(&[1.0, 0.0]).unwrap();
        file.push(&[0.0, -1.0]).unwrap();
        assert!(file.push(&[1.0]).unwrap_err().to_string().contains("1 dimensions, not 2"));
        let vectors = file.finish().unwrap();
        assert_eq!((vectors.len(), vectors.row(1)), (2, &[0.0, -1.0][..]));
        assert_eq!(vectors.gather(&[1, 1, 0]).as_slice(), [0.0, -1.0, 0.0, -1.0, 1.0, 0.0]);
        assert!(Vectors::map(&path, 3).unwrap_err().to_string().contains("no whole rows"));
        assert!(VectorFile::create(&path, 2).unwrap().finish().unwrap().is_empty());
        let mixed = [Embedding::normalize(vec![1.0]).unwrap(), Embedding::normalize(vec![1.0, 1.0]).unwrap()];
        assert!(Vectors::from_embeddings(&mixed).unwrap_err().to_string().contains("vector 1 has 2 dimensions"));
    }
}
