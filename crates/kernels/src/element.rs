//! The two number formats that activations and weights are kept in, and views of rows in either.

use half::bf16;

use crate::instructions::versions;

/// Number format of a packed matrix and of the rows it is multiplied with. Sums are f32 in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats.
    Bf16,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

/// A number format: `f32` or [`half::bf16`].
pub trait Element: sealed::Sealed + Copy + Default + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// The format as a value.
    const FORMAT: WeightFormat;

    /// The nearest value of this format, ties to even.
    fn from_f32(value: f32) -> Self;

    /// The same value as an `f32`.
    fn to_f32(self) -> f32;

    /// The bits, in the lower half for a 16-bit format.
    fn bits(self) -> u32;
}

impl Element for f32 {
    const FORMAT: WeightFormat = WeightFormat::F32;

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits()
    }
}

impl Element for bf16 {
    const FORMAT: WeightFormat = WeightFormat::Bf16;

    // Written without branches, so that loops over it vectorise.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        Self::from_bits(if value.is_nan() { 0x7fc0 } else { rounded })
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        u32::from(self.to_bits())
    }
}

/// Rows of numbers that lie `stride` apart in a slice.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "rows is how many there are")]
pub struct Rows<'a, E> {
    pub(crate) values: &'a [E],
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl<'a, E: Element> Rows<'a, E> {
    /// Views `rows` rows of `columns` numbers. Panics when the slice is too short or rows overlap.
    pub fn new(values: &'a [E], rows: usize, columns: usize, stride: usize) -> Self {
        check(values.len(), rows, columns, stride);
        Self { values, stride, rows, columns }
    }

    /// Rows without gaps.
    pub fn dense(values: &'a [E], rows: usize, columns: usize) -> Self {
        Self::new(values, rows, columns, columns)
    }

    pub(crate) fn row(&self, row: usize) -> &'a [E] {
        &self.values[row * self.stride..row * self.stride + self.columns]
    }
}

/// Rows of numbers that lie `stride` apart in a slice, to be written.
#[derive(Debug)]
pub struct RowsMut<'a, E> {
    pub(crate) values: &'a mut [E],
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl<'a, E: Element> RowsMut<'a, E> {
    /// Views `rows` rows of `columns` numbers. Panics when the slice is too short or rows overlap.
    pub fn new(values: &'a mut [E], rows: usize, columns: usize, stride: usize) -> Self {
        check(values.len(), rows, columns, stride);
        Self { values, stride, rows, columns }
    }

    /// Rows without gaps.
    pub fn dense(values: &'a mut [E], rows: usize, columns: usize) -> Self {
        Self::new(values, rows, columns, columns)
    }
}

fn check(length: usize, rows: usize, columns: usize, stride: usize) {
    assert!(columns <= stride || rows <= 1, "rows of {columns} numbers overlap at a stride of {stride}");
    let needed = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
    assert!(needed <= length, "{rows} rows of {columns} numbers at a stride of {stride} need {needed}, not {length}");
}

#[inline(always)]
fn convert_body<E: Element, const FMA: bool>(values: &[f32], out: &mut [E]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = E::from_f32(value);
    }
}

versions! {
    /// Rounds `values` to the format of `out`.
    pub fn convert<E>(values: &[f32], out: &mut [E]) = convert_body
}

#[inline(always)]
fn widen_body<E: Element, const FMA: bool>(values: &[E], out: &mut [f32]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = value.to_f32();
    }
}

versions! {
    /// The same values as `f32`.
    pub fn widen<E>(values: &[E], out: &mut [f32]) = widen_body
}
