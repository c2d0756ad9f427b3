//! Products of plain `f32` matrices, through the gemm crate: for matrices that are small or change at every step.

use gemm::{Parallelism, gemm};

/// A matrix [rows, columns] to read, possibly a transposed view.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix without gaps.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// A row-major matrix whose rows lie `stride` apart. Panics when the slice is too short.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        let needed = if rows == 0 || columns == 0 { 0 } else { (rows - 1) * stride + columns };
        assert!(needed <= values.len(), "a matrix [{rows}, {columns}] does not fit into {} numbers", values.len());
        Self { values, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The same numbers with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// A matrix [rows, columns] to write, row-major.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// A matrix without gaps.
    pub fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// A matrix whose rows lie `stride` apart. Panics when the slice is too short or rows overlap.
    pub fn strided(values: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        let needed = if rows == 0 || columns == 0 { 0 } else { (rows - 1) * stride + columns };
        assert!(columns <= stride && needed <= values.len(), "a matrix [{rows}, {columns}] does not fit its target");
        Self { values, rows, columns, stride }
    }
}

/// out = a·b, or out += a·b with `accumulate`; on this thread. Panics when the shapes do not fit.
pub fn matmul(a: Matrix<'_>, b: Matrix<'_>, out: MatrixMut<'_>, accumulate: bool) {
    assert!(a.columns == b.rows && a.rows == out.rows && b.columns == out.columns, "shapes of a product do not fit");
    if out.rows == 0 || out.columns == 0 {
        return;
    }
    if a.columns == 0 {
        if !accumulate {
            out.values.chunks_mut(out.stride).for_each(|row| row[..out.columns].fill(0.0));
        }
        return;
    }
    // SAFETY: the constructors checked that every index that these shapes and strides reach lies in its slice, and the
    // target is borrowed for writing, so that it overlaps neither operand.
    #[expect(unsafe_code, reason = "the gemm crate takes raw pointers")]
    unsafe {
        gemm(
            a.rows,
            b.columns,
            a.columns,
            out.values.as_mut_ptr(),
            1,
            out.stride as isize,
            accumulate,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
