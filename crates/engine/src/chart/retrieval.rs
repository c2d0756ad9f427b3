//! Ways of searching side by side: one group of bars for each figure.

use svg::node::element::{Group, Rectangle};

use super::{Axis, Frame, figure, line, page, whole, words};
use crate::evaluate::{Estimate, RetrievalEvaluation};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 560.0;
const PLOT: Frame = Frame { left: 72.0, top: 112.0, width: 850.0, height: 370.0 };

/// Colours that people with any of the three common colour-vision deficiencies can tell apart, after Krzywinski,
/// "Designing for color blindness", 2012.
const COLOURS: [&str; 4] = ["#9f0162", "#ff6e3a", "#008df9", "#00c2a5"];

/// Draws nDCG, recall, MRR and MAP of each way of searching with their intervals.
pub(crate) fn retrieval_chart(found: &RetrievalEvaluation) -> String {
    let note = format!("{} queries; lines span the 95 % intervals", found.queries);
    let recall = format!("recall@{}", found.k);
    let axis = Axis::share();
    let mut drawing = page(WIDTH, HEIGHT, &format!("Retrieval from {}", found.collection), &note);
    for tick in &axis.ticks {
        let y = PLOT.y(axis.place(*tick));
        drawing = drawing.add(line((PLOT.left, y), (PLOT.x(1.0), y), "grid")).add(words(
            &format!("{tick:.1}"),
            (PLOT.left - 8.0, y + 4.0),
            "tick",
            "end",
        ));
    }
    let groups = ["nDCG@10", &recall, "MRR@10", "MAP"];
    let wide = PLOT.width / groups.len() as f64;
    let bar = wide * 0.8 / found.methods.len().max(1) as f64;
    for (group, name) in groups.iter().enumerate() {
        let left = PLOT.left + wide * (group as f64 + 0.1);
        drawing = drawing.add(words(name, (left + wide * 0.4, PLOT.y(0.0) + 22.0), "note", "middle"));
        for (at, figures) in found.methods.iter().enumerate() {
            let value = [figures.ndcg_at_10, figures.recall_at_k, figures.mrr_at_10, figures.map][group];
            drawing = drawing.add(drawn_bar(&value, left + bar * at as f64, bar, COLOURS[at % COLOURS.len()]));
        }
    }
    for (at, figures) in found.methods.iter().enumerate() {
        let x = PLOT.left + at as f64 * 190.0;
        drawing = drawing.add(rectangle((x, HEIGHT - 34.0), (14.0, 14.0), COLOURS[at % COLOURS.len()])).add(words(
            figures.method.name(),
            (x + 22.0, HEIGHT - 22.0),
            "note",
            "start",
        ));
    }
    whole(&drawing)
}

/// A bar with its figure above and its interval as a line.
fn drawn_bar(value: &Estimate, left: f64, width: f64, colour: &str) -> Group {
    let (top, bottom, middle) = (PLOT.y(value.mean), PLOT.y(0.0), left + width * 0.46);
    let (low, high) = (PLOT.y(value.low), PLOT.y(value.high));
    Group::new()
        .add(rectangle((left, top), (width * 0.92, bottom - top), colour))
        .add(line((middle, low), (middle, high), "interval").set("stroke", "#1f2933").set("stroke-width", 1.5))
        .add(words(&format!("{:.3}", value.mean), (middle, high - 5.0), "tick", "middle"))
}

fn rectangle((x, y): (f64, f64), (width, height): (f64, f64), colour: &str) -> Rectangle {
    Rectangle::new()
        .set("x", figure(x))
        .set("y", figure(y))
        .set("width", figure(width))
        .set("height", figure(height))
        .set("fill", colour)
}
