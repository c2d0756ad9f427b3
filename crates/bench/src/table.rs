//! What a bench found, as a person reads it on a terminal.

use comfy_table::{ContentArrangement, Table, presets};

use crate::machine::Machine;
use crate::report::{Measured, PeerState, Row};
use crate::wording;
use crate::workload::Workload;

/// Width where there is no terminal to ask.
const WIDTH: u16 = 150;

/// The workloads there are.
pub(crate) fn list(workloads: &[Workload]) -> String {
    let mut table = table(["workload", "essential", "threads", "what"]);
    for workload in workloads {
        let essential = if workload.essential { "yes" } else { "" };
        let threads = workload.thread_count().to_string();
        table.add_row([workload.name.clone(), essential.to_owned(), threads, workload.about.clone()]);
    }
    table.trim_fmt()
}

/// The machine, in a few lines.
pub(crate) fn machine(machine: &Machine) -> String {
    let known = wording::machine(machine).into_iter();
    known.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
}

/// A workload's figures.
pub(crate) fn workload(measured: &Measured) -> String {
    let mut title = format!("{}: {}\n", measured.workload.name, measured.workload.about);
    for limits in &measured.limits {
        title.push_str(&wording::limits(limits));
        title.push('\n');
    }
    let mut table =
        table(["figure", "unit", "who", "median", "lowest .. highest", "compared", "quality", "of the limit"]);
    let mut last = "";
    for row in &measured.rows {
        table.add_row(cells(row, row.figure != last));
        last = &row.figure;
    }
    for peer in &measured.peers {
        if matches!(peer.state, PeerState::Absent(_)) {
            table.add_row(["", "", &peer.label, "not available"]);
        }
    }
    let lines: Vec<String> = measured.peers.iter().map(wording::peer).chain(measured.notes.iter().cloned()).collect();
    format!("{title}{}\n{}", table.trim_fmt(), lines.join("\n"))
}

/// A row; figure and unit are named in the first of several only.
fn cells(row: &Row, first: bool) -> [String; 8] {
    let spread = &row.spread;
    let (figure, unit) = if first { (row.figure.as_str(), row.unit) } else { ("", "") };
    [
        figure.to_owned(),
        unit.to_owned(),
        row.contender.clone(),
        wording::number(spread.median),
        format!("{} .. {}", wording::number(spread.min), wording::number(spread.max)),
        row.ratio.as_ref().map(wording::ratio).unwrap_or_default(),
        row.quality.as_ref().map(wording::quality).unwrap_or_default(),
        row.share_of_limit.map(wording::share).unwrap_or_default(),
    ]
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
