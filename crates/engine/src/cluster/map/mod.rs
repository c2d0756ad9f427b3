//! The map of a clustering: a scatter plot of all documents as an SVG file that opens in any browser.

mod layout;
mod marks;

use std::io::Write;
use std::path::Path;

use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Style, Text, Title};

use self::layout::{Rect, Scale, fit_text, place_labels, text_width};
use self::marks::Mark;
use super::report::{Assignment, ClusterReport, ClusterSummary};
use super::typical::snippet;
use crate::EngineError;
use crate::replace::replace_file;

/// Most documents drawn; of more an even share of each cluster is.
const DRAWN_DOCUMENTS: usize = 6000;

/// Most clusters listed beside the map.
const LISTED_CLUSTERS: usize = 40;

/// Most clusters named on the map itself.
const NAMED_CLUSTERS: usize = 24;

const WIDTH: f32 = 1280.0;
const LEGEND_LEFT: f32 = 962.0;
const LEGEND_TOP: f32 = 108.0;
const LEGEND_ROW: f32 = 40.0;
const PLOT: Rect = Rect { left: 64.0, top: 92.0, width: 866.0, height: 640.0 };

/// Looks, in one place. Fonts are the reader's own, so that every script can be shown.
const STYLE: &str = "text{font-family:system-ui,'Segoe UI','Noto Sans','Noto Sans CJK SC','DejaVu Sans',sans-serif;\
    fill:#1f2933}.title{font-size:22px;font-weight:600}.note{font-size:13px;fill:#616e7c}.tick{font-size:11px;fill:#7b8794}\
    .grid{stroke:#e4e7eb;stroke-width:1}.point{stroke:#fff;stroke-width:.5;fill-opacity:.68}.name{font-size:13px;\
    font-weight:600}.halo{stroke:#fff;stroke-width:4;stroke-linejoin:round;stroke-opacity:.88}.leader{stroke:#52606d;\
    stroke-width:1}.legend{font-size:13.5px}.size{font-size:12px;fill:#7b8794}";

