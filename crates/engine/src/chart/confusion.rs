//! The confusion matrix as a heat map: right answers blue along the diagonal, mistakes orange beside it, each row in shares
//! of its true label.

use svg::node::element::{Group, Rectangle, Text, Title};

use super::{figure, line, page, percent, whole, words};
use crate::classify::ConfusionMatrix;
use crate::map::text::{fit_text, grouped, text_width};

/// Side of the matrix that is aimed at, and of one cell at most and at least, in pixels.
const SIDE: f64 = 820.0;
const CELLS: (f64, f64) = (13.0, 64.0);

/// Room for labels.
const LABELS: (f32, f32) = (60.0, 230.0);

/// From this size on a cell says its number.
const NUMBERED: f64 = 24.0;

const TOP: f64 = 78.0;

/// Colours of a whole share: right and wrong.
const RIGHT: [f64; 3] = [16.0, 84.0, 156.0];
const WRONG: [f64; 3] = [200.0, 68.0, 10.0];

/// Draws the matrix under `title`.
pub(crate) fn confusion_chart(matrix: &ConfusionMatrix, title: &str, note: &str) -> String {
    let count = matrix.labels.len().max(1) as f64;
    let cell = (SIDE / count).clamp(CELLS.0, CELLS.1);
    let size = (cell * 0.72).clamp(9.0, 13.0) as f32;
    let longest = matrix.labels.iter().map(|label| text_width(label, size)).fold(0.0, f32::max);
    let room = f64::from(longest.clamp(LABELS.0, LABELS.1)) + 12.0;
    // Labels above lean to the right: their height is that of their length at 60 degrees.
    let (left, top) = (28.0 + 22.0 + room, TOP + 20.0 + room * 0.88);
    let side = cell * count;
    let (width, height) = ((left + side + room * 0.5 + 28.0).max(760.0), top + side + 64.0);
    let (mut grid, mut cells) = (Group::new(), Group::new());
    for (at, label) in matrix.labels.iter().enumerate() {
        let middle = (at as f64 + 0.5) * cell;
        let shown = fit_text(label, size, room as f32 - 12.0);
        let (x, y) = (left + middle + 3.0, top - 6.0);
        grid = grid
            .add(sized(&shown, (left - 8.0, top + middle + f64::from(size) * 0.36), "end", size).add(Title::new(label)))
            .add(
                sized(&shown, (x, y), "start", size)
                    .set("transform", format!("rotate(-60 {} {})", figure(x), figure(y)))
                    .add(Title::new(label)),
            )
            .add(line((left, top + at as f64 * cell), (left + side, top + at as f64 * cell), "grid"))
            .add(line((left + at as f64 * cell, top), (left + at as f64 * cell, top + side), "grid"));
    }
    for (row, counts) in matrix.counts.iter().enumerate() {
        let total: u64 = counts.iter().sum();
        for (column, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            cells = cells.add(one_cell(matrix, (row, column), (count, total), (left, top, cell)));
        }
    }
    let frame = Rectangle::new()
        .set("x", figure(left))
        .set("y", figure(top))
        .set("width", figure(side))
        .set("height", figure(side))
        .set("fill", "none")
        .set("stroke", "#cbd2d9");
    let (x, y) = (40.0, top + side / 2.0);
    let drawing = page(width, height, title, note)
        .add(grid)
        .add(cells)
        .add(frame)
        .add(words("true label", (x, y), "note", "middle").set("transform", format!("rotate(-90 {x} {})", figure(y))))
        .add(words("predicted label", (left + side / 2.0, top + side + 22.0), "note", "middle"))
        .add(legend(left, top + side + 34.0));
    whole(&drawing)
}

/// One cell with its colour, its number where there is room, and words for whoever points at it.
fn one_cell(
    matrix: &ConfusionMatrix,
    (row, column): (usize, usize),
    (count, total): (u64, u64),
    (left, top, cell): (f64, f64, f64),
) -> Group {
    let share = count as f64 / total.max(1) as f64;
    let (x, y) = (left + column as f64 * cell, top + row as f64 * cell);
    let told = format!(
        "{} predicted as {}: {} of {} ({})",
        matrix.labels[row],
        matrix.labels[column],
        grouped(count as usize),
        grouped(total as usize),
        percent(share)
    );
    let square = Rectangle::new()
        .set("x", figure(x + 0.5))
        .set("y", figure(y + 0.5))
        .set("width", figure(cell - 1.0))
        .set("height", figure(cell - 1.0))
        .set("fill", colour(share, row == column));
    let group = Group::new().add(Title::new(told)).add(square);
    if cell < NUMBERED {
        return group;
    }
    let shown = grouped(count as usize);
    let size = (cell * 0.34).clamp(9.0, 15.0).min(cell * 1.5 / shown.len().max(1) as f64) as f32;
    let ink = if share > 0.5 { "fill:#fff" } else { "fill:#1f2933" };
    group.add(
        sized(&shown, (x + cell / 2.0, y + cell / 2.0 + f64::from(size) * 0.36), "middle", size)
            .set("style", format!("font-size:{size:.1}px;{ink}")),
    )
}

/// What the colours mean.
fn legend(left: f64, top: f64) -> Group {
    let mut group = Group::new();
    for (name, right, begin) in [("right", true, left), ("wrong", false, left + 230.0)] {
        for step in 0..10 {
            group = group.add(
                Rectangle::new()
                    .set("x", figure(begin + f64::from(step) * 11.0))
                    .set("y", figure(top))
                    .set("width", 11)
                    .set("height", 10)
                    .set("fill", colour((f64::from(step) + 0.5) / 10.0, right)),
            );
        }
        group = group.add(words(&format!("{name}, 0 to 100 %"), (begin + 116.0, top + 9.0), "tick", "start"));
    }
    group
}

/// From nearly white to the full colour; small shares are lifted, so that a few mistakes are seen.
fn colour(share: f64, right: bool) -> String {
    let full = if right { RIGHT } else { WRONG };
    let depth = 0.08 + 0.92 * share.clamp(0.0, 1.0).sqrt();
    let [red, green, blue] = full.map(|full| (255.0 + (full - 255.0) * depth).round() as u8);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn sized(text: &str, at: (f64, f64), anchor: &str, size: f32) -> Text {
    words(text, at, "cell", anchor).set("style", format!("font-size:{size:.1}px"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_told_and_labels_cannot_break_the_file() {
        let labels: Vec<String> = ["a<b>", "\"c\" & d", "long".repeat(40).as_str()].map(str::to_owned).into();
        let matrix = ConfusionMatrix { labels, counts: vec![vec![5, 1, 0], vec![0, 1234, 0], vec![0, 0, 0]] };
        let drawing = confusion_chart(&matrix, "Stars & <more>", "note");
        let mut reader = quick_xml::Reader::from_str(&drawing);
        let mut squares = 0;
        loop {
            match reader.read_event().unwrap() {
                quick_xml::events::Event::Eof => break,
                quick_xml::events::Event::Empty(e) if e.name().as_ref() == "rect" => squares += 1,
                _ => {}
            }
        }
        // Page, three counts, frame, legend.
        assert_eq!(squares, 1 + 3 + 1 + 20, "{drawing}");
        assert!(drawing.contains("1,234 of 1,234 (100 %)") && drawing.contains("1 of 6 (17 %)"), "{drawing}");
    }
}
