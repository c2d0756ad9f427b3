//! The end of a tile: from sums in registers to numbers in memory.

use crate::element::{Element, RowsMut, WeightFormat};
use crate::epilogue::Epilogue;
use crate::instructions::{InstructionSet, Kernel};
use crate::packed::PANEL;
use crate::simd::Simd;
use crate::unary::Unary;

/// Most rows of a tile.
pub(crate) const TILE: usize = 8;

/// Sums of a tile that wait for their activation, which is compiled once for all shapes of tiles.
pub(crate) type Waiting = [[f32; PANEL]; TILE];

/// Where sums go: the first number of the result.
#[derive(Clone, Copy)]
enum Target {
    /// Over what is there.
    F32(*mut f32),
    /// Added to what is there.
    Add(*mut f32),
    /// Rounded to brain floats.
    Bf16(*mut u16),
}

/// Where a tile's sums go and what happens to them on the way. The format of the result is a value, not a type, so that
/// kernels are compiled once and not for each crate that calls them.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    target: Target,
    /// Numbers from one row of the result to the next.
    stride: usize,
    rows: usize,
    columns: usize,
    bias: Option<&'a [f32]>,
    activation: Option<Unary>,
    instructions: InstructionSet,
}

/// A place in the result: some columns of a row and of those below.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) row: usize,
    pub(crate) column: usize,
    /// How many columns the result has from `column` on, no more than a panel's.
    pub(crate) columns: usize,
}

#[expect(unsafe_code, reason = "vector stores through pointers into the result; callers promise to stay inside it")]
impl<'a> Finish<'a> {
    /// Writes to `y`, or adds to it. Panics when the bias is too short, or when brain floats are to be added to.
    pub(crate) fn new<O: Element>(y: RowsMut<'a, O>, epilogue: Epilogue<'a>, accumulate: bool) -> Self {
        epilogue.check(y.columns);
        let values = y.values.as_mut_ptr();
        let target = match (O::FORMAT, accumulate) {
            (WeightFormat::F32, false) => Target::F32(values.cast()),
            (WeightFormat::F32, true) => Target::Add(values.cast()),
            (WeightFormat::Bf16, accumulate) => {
                assert!(!accumulate, "sums are kept in f32");
                Target::Bf16(values.cast())
            }
        };
        Self {
            target,
            stride: y.stride,
            rows: y.rows,
            columns: y.columns,
            bias: epilogue.bias,
            activation: epilogue.activation,
            instructions: InstructionSet::best(),
        }
    }

    /// The same, with these instructions.
    pub(crate) fn with_instructions(self, instructions: InstructionSet) -> Self {
        Self { instructions, ..self }
    }

    /// Rows of the result.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the result.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// What the sums of a tile begin with: the bias.
    ///
    /// # Safety
    /// The processor has the instructions of `S`; the tile lies inside the result.
    #[inline(always)]
    pub(crate) unsafe fn begin<S: Simd, const MR: usize, const NV: usize>(
        &self,
        place: Place,
    ) -> [[S::Floats; NV]; MR] {
        // SAFETY: passed on from the caller; a bias is as long as a row of the result.
        unsafe {
            let mut sums = [S::splat(0.0); NV];
            if let Some(bias) = self.bias {
                for (vector, sum) in sums.iter_mut().enumerate().take(place.columns.div_ceil(S::LANES)) {
                    *sum = some::<S>(bias.as_ptr().add(place.column + vector * S::LANES), kept::<S>(place, vector));
                }
            }
            [sums; MR]
        }
    }