/// Draws the clusters of a report as an SVG file: every document a mark in the colour of its cluster, cluster names at
/// their medians, a legend with sizes. Of more than 6,000 documents an even sample is drawn, and the map says so. The file
/// is replaced in one step.
pub fn write_map(report: &ClusterReport, path: &Path) -> Result<(), EngineError> {
    let drawing = draw(report).to_string();
    replace_file(path, |out| {
        out.write_all(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")?;
        out.write_all(drawing.as_bytes())?;
        out.write_all(b"\n")
    })
}

fn draw(report: &ClusterReport) -> Document {
    let drawn = drawn_documents(report);
    let scale = Scale::fit(report.assignments.iter().map(|a| [a.x, a.y]), PLOT);
    let listed = report.clusters.len().min(LISTED_CLUSTERS);
    let legend_end = LEGEND_TOP + (listed + usize::from(listed < report.clusters.len())) as f32 * LEGEND_ROW;
    let height = (PLOT.bottom() + 62.0).max(legend_end + 24.0);
    let page = Rectangle::new().set("width", WIDTH).set("height", height).set("fill", "#fff");
    Document::new()
        .set("xmlns", "http://www.w3.org/2000/svg")
        .set("viewBox", format!("0 0 {WIDTH} {height}"))
        .set("width", WIDTH)
        .set("height", height)
        .set("role", "img")
        .add(Title::new(visible(&heading(report))))
        .add(Style::new(STYLE))
        .add(page)
        .add(headings(report, drawn.len()))
        .add(axes(report, &scale))
        .add(points(report, &drawn, &scale))
        .add(names(report, &scale))
        .add(legend(report))
}

/// The documents to draw, in the collection's order, so that no cluster lies on top of all others.
fn drawn_documents(report: &ClusterReport) -> Vec<&Assignment> {
    let total = report.assignments.len();
    if total <= DRAWN_DOCUMENTS {
        return report.assignments.iter().collect();
    }
    let mut seen = vec![0_usize; report.clusters.len()];
    let keeps = |assignment: &&Assignment| {
        let Some(seen) = seen.get_mut(assignment.cluster as usize) else { return false };
        *seen += 1;
        // Keeps the n-th document of a cluster whenever n times the share passes a whole number, and always the first.
        *seen == 1 || *seen * DRAWN_DOCUMENTS / total > (*seen - 1) * DRAWN_DOCUMENTS / total
    };
    report.assignments.iter().filter(keeps).collect()
}

fn heading(report: &ClusterReport) -> String {
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let (k, documents) = (report.k, report.documents);
    format!("{}: {k} cluster{} of {} document{}", report.collection, s(k), grouped(documents), s(documents))
}

fn headings(report: &ClusterReport, drawn: usize) -> Group {
    // A chosen number comes with its silhouette in the criterion.
    let silhouette = report.silhouette.filter(|_| report.scores.is_empty());
    let quality = silhouette.map(|s| format!("; mean silhouette (cosine) {s:.3}")).unwrap_or_default();
    let sampled = (drawn < report.documents).then(|| format!("; {} documents are drawn", grouped(drawn)));
    let note = format!("k = {}: {}{quality}{}", report.k, report.criterion, sampled.unwrap_or_default());
    let title = fit_text(&heading(report), 22.0, WIDTH - 2.0 * PLOT.left);
    Group::new().add(text(&title, (PLOT.left, 44.0), "title")).add(text(
        &fit_text(&note, 13.0, WIDTH - 2.0 * PLOT.left),
        (PLOT.left, 68.0),
        "note",
    ))
}

/// The grid, its numbers, and what the axes are.
fn axes(report: &ClusterReport, scale: &Scale) -> Group {
    let mut group = Group::new();
    let (across, decimals) = scale.ticks(0);
    for tick in across {
        let x = scale.place([tick, 0.0]).0;
        group = group
            .add(line((x, PLOT.top), (x, PLOT.bottom()), "grid"))
            .add(text(&format!("{tick:.decimals$}"), (x, PLOT.bottom() + 16.0), "tick").set("text-anchor", "middle"));
    }
    let (up, decimals) = scale.ticks(1);
    for tick in up {
        let y = scale.place([0.0, tick]).1;
        group = group
            .add(line((PLOT.left, y), (PLOT.right(), y), "grid"))
            .add(text(&format!("{tick:.decimals$}"), (PLOT.left - 8.0, y + 4.0), "tick").set("text-anchor", "end"));
    }
    let share = report.explained_variance.map(|share| format!("{:.1} % of the variance", share * 100.0));
    let (middle, below) = (PLOT.left + PLOT.width / 2.0, PLOT.bottom() + 40.0);
    let (beside, half) = (20.0, PLOT.top + PLOT.height / 2.0);
    group
        .add(
            text(&format!("first principal component ({})", share[0]), (middle, below), "note")
                .set("text-anchor", "middle"),
        )
        .add(
            text(&format!("second principal component ({})", share[1]), (beside, half), "note")
                .set("text-anchor", "middle")
                .set("transform", format!("rotate(-90 {beside} {half})")),
        )
}

fn points(report: &ClusterReport, drawn: &[&Assignment], scale: &Scale) -> Group {
    let radius = match drawn.len() {
        0..=300 => 5.5,
        301..=1500 => 4.2,
        1501..=4000 => 3.2,
        _ => 2.6,
    };
    drawn.iter().fold(Group::new(), |group, assignment| {
        let mark = Mark::of(assignment.cluster);
        let about = assignment.title.as_deref().unwrap_or(&assignment.text);
        let label = report.clusters.get(assignment.cluster as usize).map_or("", |cluster| &cluster.label);
        let tip = format!("{} · {}\n{} {label}", assignment.document_id, snippet(about), assignment.cluster);
        group.add(
            mark.path(scale.place([assignment.x, assignment.y]), radius)
                .set("class", "point")
                .set("fill", mark.colour)
                .add(Title::new(visible(&tip))),
        )
    })
}

/// The names of the largest clusters at the medians of their documents, moved apart where they would overlap.
fn names(report: &ClusterReport, scale: &Scale) -> Group {
    const SIZE: f32 = 13.0;
    let named: Vec<&ClusterSummary> = report.clusters.iter().take(NAMED_CLUSTERS).collect();
    let anchors: Vec<(f32, f32)> =
        named.iter().map(|cluster| scale.place(median(&report.assignments, cluster.cluster))).collect();
    let labels: Vec<String> = named
        .iter()
        .map(|cluster| {
            let words: Vec<&str> = cluster.label.split(", ").take(2).collect();
            fit_text(&format!("{} {}", cluster.cluster, words.join(", ")), SIZE, 190.0)
        })
        .collect();
    let sizes: Vec<(f32, f32)> = labels.iter().map(|l| (text_width(l, SIZE) * 1.06 + 4.0, SIZE * 1.3)).collect();
    let mut leaders = Group::new();
    let mut texts = Group::new();
    for ((place, label), anchor) in place_labels(&anchors, &sizes, &PLOT).into_iter().zip(&labels).zip(anchors) {
        let Some(place) = place else { continue };
        let middle = place.left + place.width / 2.0;
        let base = place.top + SIZE;
        let (dx, dy) = (middle - anchor.0, place.top + place.height / 2.0 - anchor.1);
        if dy.abs() > place.height || dx.abs() > place.width / 2.0 {
            let end = (middle, if dy < 0.0 { place.bottom() } else { place.top });
            leaders = leaders.add(line(anchor, end, "leader"));
        }
        // The white edge is a text of its own, below: not every viewer can paint strokes under fills.
        for class in ["name halo", "name"] {
            texts = texts.add(text(label, (middle, base), class).set("text-anchor", "middle"));
        }
    }
    Group::new().add(leaders).add(texts)
}

/// The coordinate-wise median of a cluster's documents.
fn median(assignments: &[Assignment], cluster: u32) -> [f32; 2] {
    let members = || assignments.iter().filter(|a| a.cluster == cluster);
    let middle = |mut values: Vec<f32>| {
        let at = values.len() / 2;
        if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(at, f32::total_cmp).1 }
    };
    [middle(members().map(|a| a.x).collect()), middle(members().map(|a| a.y).collect())]
}

