//! What the colours mean: a list of groups with counts, or a bar of colours with numbers.

use svg::node::element::{Group, Rectangle};

use super::drawing::{pixels, text};
use super::layout::Rect;
use super::marks::{Mark, Range, ramp};
use super::text::{fit_text, grouped, number, text_width, wrap_text};
use super::{Colouring, DocumentMap};

const SIZE: f32 = 13.5;
const COUNT_SIZE: f32 = 12.5;
/// Height of a line of an entry, and of the space between entries.
const LINE: f32 = 17.0;
const SPACE: f32 = 9.0;
/// With no more groups than this, names may take two lines.
const ROOMY_GROUPS: usize = 18;
/// What stands for points without a group or value.
pub(super) const NONE: &str = "none";

/// Draws the legend into `frame`.
pub(super) fn legend(map: &DocumentMap, frame: &Rect) -> Group {
    match &map.colouring {
        Colouring::Groups { labels, .. } => groups(map, labels, frame),
        Colouring::Scale { values, name } => bar(map, values, name, frame),
    }
}

fn groups(map: &DocumentMap, labels: &[String], frame: &Rect) -> Group {
    let (counts, none) = map.colouring.counts();
    let mut entries: Vec<(Mark, &str, usize)> = labels
        .iter()
        .zip(&counts)
        .enumerate()
        .map(|(group, (label, count))| (map.colouring.mark_of_group(group as u32), label.as_str(), *count))
        .collect();
    if none > 0 {
        entries.push((Mark::none(), NONE, none));
    }
    let lines = if entries.len() <= ROOMY_GROUPS { 2 } else { 1 };
    let mut group = Group::new();
    let mut y = frame.top + 16.0;
    for (at, (mark, label, count)) in entries.iter().enumerate() {
        let last = at + 1 == entries.len();
        // The last line is kept for what does not fit, unless nothing follows.
        if y + lines as f32 * LINE > frame.bottom() - if last { 0.0 } else { LINE + SPACE } {
            let more = format!("and {} more groups", grouped(entries.len() - at));
            return group.add(text(&more, (frame.left + 24.0, y), "count"));
        }
        let count = grouped(*count);
        let room = frame.width - 24.0 - text_width(&count, COUNT_SIZE) - 12.0;
        group = group
            .add(mark.element((frame.left + 8.0, y - 4.5), 6.0))
            .add(text(&count, (frame.right(), y), "count").set("text-anchor", "end"));
        let words = wrap_text(label, SIZE, room, lines);
        for (at, words) in words.iter().enumerate() {
            group = group.add(text(words, (frame.left + 24.0, y + at as f32 * LINE), "entry"));
        }
        y += words.len() as f32 * LINE + SPACE;
    }
    group
}

/// A bar of colours, high values on top.
fn bar(map: &DocumentMap, values: &[Option<f64>], name: &str, frame: &Rect) -> Group {
    const STEPS: u16 = 96;
    const BAR_WIDTH: f32 = 22.0;
    let mut group = Group::new().add(text(&fit_text(name, SIZE, frame.width), (frame.left, frame.top + 16.0), "entry"));
    let column = Rect { left: frame.left, top: frame.top + 34.0, width: BAR_WIDTH, height: 320.0 };
    let mut below = column.top;
    if let Some(range) = Range::of(values) {
        let step = column.height / f32::from(STEPS);
        for at in 0..STEPS {
            let share = 1.0 - (f64::from(at) + 0.5) / f64::from(STEPS);
            let slice = Rectangle::new()
                .set("x", pixels(column.left))
                .set("y", format!("{:.2}", column.top + f32::from(at) * step))
                .set("width", BAR_WIDTH)
                // A little more than its share, so that no gap shows between two slices.
                .set("height", format!("{:.2}", step + if at + 1 < STEPS { 0.5 } else { 0.0 }))
                .set("fill", ramp(share))
                .set("shape-rendering", "crispEdges");
            group = group.add(slice);
        }
        let outline = Rectangle::new()
            .set("x", pixels(column.left))
            .set("y", pixels(column.top))
            .set("width", BAR_WIDTH)
            .set("height", pixels(column.height))
            .set("fill", "none");
        group = group.add(outline.set("class", "bar"));
        for (words, share) in scale_ticks(range) {
            let y = column.bottom() - column.height * share as f32;
            group = group.add(text(&words, (column.right() + 10.0, y + 4.5), "count"));
        }
        below = column.bottom() + 34.0;
    }
    let (_, none) = map.colouring.counts();
    if none > 0 {
        group = group
            .add(Mark::none().element((frame.left + 8.0, below - 4.5), 6.0))
            .add(text(NONE, (frame.left + 24.0, below), "entry"))
            .add(text(&grouped(none), (frame.right(), below), "count").set("text-anchor", "end"));
    }
    group
}

/// The numbers beside a scale and where they stand, from 0 to 1: both ends, and round ones between them that keep clear of
/// the ends.
pub(super) fn scale_ticks(range: Range) -> Vec<(String, f64)> {
    let width = range.high - range.low;
    if width <= 0.0 || !width.is_finite() {
        return vec![(number(range.low), 0.5)];
    }
    let (below, above) = if range.open { ("≤ ", "≥ ") } else { ("", "") };
    let rough = width / 5.0;
    let base = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * base).find(|s| *s >= rough).unwrap_or(base * 10.0);
    let mut ticks = vec![(format!("{below}{}", number(range.low)), 0.0)];
    let first = (range.low / step).ceil();
    for at in 0..12 {
        let value = (first + f64::from(at)) * step;
        let share = (value - range.low) / width;
        if (0.07..0.93).contains(&share) {
            ticks.push((number(value), share));
        }
    }
    ticks.push((format!("{above}{}", number(range.high)), 1.0));
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_has_both_ends_and_round_numbers_between() {
        let ticks = scale_ticks(Range { low: 0.5, high: 5.2, open: false });
        let words: Vec<&str> = ticks.iter().map(|(words, _)| words.as_str()).collect();
        assert_eq!(words, ["0.5", "1", "2", "3", "4", "5.2"]);
        assert!(ticks.windows(2).all(|pair| pair[0].1 < pair[1].1));
        let open = scale_ticks(Range { low: -10.0, high: 990.0, open: true });
        assert_eq!((open[0].0.as_str(), open[open.len() - 1].0.as_str()), ("≤ -10", "≥ 990"));
        assert_eq!(scale_ticks(Range { low: 3.0, high: 3.0, open: false }), [("3".to_owned(), 0.5)]);
    }
}
