//! What the machine can do at best: matrix products in two number formats, and copying memory.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use anser_kernels::{PackedMatrix, WeightFormat};
use candle_core::{Device, Tensor};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;

use crate::error::BenchError;

/// Rows and columns of the matrices that are multiplied.
const SIDE: usize = 1024;
/// Bytes copied by all threads together, several times what caches hold.
const COPIED: usize = 256 << 20;
/// Each limit is the best of so many tries ...
const TRIES: usize = 40;
/// ... or of as many as fit in this time, but at least two: the first one wakes the processor up.
const PATIENCE: Duration = Duration::from_secs(2);

/// The machine's measured ceilings with a number of threads: the best of several tries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Limits {
    pub(crate) threads: usize,
    /// f32 operations a second in matrix products of 1024 by 1024, a multiplication and an addition counted as two.
    pub(crate) gemm_f32_flops: f64,
    /// bf16 operations a second in the same products with f32 sums, by our own kernels.
    pub(crate) gemm_bf16_flops: f64,
    /// Bytes a second that a copy reads and writes, both counted.
    pub(crate) copy_bytes: f64,
}

/// What one unit of a figure (a text, a token) costs at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Work {
    /// Operations in matrix products.
    Flops(f64),
    /// Operations in matrix products of bf16 numbers.
    Bf16Flops(f64),
    /// Bytes that must come from memory.
    Bytes(f64),
}

/// A rate as a share of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Share {
    pub(crate) limit: &'static str,
    pub(crate) share: f64,
}

impl Limits {
    /// Measures all with `threads` threads.
    pub(crate) fn measure(threads: usize) -> Result<Self, BenchError> {
        let (gemm_f32_flops, gemm_bf16_flops) = (gemm(threads)?, gemm_bf16(threads)?);
        Ok(Self { threads, gemm_f32_flops, gemm_bf16_flops, copy_bytes: copy(threads) })
    }

    /// What share of a limit `rate` units a second are.
    pub(crate) fn share(&self, work: Work, rate: f64) -> Share {
        match work {
            Work::Flops(flops) => Share { limit: "f32 GEMM", share: rate * flops / self.gemm_f32_flops },
            Work::Bf16Flops(flops) => Share { limit: "bf16 GEMM", share: rate * flops / self.gemm_bf16_flops },
            Work::Bytes(bytes) => Share { limit: "copy", share: rate * bytes / self.copy_bytes },
        }
    }
}

/// Operations a second of the `gemm` crate, called through candle as the chat model calls it.
fn gemm(threads: usize) -> Result<f64, BenchError> {
    let pool = pool(threads)?;
    let failed = |e: candle_core::Error| BenchError::Limits(e.to_string());
    let matrix = || Tensor::rand(-1f32, 1f32, (SIDE, SIDE), &Device::Cpu).map_err(failed);
    let (a, b) = (matrix()?, matrix()?);
    let seconds = best(|| {
        let started = Instant::now();
        black_box(pool.install(|| a.matmul(&b)).map_err(failed)?);
        Ok(started.elapsed())
    })?;
    Ok(2.0 * (SIDE as f64).powi(3) / seconds)
}

/// Operations a second of the packed products that training multiplies with.
fn gemm_bf16(threads: usize) -> Result<f64, BenchError> {
    let pool = pool(threads)?;
    let values: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect();
    let matrix = PackedMatrix::pack(&values, SIDE, SIDE, WeightFormat::Bf16);
    let mut product = vec![0.0; SIDE * SIDE];
    let seconds = best(|| {
        let started = Instant::now();
        pool.install(|| matrix.multiply(&values, SIDE, &mut product, false));
        black_box(&product);
        Ok(started.elapsed())
    })?;
    Ok(2.0 * (SIDE as f64).powi(3) / seconds)
}

/// A pool of so many threads.
pub(crate) fn pool(threads: usize) -> Result<ThreadPool, BenchError> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| BenchError::Limits(format!("no threads: {e}")))
}

/// Bytes a second that `threads` threads read and write while copying, each a part of its own.
fn copy(threads: usize) -> f64 {
    let part = COPIED / threads;
    let from = vec![1u8; part * threads];
    let mut to = vec![2u8; part * threads];
    let seconds = best(|| {
        let started = Instant::now();
        thread::scope(|scope| {
            for (from, to) in from.chunks(part).zip(to.chunks_mut(part)) {
                scope.spawn(move || to.copy_from_slice(black_box(from)));
            }
        });
        black_box(&to);
        Ok(started.elapsed())
    });
    seconds.map_or(0.0, |seconds| 2.0 * (part * threads) as f64 / seconds)
}

/// The shortest of several tries, in seconds.
fn best(mut attempt: impl FnMut() -> Result<Duration, BenchError>) -> Result<f64, BenchError> {
    let started = Instant::now();
    let mut shortest = Duration::MAX;
    for done in 0..TRIES {
        if done >= 2 && started.elapsed() > PATIENCE {
            break;
        }
        shortest = shortest.min(attempt()?);
    }
    Ok(shortest.as_secs_f64())
}
