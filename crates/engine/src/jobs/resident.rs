//! How much memory this process has.

/// Resident memory of this process in bytes, as Linux counts it: heap, stacks and the touched pages of mapped files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident {
    /// Now (`VmRSS`).
    pub(super) bytes: u64,
    /// The most since the process began (`VmHWM`).
    pub(super) high: u64,
}

impl Resident {
    /// What it is now; `None` on systems that do not tell it in `/proc`.
    pub(super) fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| -> Option<u64> {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { bytes: field("VmRSS")?, high: field("VmHWM")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_figures_are_read_and_anything_else_is_none() {
        let read = Resident::parse("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n").unwrap();
        assert_eq!((read.bytes, read.high), (1 << 20, 2 << 20));
        for text in ["", "VmRSS:\t1 kB", "VmHWM: x kB\nVmRSS: 1 kB", "VmHWM: 18446744073709551615 kB\nVmRSS: 1 kB"] {
            assert!(Resident::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_has_memory() {
        let now = Resident::now().unwrap();
        assert!(now.bytes > 0 && now.high >= now.bytes / 2);
    }
}
