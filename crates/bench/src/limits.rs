//! What the machine can do at best: matrix products in three number formats, and copying memory.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use anser_kernels::{
    Epilogue, InstructionSet, PackedMatrix, QuantisedMatrix, QuantisedRows, Rows, RowsMut, WeightFormat,
};
use half::bf16;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;

use crate::error::BenchError;

/// Rows, columns and depth of the products that are tried: all their operands stay in a core's second-level cache.
const SHAPES: [(usize, usize, usize); 3] = [(192, 384, 384), (192, 768, 256), (96, 384, 768)];
/// Bytes copied by all threads together, several times what caches hold.
const COPIED: usize = 256 << 20;
/// How long each limit is tried, all shapes together; the first tries wake the processor up.
const PATIENCE: Duration = Duration::from_millis(600);
/// How long a try of a product is at least, so that starting its threads does not count.
const TRY: Duration = Duration::from_millis(20);

/// The machine's measured ceilings with a number of threads: the best of several tries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Limits {
    pub(crate) threads: usize,
    /// f32 operations a second in matrix products by our own kernels, a multiplication and an addition counted as two.
    /// Each thread multiplies for itself, within its own cache.
    pub(crate) gemm_f32_flops: f64,
    /// bf16 operations a second in the same products, with f32 sums.
    pub(crate) gemm_bf16_flops: f64,
    /// int8 operations a second in the same products, with 32-bit integer sums that are scaled to f32.
    pub(crate) gemm_int8_ops: f64,
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
    /// Operations in matrix products of bytes.
    Int8Ops(f64),
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
    pub(crate) fn measure(threads: usize) -> Self {
        Self {
            threads,
            gemm_f32_flops: products(threads, F32Product::new),
            gemm_bf16_flops: products(threads, Bf16Product::new),
            gemm_int8_ops: products(threads, Int8Product::new),
            copy_bytes: copy(threads),
        }
    }

    /// What share of a limit `rate` units a second are.
    pub(crate) fn share(&self, work: Work, rate: f64) -> Share {
        let (limit, cost, ceiling) = match work {
            Work::Flops(flops) => ("f32 GEMM", flops, self.gemm_f32_flops),
            Work::Bf16Flops(flops) => ("bf16 GEMM", flops, self.gemm_bf16_flops),
            Work::Int8Ops(operations) => ("int8 GEMM", operations, self.gemm_int8_ops),
            Work::Bytes(bytes) => ("copy", bytes, self.copy_bytes),
        };
        Share { limit, share: rate * cost / ceiling }
    }
}

/// Operands of one thread.
trait Product: Send {
    fn run(&mut self);
}

struct F32Product {
    matrix: PackedMatrix,
    x: Vec<f32>,
    y: Vec<f32>,
    shape: (usize, usize, usize),
}

impl F32Product {
    fn new(shape: (usize, usize, usize)) -> Self {
        let (rows, n, k) = shape;
        let matrix = PackedMatrix::pack(&numbers(n * k), n, k, WeightFormat::F32);
        Self { matrix, x: numbers(rows * k), y: vec![0.0; rows * n], shape }
    }
}

impl Product for F32Product {
    fn run(&mut self) {
        let (rows, n, k) = self.shape;
        self.matrix.product(Rows::dense(&self.x, rows, k), None, RowsMut::dense(&mut self.y, rows, n), false);
        black_box(&self.y);
    }
}

struct Bf16Product {
    matrix: PackedMatrix,
    x: Vec<bf16>,
    y: Vec<f32>,
    shape: (usize, usize, usize),
}

impl Bf16Product {
    fn new(shape: (usize, usize, usize)) -> Self {
        let (rows, n, k) = shape;
        let matrix = PackedMatrix::pack(&numbers(n * k), n, k, WeightFormat::Bf16);
        let x = numbers(rows * k).into_iter().map(bf16::from_f32).collect();
        Self { matrix, x, y: vec![0.0; rows * n], shape }
    }
}

impl Product for Bf16Product {
    fn run(&mut self) {
        let (rows, n, k) = self.shape;
        self.matrix.product(Rows::dense(&self.x, rows, k), None, RowsMut::dense(&mut self.y, rows, n), false);
        black_box(&self.y);
    }
}

struct Int8Product {
    matrix: QuantisedMatrix,
    x: QuantisedRows,
    y: Vec<f32>,
    shape: (usize, usize, usize),
}

impl Int8Product {
    /// One scale for a row's whole depth, the cheapest there is; quantising the rows is not part of the product.
    fn new(shape: (usize, usize, usize)) -> Self {
        let (rows, n, k) = shape;
        let matrix = QuantisedMatrix::pack(Rows::dense(&numbers(n * k), n, k), k);
        let mut x = QuantisedRows::new();
        x.assign(InstructionSet::best(), Rows::dense(&numbers(rows * k), rows, k), k);
        Self { matrix, x, y: vec![0.0; rows * n], shape }
    }
}

impl Product for Int8Product {
    fn run(&mut self) {
        let (rows, n, _) = self.shape;
        self.matrix.product(&self.x, Epilogue::default(), RowsMut::dense(&mut self.y, rows, n));
        black_box(&self.y);
    }
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect()
}

/// The most operations a second that `threads` threads do together, each with operands of its own, over all shapes.
fn products<P: Product>(threads: usize, make: impl Fn((usize, usize, usize)) -> P) -> f64 {
    let mut most: f64 = 0.0;
    for shape in SHAPES {
        let (rows, n, k) = shape;
        let operations = 2.0 * rows as f64 * n as f64 * k as f64;
        let mut operands: Vec<P> = (0..threads).map(|_| make(shape)).collect();
        // One try tells how many products fill the next ones.
        let mut repeats = 1;
        let started = Instant::now();
        while started.elapsed() < PATIENCE / SHAPES.len() as u32 {
            let took = together(&mut operands, repeats);
            most = most.max((threads * repeats) as f64 * operations / took.as_secs_f64());
            if took < TRY {
                repeats =
                    (repeats * 2).max((repeats as f64 * TRY.as_secs_f64() / took.as_secs_f64().max(1e-6)) as usize);
            }
        }
    }
    most
}

/// How long it takes until every thread has done its product so many times.
fn together(operands: &mut [impl Product], repeats: usize) -> Duration {
    let started = Instant::now();
    thread::scope(|scope| {
        for operand in operands {
            scope.spawn(move || (0..repeats).for_each(|_| operand.run()));
        }
    });
    started.elapsed()
}

/// A pool of so many threads.
pub(crate) fn pool(threads: usize) -> Result<ThreadPool, BenchError> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| BenchError::Compute(e.to_string()))
}

/// Bytes a second that `threads` threads read and write while copying, each a part of its own.
fn copy(threads: usize) -> f64 {
    let part = COPIED / threads;
    let from = vec![1u8; part * threads];
    let mut to = vec![2u8; part * threads];
    let mut shortest = Duration::MAX;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE || shortest == Duration::MAX {
        let started = Instant::now();
        thread::scope(|scope| {
            for (from, to) in from.chunks(part).zip(to.chunks_mut(part)) {
                scope.spawn(move || to.copy_from_slice(black_box(from)));
            }
        });
        black_box(&to);
        shortest = shortest.min(started.elapsed());
    }
    2.0 * (part * threads) as f64 / shortest.as_secs_f64()
}
