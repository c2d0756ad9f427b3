//! The map as a page of its own: data, style and script in one file, which asks no network for anything.
//!
//! Words of documents come into the page in two places only: the title and note as escaped text, and a block of JSON that
//! the browser does not run, in which `<`, `>` and `&` are escaped. A policy in the page itself lets no other script or
//! style run than the two whose hashes it names.

use anser_core::storage::sha256_hex;
use serde::Serialize;

use super::labels::anchors;
use super::layout::is_drawable;
use super::legend::{NONE, scale_ticks};
use super::marks::{NO_COLOUR, Range, ramp};
use super::text::visible;
use super::{Colouring, DocumentMap, PAGE_POINTS};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The longer side of the map in the units of the page's coordinates.
const EXTENT: f32 = 65_535.0;

/// Colours of a scale; finer differences are not seen.
const SCALE_STEPS: u16 = 48;

/// What the script reads. Coordinates grow rightwards and downwards.
#[derive(Serialize)]
struct PageData<'a> {
    extent: u32,
    /// Width and height of the map.
    size: [u32; 2],
    x: Vec<u32>,
    y: Vec<u32>,
    /// For each point the index of how it looks.
    style: Vec<u32>,
    styles: Vec<PageStyle<'a>>,
    /// Group and place of its name.
    anchors: Vec<(u32, u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Option<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<PageScale<'a>>,
    hover: Vec<&'a str>,
}

#[derive(Serialize)]
struct PageStyle<'a> {
    label: &'a str,
    colour: String,
    shape: usize,
    count: usize,
}

#[derive(Serialize)]
struct PageScale<'a> {
    name: &'a str,
    /// Words and where on the scale, from 0 to 1.
    ticks: Vec<(String, f64)>,
}

/// Makes the page.
pub(super) fn page(map: &DocumentMap) -> String {
    let drawn = map.drawn(PAGE_POINTS);
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        digest(SCRIPT),
        digest(STYLE)
    );
    let data = serde_json::to_string(&data(map, &drawn)).unwrap_or_else(|_| "null".to_owned());
    let parts = [
        ("policy", policy),
        ("title", escaped(&map.title)),
        ("note", escaped(&map.full_note(drawn.len()))),
        ("style", STYLE.to_owned()),
        ("script", SCRIPT.to_owned()),
        ("data", data.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")),
    ];
    // One pass, so that braces in a document's words are left alone.
    let mut page = String::with_capacity(TEMPLATE.len() + parts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut pieces = TEMPLATE.split("{{");
    page.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or((piece, ""));
        page.push_str(parts.iter().find(|(part, _)| *part == name).map_or("", |(_, text)| text));
        page.push_str(rest);
    }
    page
}

fn data<'a>(map: &'a DocumentMap, drawn: &[usize]) -> PageData<'a> {
    let (low, size, unit) = bounds(map, drawn);
    let place = |point: [f32; 2]| {
        let across = (point[0] - low[0]) * unit;
        let down = size[1] - (point[1] - low[1]) * unit;
        [across, down].map(|c| c.clamp(0.0, EXTENT).round() as u32)
    };
    let places: Vec<[u32; 2]> = drawn.iter().map(|at| place(map.points[*at])).collect();
    let anchors = anchors(&map.points, &map.colouring).into_iter().map(|(group, at)| {
        let [x, y] = place(at);
        (group, x, y)
    });
    let (styles, style) = styles(&map.colouring, drawn);
    let (values, scale) = match &map.colouring {
        Colouring::Groups { .. } => (None, None),
        Colouring::Scale { values, name } => {
            let of = |at: &usize| values.get(*at).copied().flatten().filter(|value| value.is_finite());
            let ticks = Range::of(values).map_or_else(Vec::new, scale_ticks);
            (Some(drawn.iter().map(of).collect()), Some(PageScale { name, ticks }))
        }
    };
    PageData {
        extent: EXTENT as u32,
        size: size.map(|side| side.round() as u32),
        x: places.iter().map(|place| place[0]).collect(),
        y: places.iter().map(|place| place[1]).collect(),
        style,
        styles,
        anchors: anchors.collect(),
        values,
        scale,
        hover: drawn.iter().map(|at| map.hover.get(*at).map_or("", String::as_str)).collect(),
    }
}

