//! True against predicted numbers.

use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use svg::node::element::{Circle, Group};

use super::{Axis, Frame, figure, line, page, whole, words};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 720.0;
const PLOT: Frame = Frame { left: 92.0, top: 84.0, width: 620.0, height: 560.0 };

/// Most documents drawn; of more a random sample is.
const DRAWN: usize = 5000;

/// Different true values up to which points of one value are spread a little, so that they do not hide each other.
const SPREAD_UP_TO: usize = 40;

/// What the chart shows.
pub(crate) struct PredictedChart<'a> {
    pub(crate) title: &'a str,
    pub(crate) note: &'a str,
    /// What the number is called.
    pub(crate) name: &'a str,
    /// True and predicted values, all finite.
    pub(crate) pairs: &'a [(f64, f64)],
}

/// Draws every document as a point; on the dashed line prediction and truth are the same.
pub(crate) fn predicted_chart(chart: &PredictedChart<'_>) -> String {
    let ends =
        |pick: fn(f64, f64) -> f64, start: f64| chart.pairs.iter().fold(start, |m, (a, b)| pick(m, pick(*a, *b)));
    let (low, high) = (ends(f64::min, f64::INFINITY), ends(f64::max, f64::NEG_INFINITY));
    let axis = if low.is_finite() && high.is_finite() { Axis::around(low, high) } else { Axis::share() };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let drawn = if chart.pairs.len() > DRAWN {
        sample(&mut rng, chart.pairs.len(), DRAWN).into_vec()
    } else {
        (0..chart.pairs.len()).collect()
    };
    let mut values: Vec<f64> = chart.pairs.iter().map(|(value, _)| *value).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let spread = if values.len() <= SPREAD_UP_TO { PLOT.width / values.len().max(1) as f64 * 0.35 } else { 0.0 };
    let spread = spread.min(PLOT.width / axis.ticks.len().max(2) as f64 * 0.3);
    let mut points =
        Group::new().set("fill", "#10549c").set("fill-opacity", if drawn.len() > 1500 { 0.28 } else { 0.42 });
    for (turn, at) in drawn.into_iter().enumerate() {
        let (value, predicted) = chart.pairs[at];
        // The golden ratio's multiples fill an interval evenly.
        let aside = ((turn as f64 * 0.618_033_988_75).fract() - 0.5) * spread;
        let (x, y) = (PLOT.x(axis.place(value)) + aside, PLOT.y(axis.place(predicted)));
        points = points.add(Circle::new().set("cx", figure(x)).set("cy", figure(y)).set("r", 3.2));
    }
    let left_out = chart.pairs.len() > DRAWN;
    let drawing = page(WIDTH, HEIGHT, chart.title, chart.note)
        .add(PLOT.grid((&axis, &format!("true {}", chart.name)), (&axis, &format!("predicted {}", chart.name))))
        .add(line((PLOT.x(0.0), PLOT.y(0.0)), (PLOT.x(1.0), PLOT.y(1.0)), "ideal"))
        .add(points)
        .add(words(
            if left_out { "a random sample of 5,000 documents is drawn" } else { "" },
            (PLOT.x(1.0), PLOT.y(0.0) + 62.0),
            "tick",
            "end",
        ));
    whole(&drawing)
}
