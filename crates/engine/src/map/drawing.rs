//! The map as an SVG drawing.

use svg::node::element::{Circle, Group, Line, Rectangle, Style, Text, Title};
use svg::{Document, Node};

use super::labels::{Crowd, anchors, place_labels};
use super::layout::{Fit, Rect};
use super::legend::legend;
use super::text::{text_width, visible, wrap_text};
use super::{Colouring, DocumentMap, PICTURE_POINTS};

/// Size of the page, in pixels.
pub(super) const WIDTH: f32 = 1280.0;
pub(super) const HEIGHT: f32 = 960.0;
const MARGIN: f32 = 32.0;
/// The sheet that points lie on.
const SHEET: Rect = Rect { left: 32.0, top: 104.0, width: 908.0, height: 828.0 };
/// Where the legend goes.
const LEGEND: Rect = Rect { left: 968.0, top: 104.0, width: 280.0, height: 828.0 };

/// Most groups named on the map itself.
const NAMED_GROUPS: usize = 30;
/// Most points that carry a hover text of their own; a file with more would be slow to open.
const HOVERED_POINTS: usize = 5000;
const LABEL_SIZE: f32 = 13.0;
const LABEL_LINE: f32 = 16.0;

/// Looks, in one place. Fonts are the reader's own, so that every script can be shown.
const STYLE: &str = "text{font-family:system-ui,'Segoe UI','Noto Sans','Noto Sans CJK SC','DejaVu Sans',sans-serif;\
    fill:#1f2933}.title{font-size:22px;font-weight:600}.note{font-size:13px;fill:#52606d}.sheet{fill:#fbfcfd;\
    stroke:#e4e7eb;stroke-width:1}.name{font-size:13px;font-weight:600}.tag{fill:#fff;fill-opacity:.8}\
    .leader{stroke:#3e4c59;stroke-width:1}.foot{fill:#3e4c59}.entry{font-size:13.5px}.count{font-size:12.5px;\
    fill:#616e7c}.bar{stroke:#cbd2d9;stroke-width:1}";

/// Draws a map.
pub(super) fn draw(map: &DocumentMap) -> String {
    let drawn = map.drawn(PICTURE_POINTS);
    let fit = Fit::new(drawn.iter().map(|at| map.points[*at]), SHEET.padded(-26.0));
    let sheet = Rectangle::new()
        .set("x", SHEET.left)
        .set("y", SHEET.top)
        .set("width", SHEET.width)
        .set("height", SHEET.height)
        .set("rx", 6)
        .set("class", "sheet");
    let document = Document::new()
        .set("xmlns", "http://www.w3.org/2000/svg")
        .set("viewBox", format!("0 0 {WIDTH} {HEIGHT}"))
        .set("width", WIDTH)
        .set("height", HEIGHT)
        .set("role", "img")
        .add(Title::new(visible(&map.title)))
        .add(Style::new(STYLE))
        .add(Rectangle::new().set("width", WIDTH).set("height", HEIGHT).set("fill", "#fff"))
        .add(headings(map, drawn.len()))
        .add(sheet)
        .add(points(map, &drawn, &fit))
        .add(names(map, &drawn, &fit))
        .add(legend(map, &LEGEND));
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{document}\n")
}

fn headings(map: &DocumentMap, drawn: usize) -> Group {
    let room = WIDTH - 2.0 * MARGIN;
    let title = wrap_text(&map.title, 22.0, room, 1).concat();
    let mut group = Group::new().add(text(&title, (MARGIN, 44.0), "title"));
    for (line, words) in wrap_text(&map.full_note(drawn), 13.0, room, 2).iter().enumerate() {
        group = group.add(text(words, (MARGIN, 68.0 + 18.0 * line as f32), "note"));
    }
    group
}

