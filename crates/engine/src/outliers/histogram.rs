//! How the scores are distributed, as a picture: most documents in a hump, outliers to the right of it.

use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Style, Text};

use super::{OutlierMethod, OutlierReport};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
/// Left, top, width and height of the plot.
const PLOT: (f64, f64, f64, f64) = (64.0, 76.0, 864.0, 272.0);
const BARS: usize = 48;

/// Looks, in one place. Fonts are the reader's own.
const STYLE: &str = "text{font-family:system-ui,'Segoe UI','Noto Sans','DejaVu Sans',sans-serif;fill:#1f2933}\
    .title{font-size:20px;font-weight:600}.note{font-size:13px;fill:#616e7c}.tick{font-size:11px;fill:#7b8794}\
    .bar{fill:#008df9}.far{fill:#e20134}.axis{stroke:#9aa5b1;stroke-width:1}\
    .threshold{stroke:#52606d;stroke-width:1;stroke-dasharray:4 3}";

/// Bars of `scores`, which are sorted from high to low and not empty; their heights grow with the square root of the number
/// of documents, so that a bar of one document is seen beside one of thousands.
pub(super) fn histogram(report: &OutlierReport, scores: &[f64]) -> String {
    let (left, top, width, height) = PLOT;
    let (high, low) = (scores.first().copied().unwrap_or(1.0), scores.last().copied().unwrap_or(0.0));
    let span = (high - low).max(1e-6);
    let mut counts = [0_usize; BARS];
    for score in scores {
        counts[(((score - low) / span * BARS as f64) as usize).min(BARS - 1)] += 1;
    }
    let tallest = (counts.iter().copied().max().unwrap_or(1).max(1) as f64).sqrt();
    let across = |score: f64| left + (score - low) / span * width;
    let mut bars = Group::new();
    for (at, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let tall = ((count as f64).sqrt() / tallest * height).max(2.0);
        let middle = low + (at as f64 + 0.5) / BARS as f64 * span;
        let bar = Rectangle::new()
            .set("class", if middle > report.threshold { "far" } else { "bar" })
            .set("x", number(left + at as f64 * width / BARS as f64 + 0.5))
            .set("y", number(top + height - tall))
            .set("width", number(width / BARS as f64 - 1.0))
            .set("height", number(tall));
        bars = bars.add(bar.add(svg::node::element::Title::new(format!("{count} documents"))));
    }
    let mut axis = Group::new().add(line("axis", (left, top + height), (left + width, top + height)));
    for step in 0..=8 {
        let score = low + f64::from(step) / 8.0 * span;
        axis = axis.add(
            text("tick", (across(score), top + height + 18.0), format!("{score:.2}")).set("text-anchor", "middle"),
        );
    }
    let name = match report.method {
        OutlierMethod::Lof => format!("local outlier factor, {} neighbours", report.k),
        OutlierMethod::KnnDistance => format!("cosine distance to neighbour {}", report.k),
    };
    axis = axis.add(text("note", (left + width / 2.0, top + height + 44.0), name).set("text-anchor", "middle"));
    if (low..=high).contains(&report.threshold) {
        let at = across(report.threshold);
        axis = axis.add(line("threshold", (at, top - 8.0), (at, top + height)));
    }
    let note = format!(
        "{} of {} documents above {:.2} (dashed); bar heights are square roots of counts",
        report.outliers, report.documents, report.threshold
    );
    let drawing = Document::new()
        .set("viewBox", (0, 0, WIDTH as i32, HEIGHT as i32))
        .set("width", WIDTH)
        .set("height", HEIGHT)
        .add(Style::new(STYLE))
        .add(Rectangle::new().set("width", WIDTH).set("height", HEIGHT).set("fill", "#fff"))
        .add(text("title", (left, 36.0), visible(&format!("{}: how unusual documents are", report.source))))
        .add(text("note", (left, 58.0), note))
        .add(bars)
        .add(axis);
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{drawing}\n")
}

fn line(class: &str, from: (f64, f64), to: (f64, f64)) -> Line {
    let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(number);
    Line::new().set("class", class).set("x1", x1).set("y1", y1).set("x2", x2).set("y2", y2)
}

fn text(class: &str, (x, y): (f64, f64), content: String) -> Text {
    Text::new(content).set("class", class).set("x", number(x)).set("y", number(y))
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

/// Without the characters that XML forbids even when escaped.
fn visible(text: &str) -> String {
    text.chars().filter(|c| !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))).collect()
}
