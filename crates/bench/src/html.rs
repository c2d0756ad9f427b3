//! What a bench found, as one page that needs nothing else: no network, no scripts. It is well-formed XML, too.

use std::fmt::Write as _;

use crate::bars::bars;
use crate::machine;
use crate::report::{Measured, ModelRecord, PeerState, Report, Row};
use crate::wording;

const STYLE: &str = ":root{color-scheme:light dark;--ink:#1c2733;--faint:#5b6875;--rule:#d9dfe5;--page:#fff;--ours:#eef5fc}\
    @media (prefers-color-scheme:dark){:root{--ink:#e3e9ef;--faint:#9aa8b6;--rule:#33404d;--page:#12181f;--ours:#182533}}\
    body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:60rem;color:var(--ink);background:var(--page);\
    font:15px/1.5 system-ui,sans-serif}h1{font-size:1.6rem}h2{margin-top:3rem;border-top:1px solid var(--rule);padding-top:1.5rem}\
    .scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9em}\
    th,td{padding:.3rem .7rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}\
    th{font-weight:600;color:var(--faint)}td.number,th.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
    tr.ours td{background:var(--ours)}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}\
    dt{color:var(--faint)}dd{margin:0}svg{width:100%;max-width:720px;height:auto;display:block;margin:1rem 0}\
    .faint,.notes{color:var(--faint)}code{overflow-wrap:anywhere;font-size:.85em}";

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let machine = &report.machine;
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"/>");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>");
    let _ = write!(page, "<title>Anser bench, {}</title><style>{STYLE}</style></head>\n<body>\n", escape(&machine.cpu));
    page.push_str("<h1>Anser beside its peers on this machine</h1>\n");
    element(
        &mut page,
        "p",
        &format!(
            "Sizes: {}. Each figure is the median of several runs that took turns with the peers', with the lowest and the \
             highest; a ratio is taken round by round. Shares of a limit are of what this machine reached in the same run \
             with matrix products that stay in its caches, or with copying memory.",
            report.scale.name()
        ),
    );
    if let Some(warning) = machine.busy() {
        element(&mut page, "p", &warning);
    }
    machine_list(&mut page, machine);
    contents(&mut page, &report.workloads);
    for measured in &report.workloads {
        workload(&mut page, measured);
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn machine_list(page: &mut String, machine: &machine::Machine) {
    page.push_str("<dl>\n");
    for (name, value) in wording::machine(machine) {
        let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(&value));
    }
    page.push_str("</dl>\n");
}

fn contents(page: &mut String, workloads: &[Measured]) {
    page.push_str("<ul>\n");
    for Measured { workload, .. } in workloads {
        let name = escape(&workload.name);
        let _ = writeln!(page, "<li><a href=\"#{name}\">{name}</a>: {}</li>", escape(&workload.about));
    }
    page.push_str("</ul>\n");
}

fn workload(page: &mut String, measured: &Measured) {
    let Measured { workload, limits, models, peers, rows, notes, plots } = measured;
    let name = escape(&workload.name);
    let _ = write!(page, "<h2 id=\"{name}\">{name}</h2>\n<p>{}</p>\n", escape(&workload.about));
    for limits in limits {
        let _ = writeln!(page, "<p class=\"faint\">{}.</p>", escape(&wording::limits(limits)));
    }
    table(page, rows);
    page.push_str(&bars(&format!("{}: medians and spreads", workload.name), rows));
    for plot in plots {
        page.push_str(&plot.svg());
    }
    list(page, notes.iter().map(|note| escape(note)));
    list(page, models.iter().map(model));
    list(
        page,
        peers.iter().map(|peer| {
            let state = if matches!(peer.state, PeerState::Absent(_)) { "Not available: " } else { "" };
            format!("{state}{}", escape(&wording::peer(peer)))
        }),
    );
    let _ =
        writeln!(page, "<p class=\"faint\">Seed {}, {}.</p>", workload.seed, wording::threads(workload.thread_count()));
}

fn model(model: &ModelRecord) -> String {
    let mut text = escape(&model.name);
    for (file, sha256) in &model.files {
        let _ = write!(text, "<br/>{} <code>{}</code>", escape(file), escape(sha256));
    }
    text
}

/// A list of what is HTML already, if there is anything.
fn list(page: &mut String, items: impl Iterator<Item = String>) {
    let items = items.fold(String::new(), |mut items, item| {
        let _ = writeln!(items, "<li>{item}</li>");
        items
    });
    if !items.is_empty() {
        let _ = writeln!(page, "<ul class=\"notes\">\n{items}</ul>");
    }
}

fn table(page: &mut String, rows: &[Row]) {
    page.push_str(
        "<div class=\"scroll\"><table>\n<thead><tr><th>figure</th><th>who</th><th class=\"number\">median</th>",
    );
    page.push_str("<th class=\"number\">lowest .. highest</th><th>unit</th><th>compared</th><th>quality</th>");
    page.push_str("<th>of the limit</th></tr></thead>\n<tbody>\n");
    let mut last = "";
    for row in rows {
        let ours = if row.contender.starts_with(crate::contest::ANSER) { " class=\"ours\"" } else { "" };
        let spread = &row.spread;
        let _ = write!(page, "<tr{ours}>");
        element(page, "td", if row.figure == last { "" } else { &row.figure });
        element(page, "td", &row.contender);
        for number in [
            wording::number(spread.median),
            format!("{} .. {}", wording::number(spread.min), wording::number(spread.max)),
        ] {
            let _ = write!(page, "<td class=\"number\">{}</td>", escape(&number));
        }
        element(page, "td", row.unit);
        element(page, "td", &row.ratio.as_ref().map(wording::ratio).unwrap_or_default());
        element(page, "td", &row.quality.as_ref().map(wording::quality).unwrap_or_default());
        element(page, "td", &row.share_of_limit.map(wording::share).unwrap_or_default());
        page.push_str("</tr>\n");
        last = &row.figure;
    }
    page.push_str("</tbody></table></div>\n");
}

fn element(page: &mut String, name: &str, text: &str) {
    let _ = write!(page, "<{name}>{}</{name}>", escape(text));
}

/// Text as it stands between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no way to write these.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
