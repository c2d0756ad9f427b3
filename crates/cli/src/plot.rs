//! The curves of a training run as an SVG file: loss above, token accuracy below, over the same steps.

use anser_core::TrainingMetrics;
use svg::Document;
use svg::node::element::{Circle, Group, Line, Polyline, Rectangle, Style, Text, Title};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 640.0;
const LOSS: Panel = Panel { top: 84.0, height: 292.0 };
const ACCURACY: Panel = Panel { top: 412.0, height: 168.0 };
const LEFT: f64 = 72.0;
const RIGHT: f64 = 750.0;
const LEGEND: f64 = 774.0;

/// Colours that people with any of the three common colour-vision deficiencies can tell apart, after Krzywinski,
/// "Designing for color blindness", 2012.
const TRAINING: &str = "#008df9";
const VALIDATION: &str = "#ff6e3a";
const FULL_VALIDATION: &str = "#9f0162";

/// Steps to either side over which the thick line of the training curve is averaged, as a share of all steps.
const SMOOTHED_SHARE: f64 = 0.025;

/// A loss that is not below this is no longer a figure but an accident.
const HIGHEST_LOSS: f64 = 1e9;

/// Looks, in one place. Fonts are the reader's own, so that every script can be shown.
const STYLE: &str = "text{font-family:system-ui,'Segoe UI','Noto Sans','Noto Sans CJK SC','DejaVu Sans',sans-serif;\
    fill:#1f2933}.title{font-size:20px;font-weight:600}.note{font-size:13px;fill:#616e7c}.tick{font-size:11px;fill:#7b8794}\
    .grid{stroke:#e4e7eb;stroke-width:1}.legend{font-size:13px}polyline{fill:none;stroke-linejoin:round}\
    .raw{stroke-width:1;stroke-opacity:.35}.curve{stroke-width:2.2}";

/// Where one of the two diagrams lies on the page, in pixels from the top.
#[derive(Clone, Copy)]
struct Panel {
    top: f64,
    height: f64,
}

/// One curve: a value for some of the steps.
struct Curve {
    name: &'static str,
    colour: &'static str,
    /// Whether single values are noisy, so that a running mean is drawn over them; else each value gets a dot.
    noisy: bool,
    points: Vec<(f64, f64)>,
}

/// Draws the curves of `metrics` under the heading `title`. Figures that no diagram can show are left out.
pub(crate) fn training_curves(title: &str, metrics: &[TrainingMetrics]) -> String {
    let loss = [
        curve("training", TRAINING, metrics, |m| Some(m.train_loss)),
        curve("validation, one batch", VALIDATION, metrics, |m| m.valid_loss),
        curve("validation, all of it", FULL_VALIDATION, metrics, |m| m.full_valid_loss),
    ];
    let accuracy = [
        curve("training", TRAINING, metrics, |m| Some(m.train_token_accuracy)),
        curve("validation, one batch", VALIDATION, metrics, |m| m.valid_token_accuracy),
        curve("validation, all of it", FULL_VALIDATION, metrics, |m| m.full_valid_token_accuracy),
    ];
    let steps = metrics.iter().map(|m| m.step).max().unwrap_or(1).max(2) as f64;
    let highest = loss.iter().flat_map(|c| &c.points).map(|p| p.1).fold(0.0, f64::max);
    let loss_axis = Scale::new(LOSS, steps, if highest > 0.0 { highest } else { 1.0 });
    let accuracy_axis = Scale::new(ACCURACY, steps, 1.0);
    let drawing = Document::new()
        .set("xmlns", "http://www.w3.org/2000/svg")
        .set("viewBox", format!("0 0 {WIDTH} {HEIGHT}"))
        .set("width", WIDTH)
        .set("height", HEIGHT)
        .set("role", "img")
        .add(Title::new(visible(title)))
        .add(Style::new(STYLE))
        .add(Rectangle::new().set("width", WIDTH).set("height", HEIGHT).set("fill", "#fff"))
        .add(text(title, (LEFT, 40.0), "title"))
        .add(text(&summary(metrics), (LEFT, 62.0), "note"))
        .add(axes(&loss_axis, "loss (nats)"))
        .add(axes(&accuracy_axis, "token accuracy"))
        .add(text("step", (f64::midpoint(LEFT, RIGHT), HEIGHT - 22.0), "note").set("text-anchor", "middle"))
        .add(curves(&loss_axis, &loss))
        .add(curves(&accuracy_axis, &accuracy))
        .add(legend(&loss));
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{drawing}\n")
}

