//! Curves of what was measured: each series in a panel of its own below a common axis, both axes logarithmic.

use std::fs;
use std::path::Path;

use serde::Serialize;
use svg::node::element::{Circle, Polyline};

use crate::drawing::{Anchor, Canvas, Label, WIDTH, fitted, rounded};
use crate::error::BenchError;

const PANEL: f64 = 150.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 44.0;
/// Space above the curve of a panel, for its name.
const HEAD: f64 = 30.0;

/// Several curves over the same axis.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Plot {
    /// Names its file.
    pub(crate) name: String,
    pub(crate) title: String,
    /// What the axis counts.
    pub(crate) x: String,
    pub(crate) series: Vec<Series>,
}

/// A curve.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Series {
    /// What it shows, with its unit.
    pub(crate) name: String,
    /// In order of the axis; all numbers above 0.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A logarithmic axis from one number to another.
struct Axis {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

impl Axis {
    /// An axis over `values`, between the places `from` and `to`, with a little air at both ends.
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| *value > 0.0) {
            low = low.min(value.log10());
            high = high.max(value.log10());
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let air = ((high - low) * 0.06).max(0.05);
        Self { from, to, low: low - air, high: high + air }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value.max(f64::MIN_POSITIVE).log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// 1, 2 and 5 times the powers of ten within the axis; the powers alone where there would be many.
    fn ticks(&self) -> Vec<f64> {
        let decades = self.low.floor() as i32..=self.high.ceil() as i32;
        let steps: &[f64] = if self.high - self.low > 1.6 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
        all.filter(|tick| (self.low..=self.high).contains(&tick.log10())).collect()
    }
}

impl Plot {
    /// Writes the drawing as `<name>.svg` into `folder`, which is created.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), BenchError> {
        fs::create_dir_all(folder).map_err(BenchError::io("create the folder", folder))?;
        let path = folder.join(format!("{}.svg", self.name));
        fs::write(&path, self.svg()).map_err(BenchError::io("write", &path))
    }

    /// The drawing as an XML element.
    pub(crate) fn svg(&self) -> String {
        let height = TOP + PANEL * self.series.len() as f64 + BOTTOM;
        let x = Axis::over(self.points().map(|(x, _)| x), LEFT, WIDTH - RIGHT);
        let mut canvas = Canvas::new(&self.title, height);
        canvas.label(&Label::at(LEFT, 26.0, &fitted(&self.title, 16.0, WIDTH - LEFT - RIGHT)).size(16.0));
        canvas.label(&Label::at(WIDTH / 2.0, height - 8.0, &self.x).anchor(Anchor::Middle));
        let base = height - BOTTOM;
        for tick in x.ticks() {
            let place = x.place(tick);
            canvas.line("rule", (place, TOP), (place, base));
            canvas.label(&Label::at(place, base + 16.0, &number(tick)).anchor(Anchor::Middle));
        }
        for (at, series) in self.series.iter().enumerate() {
            series.draw(&mut canvas, TOP + PANEL * at as f64, &x);
        }
        canvas.finish()
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|series| series.points.iter().copied())
    }
}

impl Series {
    /// Draws the curve into the panel that begins at `top`.
    fn draw(&self, canvas: &mut Canvas, top: f64, x: &Axis) {
        let y = Axis::over(self.points.iter().map(|(_, y)| *y), top + PANEL - 14.0, top + HEAD);
        canvas.label(&Label::at(LEFT, top + 18.0, &self.name).bold());
        for tick in y.ticks() {
            let place = y.place(tick);
            canvas.line("rule", (LEFT, place), (WIDTH - RIGHT, place));
            canvas.label(&Label::at(LEFT - 8.0, place + 4.0, &number(tick)).anchor(Anchor::End));
        }
        let places: Vec<(f64, f64)> = self.points.iter().map(|(px, py)| (x.place(*px), y.place(*py))).collect();
        let line: Vec<String> = places.iter().map(|(px, py)| format!("{px:.1},{py:.1}")).collect();
        canvas.add(Polyline::new().set("points", line.join(" ")).set("class", "curve").set("stroke-width", 2));
        for ((px, py), (_, value)) in places.iter().zip(&self.points) {
            canvas.add(Circle::new().set("cx", rounded(*px)).set("cy", rounded(*py)).set("r", 3).set("class", "dot"));
            let value = number(*value);
            // Where there is no room above a point there may be some below.
            let label = |y: f64| Label::at(*px, y, &value).anchor(Anchor::Middle).size(10.0);
            let _ = canvas.label(&label(py - 7.0)) || canvas.label(&label(py + 15.0));
        }
    }
}

/// A number as it is read: 1.2M, 30k, 450, 3.4.
fn number(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let decimals = usize::from(scaled < 10.0 && scaled.fract() != 0.0);
    format!("{scaled:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_holds_every_point_inside_its_frame() {
        let series = Series { name: "a & b".into(), points: vec![(1e4, 5.0), (1e5, 70.0), (1e6, 900.0)] };
        let flat = Series { name: "flat".into(), points: vec![(1e4, 7.0), (1e6, 7.0)] };
        let plot = Plot { name: "p".into(), title: "t".into(), x: "rows".into(), series: vec![series, flat] };
        let svg = plot.svg();
        assert_eq!(svg.matches("<circle").count(), 5);
        assert!(svg.contains("a &amp; b") && svg.contains("1M"), "{svg}");
        // Title, axis and names; ticks; every point's value.
        assert_eq!(svg.matches("font-size=\"10\"").count(), 5, "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn an_axis_is_logarithmic_and_has_round_ticks() {
        let axis = Axis::over([10.0, 1000.0].into_iter(), 0.0, 100.0);
        assert!((axis.place(100.0) - 50.0).abs() < 1e-9);
        assert_eq!(axis.ticks(), [10.0, 100.0, 1000.0]);
        assert_eq!((number(1_200_000.0), number(30_000.0), number(3.4)), ("1.2M".into(), "30k".into(), "3.4".into()));
    }
}
