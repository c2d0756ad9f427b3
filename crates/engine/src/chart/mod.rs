//! Charts of what a learnt predictor does: SVG files that open in any browser, each with words for a screen reader.

mod calibration;
mod confusion;
mod predicted;
mod retrieval;

use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Style, Text, Title};

pub(crate) use calibration::calibration_chart;
pub(crate) use confusion::confusion_chart;
pub(crate) use predicted::{PredictedChart, predicted_chart};
pub(crate) use retrieval::retrieval_chart;

use crate::map::text::{fit_text, visible};

/// Looks, in one place. Fonts are the reader's own, so that every script can be shown.
const STYLE: &str = "text{font-family:system-ui,'Segoe UI','Noto Sans','Noto Sans CJK SC','DejaVu Sans',sans-serif;\
    fill:#1f2933}.title{font-size:20px;font-weight:600}.note{font-size:13px;fill:#616e7c}.tick{font-size:11px;fill:#7b8794}\
    .grid{stroke:#e4e7eb;stroke-width:1}.ideal{stroke:#9aa5b1;stroke-width:1.5;stroke-dasharray:5 4}";

/// Room on the left and right of headings.
const MARGIN: f64 = 28.0;

/// A part of the page on which values are drawn.
#[derive(Debug, Clone, Copy)]
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// Values along one side of a frame.
#[derive(Debug, Clone)]
struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    decimals: usize,
}

impl Axis {
    /// A little more than from `low` to `high`, with ticks at round numbers.
    fn around(low: f64, high: f64) -> Self {
        let (low, high) = if low < high { (low, high) } else { (low - 0.5, high + 0.5) };
        let rough = (high - low) / 6.0;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let (step, decimals) = [(1.0, 0.0), (2.0, 0.0), (2.5, 1.0), (5.0, 0.0)]
            .map(|(factor, more)| (factor * magnitude, more - magnitude.log10().round()))
            .into_iter()
            .find(|(step, _)| *step >= rough)
            .unwrap_or((10.0 * magnitude, -1.0 - magnitude.log10().round()));
        let room = (high - low) * 0.05;
        let (low, high) = (low - room, high + room);
        let (first, last) = ((low / step).ceil(), (high / step).floor());
        let ticks = (0..=(last - first) as usize).map(|at| (first + at as f64) * step).collect();
        Self { low, high, ticks, decimals: decimals.clamp(0.0, 12.0) as usize }
    }

    /// From 0 to 1.
    fn share() -> Self {
        Self { low: 0.0, high: 1.0, ticks: (0..=5).map(|tick| f64::from(tick) / 5.0).collect(), decimals: 1 }
    }

    /// Where a value lies, as a share of the axis.
    fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

impl Frame {
    fn x(&self, share: f64) -> f64 {
        self.left + share * self.width
    }

    fn y(&self, share: f64) -> f64 {
        self.top + (1.0 - share) * self.height
    }

    /// The grid of two axes with their numbers and names.
    fn grid(&self, (across, name_across): (&Axis, &str), (up, name_up): (&Axis, &str)) -> Group {
        let mut group = Group::new();
        for tick in &across.ticks {
            let x = self.x(across.place(*tick));
            group = group.add(line((x, self.top), (x, self.y(0.0)), "grid")).add(words(
                &format!("{tick:.*}", across.decimals),
                (x, self.y(0.0) + 17.0),
                "tick",
                "middle",
            ));
        }
        for tick in &up.ticks {
            let y = self.y(up.place(*tick));
            group = group.add(line((self.left, y), (self.x(1.0), y), "grid")).add(words(
                &format!("{tick:.*}", up.decimals),
                (self.left - 8.0, y + 4.0),
                "tick",
                "end",
            ));
        }
        let (x, y) = (self.left - 46.0, self.y(0.5));
        group.add(words(name_across, (self.x(0.5), self.y(0.0) + 40.0), "note", "middle")).add(
            words(name_up, (x, y), "note", "middle")
                .set("transform", format!("rotate(-90 {} {})", figure(x), figure(y))),
        )
    }
}

/// A white page with a heading and a line below it.
fn page(width: f64, height: f64, title: &str, note: &str) -> Document {
    let room = (width - 2.0 * MARGIN) as f32;
    Document::new()
        .set("xmlns", "http://www.w3.org/2000/svg")
        .set("viewBox", format!("0 0 {} {}", figure(width), figure(height)))
        .set("width", figure(width))
        .set("height", figure(height))
        .set("role", "img")
        .add(Title::new(visible(title)))
        .add(Style::new(STYLE))
        .add(Rectangle::new().set("width", figure(width)).set("height", figure(height)).set("fill", "#fff"))
        .add(words(&fit_text(title, 20.0, room), (MARGIN, 38.0), "title", "start"))
        .add(words(&fit_text(note, 13.0, room), (MARGIN, 60.0), "note", "start"))
}

fn whole(drawing: &Document) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{drawing}\n")
}

fn words(text: &str, (x, y): (f64, f64), class: &str, anchor: &str) -> Text {
    Text::new(visible(text)).set("x", figure(x)).set("y", figure(y)).set("class", class).set("text-anchor", anchor)
}

fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) -> Line {
    Line::new()
        .set("x1", figure(x1))
        .set("y1", figure(y1))
        .set("x2", figure(x2))
        .set("y2", figure(y2))
        .set("class", class)
}

/// A place on the page to a tenth of a pixel.
fn figure(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A share in per cent, without decimals unless it is small.
fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.01 { format!("{:.1} %", share * 100.0) } else { format!("{:.0} %", share * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_with_round_ticks() {
        for (low, high, shown) in [
            (1.0, 5.0, &["1", "2", "3", "4", "5"][..]),
            (0.0, 0.0, &["-0.4", "-0.2", "0.0", "0.2", "0.4"]),
            (-3.2, 17.0, &["0", "5", "10", "15"]),
            (0.011, 0.019, &["0.012", "0.014", "0.016", "0.018"]),
            (0.0, 1.4e6, &["0", "250000", "500000", "750000", "1000000", "1250000"]),
        ] {
            let axis = Axis::around(low, high);
            let ticks: Vec<String> = axis.ticks.iter().map(|tick| format!("{tick:.*}", axis.decimals)).collect();
            assert_eq!(ticks, shown, "{axis:?}");
            assert!(axis.place(low) >= 0.0 && axis.place(high) <= 1.0);
            assert!(axis.ticks.iter().all(|tick| (0.0..=1.0).contains(&axis.place(*tick))));
        }
    }
}