fn legend(report: &ClusterReport) -> Group {
    let left = LEGEND_LEFT + 24.0;
    let room = WIDTH - left - 28.0;
    let mut group = Group::new();
    for (row, cluster) in report.clusters.iter().take(LISTED_CLUSTERS).enumerate() {
        let y = LEGEND_TOP + row as f32 * LEGEND_ROW;
        let mark = Mark::of(cluster.cluster);
        let name = fit_text(&format!("{} {}", cluster.cluster, cluster.label), 13.5, room);
        let s = if cluster.size == 1 { "" } else { "s" };
        let size = format!("{} document{s}, {:.1} %", grouped(cluster.size), cluster.share * 100.0);
        group = group
            .add(mark.path((LEGEND_LEFT + 6.0, y - 4.5), 6.5).set("fill", mark.colour))
            .add(text(&name, (left, y), "legend"))
            .add(text(&size, (left, y + 16.0), "size"));
    }
    if let Some(more) = report.clusters.len().checked_sub(LISTED_CLUSTERS).filter(|more| *more > 0) {
        let y = LEGEND_TOP + LISTED_CLUSTERS as f32 * LEGEND_ROW;
        group = group.add(text(&format!("and {more} smaller"), (left, y), "size"));
    }
    group
}

fn text(content: &str, (x, y): (f32, f32), class: &str) -> Text {
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

fn pixels(value: f32) -> String {
    format!("{value:.1}")
}

/// Without the characters that XML forbids even when escaped.
fn visible(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))).collect()
}

/// A count with commas between thousands.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;
    use crate::cluster::fixtures::sample_report;

    /// Every text in the file, and how many marks it draws. Fails when it is not well-formed.
    fn read_back(report: &ClusterReport) -> (String, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.svg");
        write_map(report, &path).unwrap();
        let content = std::fs::read_to_string(&path).unwrap();
        let mut reader = Reader::from_str(&content);
        reader.config_mut().check_end_names = true;
        let (mut texts, mut marks, mut depth) = (String::new(), 0, 0_i32);
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) => {
                    depth += 1;
                    let class = tag.attributes().map(Result::unwrap).find(|a| a.key.as_ref() == "class");
                    marks += usize::from(class.is_some_and(|c| c.value.as_ref() == "point"));
                }
                Event::End(_) => depth -= 1,
                Event::Text(text) => texts.push_str(&text),
                Event::GeneralRef(entity) => {
                    texts.push_str(quick_xml::escape::resolve_xml_entity(&entity).unwrap());
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0);
        (texts, marks)
    }

    #[test]
    fn a_map_is_well_formed_and_shows_every_document_and_label() {
        let mut report = sample_report(20);
        report.assignments[0].title = Some("a < b & \"c\" \u{0} \u{1b}[1m 咖啡".to_owned());
        report.clusters[1].label = "红茶, R&D <b>".to_owned();
        let (texts, marks) = read_back(&report);
        assert_eq!(marks, 60);
        assert!(texts.contains("notes: 3 clusters of 60 documents"), "{texts}");
        assert!(texts.contains("a < b & \"c\"  [1m 咖啡") && texts.contains("1 红茶, R&D <b>"));
        assert!(texts.contains("20 documents, 33.3 %") && texts.contains("% of the variance"));
        for assignment in &report.assignments {
            assert!(texts.contains(&format!("{} · ", assignment.document_id)));
        }
    }

    #[test]
    fn many_documents_are_thinned_evenly_and_small_clusters_kept() {
        let mut report = sample_report(3);
        let pattern = report.assignments[0].clone();
        report.assignments = (0..20_000_u32)
            .map(|at| Assignment { cluster: if at == 19_999 { 2 } else { at % 2 }, ..pattern.clone() })
            .collect();
        report.documents = 20_000;
        let drawn = drawn_documents(&report);
        assert!((5990..=6010).contains(&drawn.len()), "{}", drawn.len());
        let of = |cluster: u32| drawn.iter().filter(|a| a.cluster == cluster).count();
        assert!(of(2) == 1 && of(0).abs_diff(of(1)) <= 2);
        assert!(read_back(&report).0.contains("documents are drawn"));
    }

    #[test]
    fn one_document_and_very_many_clusters_are_drawn_too() {
        let mut report = sample_report(3);
        let cluster = report.clusters[0].clone();
        report.clusters = (0..70).map(|n| ClusterSummary { cluster: n, ..cluster.clone() }).collect();
        assert!(read_back(&report).0.contains("and 30 smaller"));
        report.assignments.truncate(1);
        report.clusters.truncate(1);
        assert_eq!(read_back(&report).1, 1);
    }

    #[test]
    fn thousands_have_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
