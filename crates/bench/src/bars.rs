//! Bars: every contender's median beside the others', with a line from the lowest to the highest measurement.

use svg::node::element::Rectangle;

use crate::contest::ANSER;
use crate::drawing::{Anchor, Canvas, Label, WIDTH, fitted, rounded, width};
use crate::report::Row;
use crate::wording::number;

const LEFT: f64 = 12.0;
const RIGHT: f64 = 12.0;
/// Height of a figure's name, and of the air before it.
const HEAD: f64 = 40.0;
/// Height of a contender: a line of text above a bar.
const ROW: f64 = 34.0;
const BAR: f64 = 9.0;
const FOOT: f64 = 12.0;
/// Half the height of the ends of a spread's line.
const CAP: f64 = 5.0;

/// All figures of a workload, one below the other, each with a scale of its own that begins at 0.
pub(crate) fn bars(title: &str, rows: &[Row]) -> String {
    let figures: Vec<&[Row]> = rows.chunk_by(|a, b| a.figure == b.figure && a.unit == b.unit).collect();
    let height = figures.len() as f64 * HEAD + rows.len() as f64 * ROW + FOOT;
    let mut canvas = Canvas::new(title, height);
    let mut top = 0.0;
    for rows in figures {
        figure(&mut canvas, top, rows);
        top += HEAD + ROW * rows.len() as f64;
    }
    canvas.finish()
}

fn figure(canvas: &mut Canvas, top: f64, rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    let direction = if first.less_is_better { ", less is better" } else { "" };
    let unit = format!("{}{direction}", first.unit);
    let room = WIDTH - LEFT - RIGHT;
    let name = fitted(&first.figure, 13.0, room - width(&unit, 12.0) - 16.0);
    canvas.label(&Label::at(LEFT, top + 26.0, &name).size(13.0).bold());
    canvas.label(&Label::at(WIDTH - RIGHT, top + 26.0, &unit).anchor(Anchor::End).faint());
    let most = rows.iter().map(|row| row.spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let place = |value: f64| LEFT + (value.max(0.0) / most).min(1.0) * room;
    let (begin, end) = (top + HEAD, top + HEAD + ROW * rows.len() as f64);
    canvas.line("axis", (LEFT, begin - 6.0), (LEFT, end - 6.0));
    for (at, row) in rows.iter().enumerate() {
        let line = begin + ROW * at as f64 + 8.0;
        let spread = &row.spread;
        let value = if spread.runs > 1 {
            format!("{} ({} .. {})", number(spread.median), number(spread.min), number(spread.max))
        } else {
            number(spread.median)
        };
        let name = fitted(&row.contender, 12.0, room - width(&value, 12.0) - 16.0);
        canvas.label(&Label::at(LEFT + 4.0, line, &name));
        canvas.label(&Label::at(WIDTH - RIGHT, line, &value).anchor(Anchor::End));
        let bar = Rectangle::new()
            .set("x", LEFT)
            .set("y", rounded(line + 5.0))
            .set("width", rounded(place(spread.median) - LEFT))
            .set("height", BAR)
            .set("class", if row.contender.starts_with(ANSER) { "ours" } else { "theirs" });
        canvas.add(bar);
        if spread.runs > 1 {
            let middle = line + 5.0 + BAR / 2.0;
            let (low, high) = (place(spread.min), place(spread.max));
            canvas.line("spread", (low, middle), (high, middle));
            for edge in [low, high] {
                canvas.line("spread", (edge, middle - CAP), (edge, middle + CAP));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Spread;

    fn row(figure: &str, contender: &str, values: &[f64]) -> Row {
        Row {
            figure: figure.into(),
            unit: "1/s",
            contender: contender.into(),
            spread: Spread::of(values).unwrap(),
            less_is_better: false,
            ratio: None,
            quality: None,
            share_of_limit: None,
        }
    }

    #[test]
    fn every_row_has_a_bar_its_name_and_its_value() {
        let rows = [
            row("one", "Anser", &[90.0, 100.0, 120.0]),
            row("one", "a peer & <more>", &[40.0, 50.0, 60.0]),
            row("two", "Anser", &[7.0]),
            row("two", &"a long name of a peer ".repeat(9), &[0.0, 0.0]),
        ];
        let drawn = bars("t", &rows);
        assert_eq!(drawn.matches("<rect").count(), 4);
        assert_eq!((drawn.matches("\"ours\"").count(), drawn.matches("\"theirs\"").count()), (2, 2));
        // A line and two ends wherever there were several runs.
        assert_eq!(drawn.matches("\"spread\"").count(), 9);
        // Two labels for each figure and each row, and none was left out for lack of room.
        assert_eq!(drawn.matches("<text").count(), 12, "{drawn}");
        assert!(drawn.contains("a peer &amp; &lt;more&gt;") && drawn.contains("100 (90.0 .. 120)"), "{drawn}");
        // The median of 100 beside a highest of 120.
        assert!(drawn.contains("width=\"580\""), "{drawn}");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"));
    }
}
