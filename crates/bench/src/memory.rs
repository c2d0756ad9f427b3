//! This process's peak memory.

use std::fs;

/// Starts counting this process's peak memory anew; where that cannot be done, earlier work counts too.
pub(crate) fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").ok();
}

/// This process's peak resident memory in bytes, where the system tells.
pub(crate) fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