/// The lower left corner of the map, its size on the page, and units of the page for one of the data.
fn bounds(map: &DocumentMap, drawn: &[usize]) -> ([f32; 2], [f32; 2], f32) {
    let mut low = [f32::INFINITY; 2];
    let mut high = [f32::NEG_INFINITY; 2];
    for point in drawn.iter().map(|at| map.points[*at]).filter(|point| is_drawable(*point)) {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    if low[0] > high[0] {
        return ([0.0; 2], [0.0; 2], 1.0);
    }
    let unit = EXTENT / (high[0] - low[0]).max(high[1] - low[1]).max(1e-30);
    (low, [0, 1].map(|axis| ((high[axis] - low[axis]) * unit).min(EXTENT)), unit)
}

/// How marks look, the last one standing for no group or value, and which of them each point has.
fn styles<'a>(colouring: &'a Colouring, drawn: &[usize]) -> (Vec<PageStyle<'a>>, Vec<u32>) {
    let (counts, none) = colouring.counts();
    let (mut styles, style): (Vec<PageStyle<'a>>, Vec<u32>) = match colouring {
        Colouring::Groups { of, labels, .. } => {
            let styles = labels.iter().zip(counts).enumerate().map(|(group, (label, count))| {
                let mark = colouring.mark_of_group(group as u32);
                PageStyle { label, shape: mark.shape_number(), colour: mark.colour, count }
            });
            let last = labels.len() as u32;
            let style = |at: &usize| of.get(*at).copied().flatten().unwrap_or(last).min(last);
            (styles.collect(), drawn.iter().map(style).collect())
        }
        Colouring::Scale { values, .. } => {
            let step = |at: u16| ramp((f64::from(at) + 0.5) / f64::from(SCALE_STEPS));
            let styles = (0..SCALE_STEPS).map(|at| PageStyle { label: "", colour: step(at), shape: 0, count: 0 });
            let range = Range::of(values);
            let style = |at: &usize| {
                let value = values.get(*at).copied().flatten().filter(|value| value.is_finite());
                let Some((value, range)) = value.zip(range) else { return u32::from(SCALE_STEPS) };
                ((range.share(value) * f64::from(SCALE_STEPS)) as u32).min(u32::from(SCALE_STEPS) - 1)
            };
            (styles.collect(), drawn.iter().map(style).collect())
        }
    };
    styles.push(PageStyle { label: NONE, colour: NO_COLOUR.to_owned(), shape: 0, count: none });
    (styles, style)
}

/// Text within HTML, and within its attributes.
fn escaped(text: &str) -> String {
    let text = visible(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

/// SHA-256 in base64 (RFC 4648), as a content security policy names what may run.
fn digest(content: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hex = sha256_hex(content.as_bytes());
    let mut bits: Vec<u8> = hex
        .chars()
        .flat_map(|c| {
            let digit = c.to_digit(16).unwrap_or(0) as u8;
            (0..4).rev().map(move |bit| digit >> bit & 1)
        })
        .collect();
    bits.resize(bits.len().next_multiple_of(6), 0);
    let value = |six: &[u8]| six.iter().fold(0_usize, |value, bit| value << 1 | usize::from(*bit));
    let mut text: String = bits.chunks(6).map(|six| char::from(DIGITS[value(six)])).collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_one_that_browsers_compute() {
        // From the specification of content security policies, level 3.
        assert_eq!(digest("doSubmit()"), "jzgBGA4UWFFmpOBq0JpdsySukE1FrEN5bUpoK8Z29fY=");
    }

    #[test]
    fn style_and_script_end_nowhere_early() {
        assert!(!SCRIPT.contains("</") && !SCRIPT.contains("<!--") && !STYLE.contains('<'));
        assert!(!SCRIPT.contains("http:") || SCRIPT.matches("http:").count() == 1, "the namespace of SVG only");
    }
}