    /// Takes the sums of a tile: writes them, or leaves them in `waiting` for [`Self::activate`].
    ///
    /// # Safety
    /// The processor has the instructions of `S`; the tile lies inside the result.
    #[inline(always)]
    pub(crate) unsafe fn take<S: Simd, const MR: usize, const NV: usize>(
        &self,
        sums: [[S::Floats; NV]; MR],
        place: Place,
        waiting: &mut Waiting,
    ) {
        // SAFETY: the caller promises that rows and columns lie in the result.
        unsafe {
            if self.activation.is_some() {
                for (sums, waiting) in sums.iter().zip(waiting) {
                    for (vector, &sum) in sums.iter().enumerate() {
                        S::store(waiting.as_mut_ptr().add(vector * S::LANES), sum);
                    }
                }
                return;
            }
            for (index, sums) in sums.iter().enumerate() {
                let first = (place.row + index) * self.stride + place.column;
                for (vector, &sum) in sums.iter().enumerate().take(place.columns.div_ceil(S::LANES)) {
                    self.write::<S>(first + vector * S::LANES, sum, kept::<S>(place, vector));
                }
            }
        }
    }

    /// Applies the activation to `rows` rows of sums that [`Self::take`] left, if there is one, and writes them.
    ///
    /// # Safety
    /// The rows at this place lie inside the result.
    #[inline(always)]
    pub(crate) unsafe fn activate(&self, rows: usize, place: Place, waiting: &Waiting) {
        if let Some(activation) = self.activation {
            self.instructions.run(Activate { finish: self, activation, rows, place, waiting });
        }
    }

    #[inline(always)]
    unsafe fn write<S: Simd>(&self, offset: usize, value: S::Floats, kept: usize) {
        // SAFETY: the caller promises `kept` numbers there.
        unsafe {
            match self.target {
                Target::F32(values) if kept == S::LANES => S::store(values.add(offset), value),
                Target::F32(values) => S::store_some(values.add(offset), value, kept),
                Target::Add(values) => {
                    let sum = S::add(some::<S>(values.add(offset), kept), value);
                    if kept == S::LANES {
                        S::store(values.add(offset), sum);
                    } else {
                        S::store_some(values.add(offset), sum, kept);
                    }
                }
                Target::Bf16(values) if kept == S::LANES => S::store_brain(values.add(offset), value),
                Target::Bf16(values) => S::store_some_brain(values.add(offset), value, kept),
            }
        }
    }
}

/// How many lanes of a vector of a tile lie inside the result.
#[inline(always)]
fn kept<S: Simd>(place: Place, vector: usize) -> usize {
    place.columns.saturating_sub(vector * S::LANES).min(S::LANES)
}

/// # Safety
/// The processor has the instructions of `S`, and `count` numbers are there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector loads through pointers; the caller promises their extent")]
unsafe fn some<S: Simd>(from: *const f32, count: usize) -> S::Floats {
    // SAFETY: passed on from the caller.
    unsafe { if count == S::LANES { S::load(from) } else { S::load_some(from, count) } }
}

/// Sums on their way through an activation. A kernel of its own: its constants would take registers from the tiles.
struct Activate<'a> {
    finish: &'a Finish<'a>,
    activation: Unary,
    rows: usize,
    place: Place,
    waiting: &'a Waiting,
}

#[expect(unsafe_code, reason = "vector stores through pointers into the result; whoever made it promises their extent")]
impl Kernel for Activate<'_> {
    type Output = ();
    const BRAIN_FLOATS: bool = true;
    const BYTES: bool = false;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { finish, activation, rows, place, waiting } = self;
        let vectors = place.columns.min(S::VECTORS * S::LANES).div_ceil(S::LANES);
        let coarse = matches!(finish.target, Target::Bf16(_));
        // SAFETY: the tile that left the sums lies in the result.
        unsafe {
            for (index, waiting) in waiting.iter().enumerate().take(rows) {
                let first = (place.row + index) * finish.stride + place.column;
                for vector in 0..vectors {
                    let sum = S::load(waiting.as_ptr().add(vector * S::LANES));
                    let value = activation.apply::<S>(sum, coarse);
                    finish.write::<S>(first + vector * S::LANES, value, kept::<S>(place, vector));
                }
            }
        }
    }
}
