//! How figures are put into words, on a terminal and on a page alike.

use time::format_description::well_known::Rfc3339;

use crate::limits::{Limits, Share};
use crate::machine::Machine;
use crate::report::{PeerRecord, PeerState, Quality, Ratio};

/// What is known of the machine and the build, each with its name.
pub(crate) fn machine(machine: &Machine) -> Vec<(&'static str, String)> {
    let unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let cores = machine.cores.map_or_else(|| "unknown".to_owned(), |cores| cores.to_string());
    vec![
        ("processor", machine.cpu.clone()),
        ("cores", format!("{cores}, {} threads", machine.threads)),
        ("vector units", machine.vector_units.join(", ")),
        ("kernels", machine.kernels.to_owned()),
        ("memory", format!("{:.0} GiB", machine.memory_bytes as f64 / f64::from(1 << 30))),
        ("system", format!("{}, kernel {}", machine.os, machine.kernel)),
        (
            "Anser",
            format!("{} ({} profile), revision {}", machine.version, machine.profile, unknown(&machine.revision)),
        ),
        ("compiler", unknown(&machine.rustc)),
        ("load at start", format!("{:.2} on {} threads", machine.load_average, machine.threads)),
        ("recorded", machine.recorded_at.format(&Rfc3339).unwrap_or_default()),
    ]
}

/// What the machine can do with so many threads.
pub(crate) fn limits(limits: &Limits) -> String {
    format!(
        "Limits, {}: matrix products {:.0} GFLOP/s in f32, {:.0} in bf16, {:.0} in int8; {:.1} GB/s copied (read and written)",
        threads(limits.threads),
        limits.gemm_f32_flops / 1e9,
        limits.gemm_bf16_flops / 1e9,
        limits.gemm_int8_ops / 1e9,
        limits.copy_bytes / 1e9,
    )
}

/// "1 thread", "2 threads".
pub(crate) fn threads(count: usize) -> String {
    if count == 1 { "1 thread".to_owned() } else { format!("{count} threads") }
}

/// Who is how many times as good as whom.
pub(crate) fn ratio(ratio: &Ratio) -> String {
    let Ratio { of, to, spread } = ratio;
    format!("{of} is {:.2} x {to} ({:.2} .. {:.2})", spread.median, spread.min, spread.max)
}

/// How good an outcome was.
pub(crate) fn quality(quality: &Quality) -> String {
    let Quality { measure, value, worst } = quality;
    let worst = worst.map_or_else(String::new, |worst| format!(", worst {}", fraction(worst)));
    format!("{measure} {}{worst}", fraction(*value))
}

/// A share of 1 with as many digits as tell it from 1.
fn fraction(value: f64) -> String {
    let decimals = if (0.999..1.0).contains(&value) { 6 } else { 4 };
    format!("{value:.decimals$}")
}

/// Which share of which limit a rate is.
pub(crate) fn share(share: Share) -> String {
    format!("{:.0} % of {}", share.share * 100.0, share.limit)
}

/// What a peer was made of, or why it is missing.
pub(crate) fn peer(peer: &PeerRecord) -> String {
    match &peer.state {
        PeerState::Versions(versions) => {
            let versions: Vec<String> = versions.iter().map(|(name, at)| format!("{name} {at}")).collect();
            format!("{}: {}", peer.label, versions.join(", "))
        }
        PeerState::Absent(reason) => format!("{}: {reason}", peer.label),
    }
}

/// Three significant digits at least.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quality_near_1_keeps_the_digits_that_tell_it_from_1() {
        let told = |value, worst| quality(&Quality { worst, ..Quality::new("cosine", value) });
        assert_eq!(told(0.999_987, Some(0.99)), "cosine 0.999987, worst 0.9900");
        assert_eq!(told(0.95, None), "cosine 0.9500");
        assert_eq!(told(1.0, None), "cosine 1.0000");
    }
}