fn curve(
    name: &'static str,
    colour: &'static str,
    metrics: &[TrainingMetrics],
    value: impl Fn(&TrainingMetrics) -> Option<f64>,
) -> Curve {
    let points =
        metrics.iter().filter_map(|m| Some((m.step as f64, value(m)?))).filter(|p| p.1.abs() < HIGHEST_LOSS).collect();
    Curve { name, colour, noisy: colour == TRAINING, points }
}

/// The last figures, in words.
fn summary(metrics: &[TrainingMetrics]) -> String {
    let Some(last) = metrics.last() else { return "no step was made".to_owned() };
    let valid = metrics.iter().rev().find_map(|m| m.full_valid_loss.or(m.valid_loss));
    let valid = valid.map(|loss| format!(", validation loss {loss:.3}")).unwrap_or_default();
    format!(
        "step {} of {}, epoch {:.1}: training loss {:.3}, token accuracy {:.3}{valid}",
        last.step, last.total_steps, last.epoch, last.train_loss, last.train_token_accuracy
    )
}

/// From steps and values to the page.
struct Scale {
    panel: Panel,
    steps: f64,
    highest: f64,
    value_step: f64,
}

impl Scale {
    fn new(panel: Panel, steps: f64, highest: f64) -> Self {
        let value_step = round_step(highest / 4.0);
        Self { panel, steps, highest: (highest / value_step).ceil() * value_step, value_step }
    }

    fn place(&self, (step, value): (f64, f64)) -> (f64, f64) {
        let across = (step - 1.0) / (self.steps - 1.0);
        let up = (value / self.highest).clamp(0.0, 1.0);
        (LEFT + across * (RIGHT - LEFT), self.panel.top + (1.0 - up) * self.panel.height)
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `rough`.
fn round_step(rough: f64) -> f64 {
    let base = 10_f64.powf(rough.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * base).find(|s| *s >= rough * 0.999).unwrap_or(base * 10.0)
}

fn axes(scale: &Scale, what: &str) -> Group {
    let mut group = Group::new();
    let decimals = (-scale.value_step.log10().floor()).max(0.0) as usize;
    let lines = (scale.highest / scale.value_step).round() as u32;
    for value in (0..=lines).map(|n| f64::from(n) * scale.value_step) {
        let y = scale.place((1.0, value)).1;
        group = group
            .add(line((LEFT, y), (RIGHT, y)))
            .add(text(&format!("{value:.decimals$}"), (LEFT - 8.0, y + 4.0), "tick").set("text-anchor", "end"));
    }
    let step = round_step(scale.steps / 8.0).max(1.0);
    let bottom = scale.panel.top + scale.panel.height;
    let ticks = (1..).map(|n| f64::from(n) * step).take_while(|tick| *tick <= scale.steps);
    for tick in std::iter::once(1.0).chain(ticks.filter(|tick| *tick > 1.0)) {
        let x = scale.place((tick, 0.0)).0;
        group = group
            .add(line((x, scale.panel.top), (x, bottom)))
            .add(text(&format!("{tick:.0}"), (x, bottom + 16.0), "tick").set("text-anchor", "middle"));
    }
    let (beside, half) = (22.0, scale.panel.top + scale.panel.height / 2.0);
    group.add(
        text(what, (beside, half), "note")
            .set("text-anchor", "middle")
            .set("transform", format!("rotate(-90 {beside} {half})")),
    )
}

fn curves(scale: &Scale, curves: &[Curve]) -> Group {
    curves.iter().fold(Group::new(), |group, curve| {
        if curve.points.is_empty() {
            return group;
        }
        if curve.noisy {
            let window = (scale.steps * SMOOTHED_SHARE).ceil() as usize;
            return group.add(polyline(scale, &curve.points, curve.colour, "raw")).add(polyline(
                scale,
                &running_mean(&curve.points, window),
                curve.colour,
                "curve",
            ));
        }
        let dots = curve.points.iter().fold(Group::new(), |dots, point| {
            let (x, y) = scale.place(*point);
            dots.add(Circle::new().set("cx", pixels(x)).set("cy", pixels(y)).set("r", 3).set("fill", curve.colour))
        });
        group.add(polyline(scale, &curve.points, curve.colour, "curve")).add(dots)
    })
}

/// Each value replaced by the mean of those around it, `window` to either side as far as there are any.
fn running_mean(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    (0..points.len())
        .map(|at| {
            let around = &points[at.saturating_sub(window)..(at + window + 1).min(points.len())];
            (points[at].0, around.iter().map(|p| p.1).sum::<f64>() / around.len() as f64)
        })
        .collect()
}

fn polyline(scale: &Scale, points: &[(f64, f64)], colour: &str, class: &str) -> Polyline {
    let corners: Vec<String> = points
        .iter()
        .map(|point| {
            let (x, y) = scale.place(*point);
            format!("{},{}", pixels(x), pixels(y))
        })
        .collect();
    Polyline::new().set("points", corners.join(" ")).set("stroke", colour).set("class", class)
}

fn legend(curves: &[Curve]) -> Group {
    let drawn = curves.iter().filter(|curve| !curve.points.is_empty());
    drawn.enumerate().fold(Group::new(), |group, (row, curve)| {
        let y = LOSS.top + 12.0 + row as f64 * 24.0;
        let stroke = Line::new()
            .set("x1", LEGEND)
            .set("x2", LEGEND + 18.0)
            .set("y1", y)
            .set("y2", y)
            .set("stroke", curve.colour)
            .set("stroke-width", 3);
        group.add(stroke).add(text(curve.name, (LEGEND + 26.0, y + 4.5), "legend"))
    })
}

fn text(content: &str, (x, y): (f64, f64), class: &str) -> Text {
    Text::new(visible(content)).set("x", pixels(x)).set("y", pixels(y)).set("class", class)
}

fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> Line {
    Line::new()
        .set("x1", pixels(x1))
        .set("y1", pixels(y1))
        .set("x2", pixels(x2))
        .set("y2", pixels(y2))
        .set("class", "grid")
}

fn pixels(value: f64) -> String {
    format!("{value:.1}")
}

/// Without the characters that XML forbids even when escaped.
fn visible(text: &str) -> String {
    text.chars().filter(|c| !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    fn step(step: usize, train_loss: f64) -> TrainingMetrics {
        TrainingMetrics { step, total_steps: 40, train_loss, train_token_accuracy: 0.5, ..TrainingMetrics::default() }
    }

    /// Elements of a drawing by name. Fails when it is not well-formed.
    fn elements(drawing: &str, wanted: &str) -> usize {
        let mut reader = Reader::from_str(drawing);
        reader.config_mut().check_end_names = true;
        let mut found = 0;
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) | Event::Empty(tag) => found += usize::from(tag.name().as_ref() == wanted),
                Event::Eof => return found,
                _ => {}
            }
        }
    }