/// Radius and opacity of the marks of so many points: less ink for each, the more there are.
fn ink(points: usize) -> (f32, f32) {
    let points = points.max(1) as f32;
    ((48.0 / points.powf(0.36)).clamp(1.6, 6.0), (0.85 - 0.09 * (points / 100.0).log10()).clamp(0.5, 0.85))
}

fn points(map: &DocumentMap, drawn: &[usize], fit: &Fit) -> Group {
    let (radius, opacity) = ink(drawn.len());
    let hovered = drawn.len() <= HOVERED_POINTS;
    let mark = map.colouring.marks();
    let mut group = Group::new().set("class", "points").set("fill-opacity", format!("{opacity:.2}"));
    if radius > 2.5 {
        group = group.set("stroke", "#fff").set("stroke-width", ".5");
    }
    for &at in drawn {
        let mut element = mark(at).element(fit.place(map.points[at]), radius);
        if let Some(hover) = map.hover.get(at).filter(|hover| hovered && !hover.is_empty()) {
            element.append(Title::new(visible(hover)));
        }
        group = group.add(element);
    }
    group
}

/// The names of groups at their densest places, moved apart where they would overlap.
fn names(map: &DocumentMap, drawn: &[usize], fit: &Fit) -> Group {
    let Colouring::Groups { labels, .. } = &map.colouring else { return Group::new() };
    let named = anchors(&map.points, &map.colouring);
    let named = &named[..named.len().min(NAMED_GROUPS)];
    let places: Vec<(f32, f32)> = named.iter().map(|(_, place)| fit.place(*place)).collect();
    let lines: Vec<Vec<String>> = named
        .iter()
        .map(|(group, _)| wrap_text(labels.get(*group as usize).map_or("", String::as_str), LABEL_SIZE, 150.0, 2))
        .collect();
    let sizes: Vec<(f32, f32)> = lines
        .iter()
        .map(|lines| {
            let widest = lines.iter().map(|line| text_width(line, LABEL_SIZE)).fold(0.0, f32::max);
            (widest + 10.0, lines.len() as f32 * LABEL_LINE + 5.0)
        })
        .collect();
    let crowd = Crowd::new(drawn.iter().map(|at| fit.place(map.points[*at])), &SHEET);
    let boxes = place_labels(&places, &sizes, &SHEET.padded(-4.0), &crowd);
    let (mut leaders, mut tags) = (Group::new(), Group::new());
    for ((place, lines), anchor) in boxes.iter().zip(&lines).zip(places) {
        let Some(place) = place else { continue };
        let end = place.nearest(anchor);
        if (end.0 - anchor.0).hypot(end.1 - anchor.1) > 4.0 {
            let foot = Circle::new().set("cx", pixels(anchor.0)).set("cy", pixels(anchor.1)).set("r", 2.2);
            leaders = leaders.add(line(anchor, end, "leader")).add(foot.set("class", "foot"));
        }
        let tag = Rectangle::new()
            .set("x", pixels(place.left))
            .set("y", pixels(place.top))
            .set("width", pixels(place.width))
            .set("height", pixels(place.height))
            .set("rx", 4)
            .set("class", "tag");
        tags = tags.add(tag);
        for (at, words) in lines.iter().enumerate() {
            let base = (place.centre().0, place.top + LABEL_SIZE + 1.5 + at as f32 * LABEL_LINE);
            tags = tags.add(text(words, base, "name").set("text-anchor", "middle"));
        }
    }
    Group::new().add(leaders).add(tags)
}

pub(super) fn text(content: &str, (x, y): (f32, f32), class: &str) -> Text {
    Text::new(visible(content)).set("x", pixels(x)).set("y", pixels(y)).set("class", class)
}

fn line((x1, y1): (f32, f32), (x2, y2): (f32, f32), class: &str) -> Line {
    Line::new()
        .set("x1", pixels(x1))
        .set("y1", pixels(y1))
        .set("x2", pixels(x2))
        .set("y2", pixels(y2))
        .set("class", class)
}

pub(super) fn pixels(value: f32) -> String {
    format!("{value:.1}")
}
