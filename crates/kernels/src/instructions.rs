//! What the processor can do, found out once, and the ways a kernel gets a version for each of it: the one place that knows
//! all instruction sets.

use std::sync::OnceLock;

#[cfg(target_arch = "aarch64")]
use crate::simd::Neon;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};

/// The environment variable that [`InstructionSet::requested`] reads.
pub const INSTRUCTIONS_VARIABLE: &str = "ANSER_INSTRUCTIONS";

/// A set of vector instructions that this processor has. Values exist only for sets it really has, so a kernel may use
/// what its set promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstructionSet(pub(crate) Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What every processor of the target has.
    Portable,
    /// AVX2 with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The same with VNNI, products of bytes, in registers of 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2Vnni,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// The same with products of 16-bit brain floats.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// What every 64-bit Arm processor has.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// The same with products of bytes.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

/// Every set of the target, from the portable one up, with its word in the environment and its name in reports.
const LEVELS: &[(Level, &str, &str)] = &[
    (Level::Portable, "portable", "portable"),
    #[cfg(target_arch = "x86_64")]
    (Level::Avx2, "avx2", "AVX2 + FMA"),
    #[cfg(target_arch = "x86_64")]
    (Level::Avx2Vnni, "avx2-vnni", "AVX2 + FMA with VNNI"),
    #[cfg(target_arch = "x86_64")]
    (Level::Avx512, "avx512", "AVX-512"),
    #[cfg(target_arch = "x86_64")]
    (Level::Avx512Vnni, "avx512-vnni", "AVX-512 with VNNI"),
    #[cfg(target_arch = "x86_64")]
    (Level::Avx512Bf16, "avx512-bf16", "AVX-512 with VNNI and BF16"),
    #[cfg(target_arch = "aarch64")]
    (Level::Neon, "neon", "NEON"),
    #[cfg(target_arch = "aarch64")]
    (Level::NeonDot, "neon-dot", "NEON with dot products"),
];

impl InstructionSet {
    /// The best set of this processor, or what [`Self::requested`] limits it to.
    pub fn best() -> Self {
        static BEST: OnceLock<InstructionSet> = OnceLock::new();
        *BEST.get_or_init(|| Self::requested().ok().flatten().unwrap_or_else(Self::detected))
    }

    /// What every processor of the target has.
    pub fn portable() -> Self {
        Self(Level::Portable)
    }

    /// The best set of this processor.
    fn detected() -> Self {
        let levels = LEVELS.iter().rev().map(|&(level, ..)| level);
        Self(levels.into_iter().find(|&level| has(level)).unwrap_or(Level::Portable))
    }

    /// The set that the environment variable `ANSER_INSTRUCTIONS` names, if it is there: for tests, for comparisons and
    /// against a defect of one path.
    ///
    /// # Errors
    /// A sentence for the user when the variable names no set or one that the processor lacks; it then counts for nothing.
    pub fn requested() -> Result<Option<Self>, String> {
        std::env::var_os(INSTRUCTIONS_VARIABLE)
            .filter(|word| !word.is_empty())
            .map(|word| Self::named(&word.to_string_lossy()))
            .transpose()
    }

    fn named(word: &str) -> Result<Self, String> {
        let known = LEVELS.iter().find(|(_, known, _)| word.eq_ignore_ascii_case(known));
        match known {
            Some(&(level, ..)) if has(level) => Ok(Self(level)),
            Some((.., name)) => Err(format!(
                "{INSTRUCTIONS_VARIABLE} asks for {name}, which this processor does not have; the best it has is {}",
                Self::detected().name()
            )),
            None => Err(format!(
                "{INSTRUCTIONS_VARIABLE} is {word:?}; it can be {}",
                LEVELS.iter().map(|(_, word, _)| *word).collect::<Vec<_>>().join(", ")
            )),
        }
    }

    /// Every set of this processor from the portable one up to the best: what tests run through.
    pub fn available() -> Vec<Self> {
        let levels = LEVELS.iter().map(|&(level, ..)| level);
        levels.filter(|&level| level <= Self::best().0 && has(level)).map(Self).collect()
    }

    /// Whether products of brain floats take fewer instructions than products of `f32`.
    pub fn has_brain_float_products(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == Level::Avx512Bf16;
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Whether products of bytes take fewer instructions than products of `f32`.
    pub fn has_byte_products(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return matches!(self.0, Level::Avx2Vnni | Level::Avx512Vnni | Level::Avx512Bf16);
        #[cfg(target_arch = "aarch64")]
        return self.0 == Level::NeonDot;
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        false
    }

    /// Whether vectors have 512 bits and products of bytes.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn has_wide_byte_products(self) -> bool {
        self.0 >= Level::Avx512Vnni
    }