    #[test]
    fn every_curve_with_values_is_drawn_and_named() {
        let mut metrics: Vec<_> = (1..=40).map(|n| step(n, 4.0 / n as f64)).collect();
        let without = training_curves("ft:a & b <c>", &metrics);
        assert_eq!(elements(&without, "polyline"), 4, "a raw and a smooth one for loss and accuracy");
        assert!(without.contains("ft:a &amp; b &lt;c>") || without.contains("ft:a &amp; b &lt;c&gt;"), "{without}");
        assert!(!without.contains("validation, all of it"));

        for at in [9, 19, 39] {
            metrics[at].full_valid_loss = Some(1.0);
            metrics[at].full_valid_token_accuracy = Some(0.7);
        }
        let with = training_curves("run", &metrics);
        assert_eq!((elements(&with, "polyline"), elements(&with, "circle")), (6, 6));
        assert!(with.contains("validation, all of it") && with.contains("validation loss 1.000"));
    }

    #[test]
    fn the_last_step_lies_at_the_right_and_the_highest_loss_below_the_top() {
        let scale = Scale::new(LOSS, 40.0, 4.0);
        assert_eq!(scale.place((1.0, 0.0)), (LEFT, LOSS.top + LOSS.height));
        assert_eq!(scale.place((40.0, 4.0)), (RIGHT, LOSS.top));
        for (rough, round) in [(0.3, 0.5), (1.0, 1.0), (2.1, 5.0), (7.0, 10.0)] {
            assert!((round_step(rough) - round).abs() < 1e-9, "{rough}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_figures_are_the_drawing_is_well_formed(
            losses in proptest::collection::vec(prop_oneof![any::<f64>(), 0.0..9.0], 0..30)
        ) {
            let mut metrics: Vec<_> = losses.iter().enumerate().map(|(at, loss)| step(at + 1, *loss)).collect();
            metrics.push(step(metrics.len() + 1, 1.0));
            let drawing = training_curves("\u{0} odd \u{1b}[1m", &metrics);
            prop_assert!(elements(&drawing, "svg") == 1 && !drawing.contains("NaN") && !drawing.contains("inf"));
        }
    }
}
