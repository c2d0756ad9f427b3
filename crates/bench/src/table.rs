//! What a bench found, as a person reads it on a terminal.

use comfy_table::{ContentArrangement, Table, presets};
use time::format_description::well_known::Rfc3339;

use crate::machine::Machine;
use crate::report::{Measured, PeerState, Row};
use crate::workload::Workload;

/// Width where there is no terminal to ask.
const WIDTH: u16 = 130;

/// The workloads there are.
pub(crate) fn list(workloads: &[Workload]) -> String {
    let mut table = table(["workload", "threads", "what"]);
    for workload in workloads {
        table.add_row([workload.name.clone(), workload.thread_count().to_string(), workload.about.clone()]);
    }
    table.trim_fmt()
}

/// The machine, in a few lines.
pub(crate) fn machine(machine: &Machine) -> String {
    let cores = machine.cores.map_or_else(|| "unknown".to_owned(), |cores| cores.to_string());
    let memory = machine.memory_bytes as f64 / f64::from(1 << 30);
    let (revision, rustc) = (machine.revision.as_deref(), machine.rustc.as_deref());
    let recorded_at = machine.recorded_at.format(&Rfc3339).unwrap_or_default();
    format!(
        "{} ({}), {cores} cores, {} threads, {memory:.0} GiB, {}, kernel {}\nAnser {} ({} profile), revision {}, {}, \
         load average {:.2} at {}",
        machine.cpu,
        machine.vector_units.join(", "),
        machine.threads,
        machine.os,
        machine.kernel,
        machine.version,
        machine.profile,
        revision.unwrap_or("unknown"),
        rustc.unwrap_or("rustc unknown"),
        machine.load_average,
        recorded_at,
    )
}

/// A workload's figures.
pub(crate) fn workload(measured: &Measured) -> String {
    let limits = &measured.limits;
    let title = format!(
        "{}: {}\nLimits (threads: {}): {:.0} GFLOP/s in f32 and {:.0} in bf16 matrix products, {:.1} GB/s copied (read and written)\n",
        measured.workload.name,
        measured.workload.about,
        limits.threads,
        limits.gemm_f32_flops / 1e9,
        limits.gemm_bf16_flops / 1e9,
        limits.copy_bytes / 1e9,
    );
    let mut table =
        table(["figure", "unit", "who", "median", "lowest .. highest", "Anser is", "quality", "of the limit"]);
    let mut last = "";
    for row in &measured.rows {
        table.add_row(cells(row, row.figure != last));
        last = &row.figure;
    }
    let mut lines = Vec::new();
    for peer in &measured.peers {
        match &peer.state {
            PeerState::Versions(versions) => {
                let versions: Vec<String> = versions.iter().map(|(name, at)| format!("{name} {at}")).collect();
                lines.push(format!("{}: {}", peer.label, versions.join(", ")));
            }
            PeerState::Absent(reason) => {
                table.add_row(["", "", &peer.label, "no peer available"]);
                lines.push(format!("{}: {reason}", peer.label));
            }
        }
    }
    lines.extend(measured.notes.iter().cloned());
    format!("{title}{}\n{}", table.trim_fmt(), lines.join("\n"))
}

/// A row; figure and unit are named in the first of several only.
fn cells(row: &Row, first: bool) -> [String; 8] {
    let spread = &row.spread;
    let ratio = row.anser_ratio.map(|r| format!("{:.2} x ({:.2} .. {:.2})", r.median, r.min, r.max));
    let quality = row.quality.as_ref().map(|q| format!("{} {:.4}", q.measure, q.value));
    let share = row.share_of_limit.map(|s| format!("{:.0} % of {}", s.share * 100.0, s.limit));
    let (figure, unit) = if first { (row.figure.as_str(), row.unit) } else { ("", "") };
    [
        figure.to_owned(),
        unit.to_owned(),
        row.contender.clone(),
        number(spread.median),
        format!("{} .. {}", number(spread.min), number(spread.max)),
        ratio.unwrap_or_default(),
        quality.unwrap_or_default(),
        share.unwrap_or_default(),
    ]
}

/// Three significant digits at least.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(header);
    table
}
