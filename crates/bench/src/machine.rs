//! Which machine, which build, when: without it a figure means nothing.

use std::process::Command;
use std::thread;

use anser_kernels::InstructionSet;
use serde::Serialize;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use time::OffsetDateTime;

/// Load average from which on somebody else is clearly at work.
const BUSY: f64 = 0.7;

/// What a report says about where it was made.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    /// Instruction sets that matter to matrix products.
    pub(crate) vector_units: Vec<&'static str>,
    /// What our own kernels make of them.
    pub(crate) kernels: &'static str,
    pub(crate) cores: Option<usize>,
    /// Threads that may run at once.
    pub(crate) threads: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) os: String,
    pub(crate) kernel: String,
    /// Runnable threads over the last minute, when the bench began.
    pub(crate) load_average: f64,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) recorded_at: OffsetDateTime,
    pub(crate) version: &'static str,
    /// Release or dev.
    pub(crate) profile: &'static str,
    pub(crate) rustc: Option<String>,
    /// Revision of the source, with `-dirty` when it was changed since.
    pub(crate) revision: Option<String>,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Self {
        let system = System::new_with_specifics(
            RefreshKind::nothing()
                .with_cpu(CpuRefreshKind::nothing())
                .with_memory(MemoryRefreshKind::nothing().with_ram()),
        );
        let now = OffsetDateTime::now_utc();
        let unknown = || "unknown".to_owned();
        Self {
            cpu: system.cpus().first().map_or_else(unknown, |cpu| cpu.brand().trim().to_owned()),
            vector_units: vector_units(),
            kernels: InstructionSet::best().name(),
            cores: System::physical_core_count(),
            threads: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: system.total_memory(),
            os: System::long_os_version().unwrap_or_else(unknown),
            kernel: System::kernel_version().unwrap_or_else(unknown),
            load_average: System::load_average().one,
            recorded_at: now.replace_nanosecond(0).unwrap_or(now),
            version: env!("CARGO_PKG_VERSION"),
            profile: if cfg!(debug_assertions) { "dev" } else { "release" },
            rustc: said_by("rustc", &["--version"]),
            revision: said_by("git", &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]),
        }
    }

    /// A warning when others were at work before the bench began; then figures are lower and spreads wider.
    pub(crate) fn busy(&self) -> Option<String> {
        (self.load_average > BUSY).then(|| {
            format!(
                "Others are working on this machine (load average {:.1} on {} threads): all figures are lower than it can \
                 do, and contenders whose threads wait for each other lose most.",
                self.load_average, self.threads
            )
        })
    }
}

/// What a program prints, if there is one that answers.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn vector_units() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let units = [
            ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
            ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
            ("AVX-512 VNNI", std::arch::is_x86_feature_detected!("avx512vnni")),
            ("AVX-512 BF16", std::arch::is_x86_feature_detected!("avx512bf16")),
        ];
        units.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    vec![std::env::consts::ARCH]
}