    /// Its name, for reports.
    pub fn name(self) -> &'static str {
        LEVELS.iter().find(|(level, ..)| *level == self.0).map_or("unknown", |(.., name)| name)
    }

    /// Runs the version of `kernel` that is compiled for this set, or for as much of it as the kernel can use.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: an instruction set exists only where the processor has it.
        #[expect(unsafe_code, reason = "functions compiled for more instructions than the target's baseline")]
        unsafe {
            match self.0 {
                Level::Portable => kernel.run::<Portable>(),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2Vnni if K::BYTES => avx2_vnni(kernel),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 | Level::Avx2Vnni => avx2(kernel),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512Bf16 if K::BRAIN_FLOATS => avx512_bf16(kernel),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512Bf16 if K::BYTES => avx512_vnni_bf16(kernel),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512Vnni if K::BYTES => avx512_vnni(kernel),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 | Level::Avx512Vnni | Level::Avx512Bf16 => avx512(kernel),
                #[cfg(target_arch = "aarch64")]
                Level::NeonDot if K::BYTES => neon_dot(kernel),
                #[cfg(target_arch = "aarch64")]
                Level::Neon | Level::NeonDot => kernel.run::<Neon<false>>(),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has(level: Level) -> bool {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma");
    let avx512 = avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    let vnni = avx512 && has!("avx512vnni");
    match level {
        Level::Portable => true,
        Level::Avx2 => avx2,
        Level::Avx2Vnni => avx2 && has!("avxvnni"),
        Level::Avx512 => avx512,
        Level::Avx512Vnni => vnni,
        Level::Avx512Bf16 => vnni && has!("avx512bf16"),
    }
}

#[cfg(target_arch = "aarch64")]
fn has(level: Level) -> bool {
    match level {
        Level::Portable | Level::Neon => true,
        Level::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has(level: Level) -> bool {
    level == Level::Portable
}

/// Work that is written once in the vocabulary of [`Simd`].
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// Whether it multiplies brain floats.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "no set of this target multiplies brain floats")
    )]
    const BRAIN_FLOATS: bool;
    /// Whether it multiplies bytes.
    const BYTES: bool;

    /// Does it. Must be `#[inline(always)]`, so that it is compiled for the instructions of its caller.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and the calling function is compiled for them.
    #[expect(unsafe_code, reason = "vector instructions may be missing on a processor")]
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// A function compiled for some instructions that runs a kernel in their vocabulary.
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    expect(unused_macros, reason = "only portable code")
)]
macro_rules! runner {
    ($name:ident, $features:literal, $simd:ty) => {
        /// # Safety
        /// The processor has these instructions.
        // Never inlined: kernels that call one another are compiled apart, so that the constants of one do not take the
        // registers of the other.
        #[inline(never)]
        #[target_feature(enable = $features)]
        #[expect(unsafe_code, reason = "a function compiled for more instructions than the target's baseline")]
        unsafe fn $name<K: Kernel>(kernel: K) -> K::Output {
            // SAFETY: this function is compiled for the instructions, which the caller promises.
            unsafe { kernel.run::<$simd>() }
        }
    };
}

#[cfg(target_arch = "x86_64")]
runner!(avx2, "avx2,fma", Avx2<false>);
#[cfg(target_arch = "x86_64")]
runner!(avx2_vnni, "avx2,fma,avxvnni", Avx2<true>);
#[cfg(target_arch = "x86_64")]
runner!(avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", Avx512<false, false>);
#[cfg(target_arch = "x86_64")]
runner!(avx512_vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma", Avx512<true, false>);
#[cfg(target_arch = "x86_64")]
runner!(avx512_vnni_bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma", Avx512<true, true>);
#[cfg(target_arch = "x86_64")]
runner!(avx512_bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma", Avx512<false, true>);
#[cfg(target_arch = "aarch64")]
runner!(neon_dot, "neon,dotprod", Neon<true>);

/// Makes one function out of a body that is compiled once for each instruction set. The body is an `#[inline(always)]`
/// function whose last constant parameter says whether multiply-add is one instruction.
macro_rules! versions {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident $(<$element:ident>)? ($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? = $body:ident) => {
        $(#[$meta])*
        $visibility fn $name $(<$element: $crate::Element>)? (set: $crate::InstructionSet, $($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512 $(<$element: $crate::Element>)? ($($argument: $kind),*) $(-> $result)? {
                $body::<$($element,)? true>($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$element: $crate::Element>)? ($($argument: $kind),*) $(-> $result)? {
                $body::<$($element,)? true>($($argument),*)
            }
            match set.0 {
                $crate::instructions::Level::Portable => $body::<$($element,)? false>($($argument),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an instruction set exists only where the processor has it.
                #[expect(unsafe_code, reason = "a function compiled for more instructions than the target's baseline")]
                $crate::instructions::Level::Avx2 | $crate::instructions::Level::Avx2Vnni => unsafe { avx2 $(::<$element>)? ($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an instruction set exists only where the processor has it.
                #[expect(unsafe_code, reason = "a function compiled for more instructions than the target's baseline")]
                $crate::instructions::Level::Avx512 | $crate::instructions::Level::Avx512Vnni | $crate::instructions::Level::Avx512Bf16 => unsafe { avx512 $(::<$element>)? ($($argument),*) },
                // Multiply-add belongs to the baseline of the target.
                #[cfg(target_arch = "aarch64")]
                $crate::instructions::Level::Neon | $crate::instructions::Level::NeonDot => $body::<$($element,)? true>($($argument),*),
            }
        }
    };
}
pub(crate) use versions;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portable_set_is_always_there_and_the_best_one_last() {
        let sets = InstructionSet::available();
        assert_eq!(sets[0].name(), "portable");
        assert_eq!(sets.last(), Some(&InstructionSet::best()));
    }

    #[test]
    fn words_name_the_sets_that_the_processor_has() {
        for (level, word, name) in LEVELS {
            match InstructionSet::named(word) {
                Ok(set) => assert_eq!((set.0, set.name()), (*level, *name)),
                Err(message) => assert!(!has(*level) && message.contains(name), "{message}"),
            }
        }
        assert!(InstructionSet::named("PORTABLE").is_ok());
        let message = InstructionSet::named("mmx").unwrap_err();
        assert!(message.contains("mmx") && message.contains("portable"), "{message}");
    }
}
