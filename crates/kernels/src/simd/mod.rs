//! One vocabulary for the vector instructions of all processors, so that a kernel is written once.
//!
//! A kernel is generic over [`Simd`] and handed to [`InstructionSet::run`](crate::InstructionSet), which compiles it for
//! each instruction set and calls the version that was asked for. All operations are inlined there.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

/// Operations on vectors of `f32` and of 32-bit integers with as many lanes.
///
/// # Safety
/// All functions may only be called on a processor that has the instructions of the type, and inside a function that is
/// compiled for them. Pointers need no alignment unless a function says so, and must be good for all lanes it names.
#[expect(unsafe_code, reason = "vector instructions may be missing on a processor")]
pub(crate) trait Simd: Copy {
    /// Numbers of a vector: 4, 8 or 16.
    const LANES: usize;
    /// Vectors of columns of a tile whose sums stay in registers: such that whole tiles make a panel.
    const VECTORS: usize;
    /// Rows of a tile.
    const ROWS: usize;
    /// Rows of a tile when products of bytes are summed.
    const BYTE_ROWS: usize;
    /// Whether [`Self::add_brain_products`] exists.
    const BRAIN_FLOATS: bool;
    /// Whether [`Self::add_byte_products`] takes an unsigned byte for 128 less.
    const CENTRED_BYTES: bool = false;

    /// A vector of `f32`.
    type Floats: Copy;
    /// A vector of 32-bit integers.
    type Integers: Copy;

    /// The same number in all lanes.
    unsafe fn splat(value: f32) -> Self::Floats;
    /// The same integer in all lanes.
    unsafe fn splat_integer(value: i32) -> Self::Integers;
    /// As many numbers as there are lanes.
    unsafe fn load(from: *const f32) -> Self::Floats;
    /// As many brain floats as there are lanes.
    unsafe fn load_brain(from: *const u16) -> Self::Floats;
    /// As many integers as there are lanes.
    unsafe fn load_integers(from: *const i32) -> Self::Integers;
    /// All lanes.
    unsafe fn store(to: *mut f32, value: Self::Floats);
    /// All lanes, rounded to brain floats.
    unsafe fn store_brain(to: *mut u16, value: Self::Floats);

    /// The lowest byte of each lane.
    unsafe fn store_bytes(to: *mut u8, value: Self::Floats);

    /// The first `count` lanes, between one and all; the others are zero.
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize) -> Self::Floats {
        let mut lanes = [0.0_f32; 16];
        // SAFETY: passed on from the caller; no vector has more than 16 lanes.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }

    /// The first `count` lanes, between one and all.
    #[inline(always)]
    unsafe fn store_some(to: *mut f32, value: Self::Floats, count: usize) {
        let mut lanes = [0.0_f32; 16];
        // SAFETY: passed on from the caller; no vector has more than 16 lanes.
        unsafe {
            Self::store(lanes.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }

    /// The first `count` lanes, between one and all, rounded to brain floats.
    #[inline(always)]
    unsafe fn store_some_brain(to: *mut u16, value: Self::Floats, count: usize) {
        let mut lanes = [0_u16; 16];
        // SAFETY: passed on from the caller; no vector has more than 16 lanes.
        unsafe {
            Self::store_brain(lanes.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }

    /// a + b.
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a − b.
    unsafe fn subtract(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a · b.
    unsafe fn multiply(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a / b.
    unsafe fn divide(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a·b + c.
    unsafe fn multiply_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// The lesser of each two; which one of two is unspecified if one is NaN.
    unsafe fn min(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The greater of each two; which one of two is unspecified if one is NaN.
    unsafe fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// The least lane.
    #[inline(always)]
    unsafe fn least(value: Self::Floats) -> f32 {
        let mut lanes = [0.0_f32; 16];
        // SAFETY: passed on from the caller; no vector has more than 16 lanes.
        unsafe { Self::store(lanes.as_mut_ptr(), value) };
        lanes[..Self::LANES].iter().fold(f32::INFINITY, |least, lane| if *lane < least { *lane } else { least })
    }

    /// The greatest lane.
    #[inline(always)]
    unsafe fn greatest(value: Self::Floats) -> f32 {
        let mut lanes = [0.0_f32; 16];
        // SAFETY: passed on from the caller; no vector has more than 16 lanes.
        unsafe { Self::store(lanes.as_mut_ptr(), value) };
        lanes[..Self::LANES].iter().fold(f32::NEG_INFINITY, |most, lane| if *lane > most { *lane } else { most })
    }

    /// Whether a lane is NaN.
    #[inline(always)]
    unsafe fn any_nan(value: Self::Floats) -> bool {
        let mut lanes = [0.0_f32; 16];
        // SAFETY: passed on from the caller; no vector has more than 16 lanes.
        unsafe { Self::store(lanes.as_mut_ptr(), value) };
        lanes[..Self::LANES].iter().any(|lane| lane.is_nan())
    }

    /// What lies outside goes to the nearer end; NaN stays.
    unsafe fn clamp(value: Self::Floats, low: f32, high: f32) -> Self::Floats;
    /// Puts the integer in `shifted`'s lowest eight bits on `value`'s exponent.
    unsafe fn scale_by_power(value: Self::Floats, shifted: Self::Floats) -> Self::Floats;

    /// a · b, the lower 32 bits.
    unsafe fn multiply_integers(a: Self::Integers, b: Self::Integers) -> Self::Integers;
    /// The integers as numbers.
    unsafe fn to_floats(value: Self::Integers) -> Self::Floats;
    /// The brain floats in the lower halves of pairs.
    unsafe fn lower(pairs: Self::Integers) -> Self::Floats;
    /// The brain floats in the upper halves.
    unsafe fn upper(pairs: Self::Integers) -> Self::Floats;

    /// sum + the products of pairs of brain floats. Only where [`Self::BRAIN_FLOATS`] says so.
    #[inline(always)]
    unsafe fn add_brain_products(sum: Self::Floats, x: Self::Integers, w: Self::Integers) -> Self::Floats {
        // SAFETY: passed on from the caller.
        unsafe {
            let sum = Self::multiply_add(Self::lower(x), Self::lower(w), sum);
            Self::multiply_add(Self::upper(x), Self::upper(w), sum)
        }
    }

    /// sum + the products of four unsigned bytes of `x`, less 128 where [`Self::CENTRED_BYTES`] says so, with four signed
    /// ones of `w`, exactly.
    unsafe fn add_byte_products(sum: Self::Integers, x: Self::Integers, w: Self::Integers) -> Self::Integers;
}
