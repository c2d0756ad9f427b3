//! What the processor can do, found out once, and the way a kernel gets a version for each of it.

use std::sync::OnceLock;

/// A set of vector instructions that this processor has. Values exist only for sets it really has, so a kernel may use
/// what its set promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstructionSet(pub(crate) Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What every processor of the target has.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same with VNNI, products of bytes.
    Avx512Vnni,
    /// The same with products of 16-bit brain floats.
    Avx512Bf16,
}

impl InstructionSet {
    /// The best set of this processor.
    pub fn best() -> Self {
        static BEST: OnceLock<InstructionSet> = OnceLock::new();
        *BEST.get_or_init(|| Self(detect()))
    }

    /// Every set of this processor, from the portable one up: what tests run through.
    pub fn available() -> Vec<Self> {
        let all = [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Vnni, Level::Avx512Bf16];
        all.into_iter().filter(|&level| level <= Self::best().0).map(Self).collect()
    }

    /// Whether products of brain floats take fewer instructions than products of `f32`.
    pub fn has_brain_float_products(self) -> bool {
        self.0 == Level::Avx512Bf16
    }

    /// Its name, for reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            Level::Avx2 => "AVX2 + FMA",
            Level::Avx512 => "AVX-512",
            Level::Avx512Vnni => "AVX-512 with VNNI",
            Level::Avx512Bf16 => "AVX-512 with VNNI and BF16",
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma");
    let avx512 = avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    let vnni = avx512 && has!("avx512vnni");
    match (avx2, avx512, vnni, vnni && has!("avx512bf16")) {
        (.., true) => Level::Avx512Bf16,
        (_, _, true, _) => Level::Avx512Vnni,
        (_, true, ..) => Level::Avx512,
        (true, ..) => Level::Avx2,
        _ => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}

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
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an instruction set exists only where the processor has it.
                #[expect(unsafe_code, reason = "a function compiled for more instructions than the target's baseline")]
                $crate::instructions::Level::Avx512 | $crate::instructions::Level::Avx512Vnni | $crate::instructions::Level::Avx512Bf16 => unsafe { avx512 $(::<$element>)? ($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an instruction set exists only where the processor has it.
                #[expect(unsafe_code, reason = "a function compiled for more instructions than the target's baseline")]
                $crate::instructions::Level::Avx2 => unsafe { avx2 $(::<$element>)? ($($argument),*) },
                _ => $body::<$($element,)? false>($($argument),*),
            }
        }
    };
}
pub(crate) use versions;
