//! What a bench found, as a person reads it on a terminal.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

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
        machine.recorded_at,
    )
}

/// A workload's figures.
pub(crate) fn workload(measured: &Measured) -> String {
    let limits = &measured.limits;
    let mut out = format!(
        "{}: {}\nLimits with {} threads: {:.0} GFLOP/s in f32 matrix products, {:.1} GB/s copied (read and written)\n",
        measured.workload.name,
        measured.workload.about,
        limits.threads,
        limits.gemm_f32_flops / 1e9,
        limits.copy_bytes / 1e9,
    );
    let mut table = table(["figure", "who", "median", "lowest .. highest", "Anser is", "quality", "of the limit"]);
    let mut last = "";
    for row in &measured.rows {
        let figure = if row.figure == last { String::new() } else { format!("{}, {}", row.figure, row.unit) };
        last = &row.figure;
        table.add_row(cells(figure, row));
    }
    for peer in &measured.peers {
        if let PeerState::Absent(reason) = &peer.state {
            table.add_row([String::new(), peer.label.clone(), format!("no peer available: {reason}")]);
        }
    }
    out.push_str(&table.trim_fmt());
    for peer in &measured.peers {
        if let PeerState::Versions(versions) = &peer.state {
            let versions: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
            let _ = write!(out, "\n{}: {}", peer.label, versions.join(", "));
        }
    }
    for note in &measured.notes {
        out.push('\n');
        out.push_str(note);
    }
    out
}

fn cells(figure: String, row: &Row) -> [String; 7] {
    let spread = &row.spread;
    let ratio = row.anser_ratio.map(|r| format!("{:.2} x ({:.2} .. {:.2})", r.median, r.min, r.max));
    let quality = row.quality.as_ref().map(|q| format!("{} {:.4}", q.measure, q.value));
    let share = row.share_of_limit.map(|s| format!("{:.0} % of {}", s.share * 100.0, s.limit));
    [
        figure,
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
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(header);
    table
}
