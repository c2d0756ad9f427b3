//! Whether probabilities are what they say: the share of right labels at each probability, and how many documents have it.

use svg::node::element::{Circle, Group, Polyline, Rectangle, Title};

use super::{Axis, Frame, figure, line, page, percent, whole, words};
use crate::classify::Calibration;
use crate::map::text::grouped;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 660.0;
const PLOT: Frame = Frame { left: 92.0, top: 84.0, width: 500.0, height: 380.0 };
const COUNTS: Frame = Frame { left: 92.0, top: 520.0, width: 500.0, height: 80.0 };
const COLOUR: &str = "#10549c";

/// Draws the bins under `title`.
pub(crate) fn calibration_chart(calibration: &Calibration, title: &str, note: &str) -> String {
    let axis = Axis::share();
    let most = calibration.bins.iter().map(|bin| bin.documents).max().unwrap_or(1).max(1) as f64;
    let (mut points, mut dots, mut bars) = (Vec::new(), Group::new(), Group::new());
    for bin in &calibration.bins {
        let (x, y) = (PLOT.x(bin.probability), PLOT.y(bin.accuracy));
        let told = format!(
            "{} documents with a mean probability of {:.2}: {} right",
            grouped(bin.documents),
            bin.probability,
            percent(bin.accuracy)
        );
        points.push(format!("{},{}", figure(x), figure(y)));
        let dot = Circle::new().set("cx", figure(x)).set("cy", figure(y)).set("r", 5).set("fill", COLOUR);
        dots = dots.add(Group::new().add(Title::new(told.clone())).add(dot));
        let height = bin.documents as f64 / most * COUNTS.height;
        let bar = Rectangle::new()
            .set("x", figure(COUNTS.x(bin.low) + 2.0))
            .set("y", figure(COUNTS.y(0.0) - height))
            .set("width", figure((bin.high - bin.low) * COUNTS.width - 4.0))
            .set("height", figure(height))
            .set("fill", COLOUR)
            .set("fill-opacity", 0.55);
        bars = bars.add(Group::new().add(Title::new(told)).add(bar));
    }
    let curve = Polyline::new()
        .set("points", points.join(" "))
        .set("fill", "none")
        .set("stroke", COLOUR)
        .set("stroke-width", 2);
    let drawing = page(WIDTH, HEIGHT, title, note)
        .add(PLOT.grid((&axis, "probability of the predicted label"), (&axis, "share that is right")))
        .add(line((PLOT.x(0.0), PLOT.y(0.0)), (PLOT.x(1.0), PLOT.y(1.0)), "ideal"))
        .add(curve)
        .add(dots)
        .add(line((COUNTS.x(0.0), COUNTS.y(0.0)), (COUNTS.x(1.0), COUNTS.y(0.0)), "grid"))
        .add(bars)
        .add(words(&grouped(most as usize), (COUNTS.left - 8.0, COUNTS.top + 8.0), "tick", "end"))
        .add(words("documents", (COUNTS.x(0.5), COUNTS.y(0.0) + 22.0), "note", "middle"));
    whole(&drawing)
}
