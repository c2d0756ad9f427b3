//! What all drawings share: colours that suit light and dark pages, and labels that never cover one another.

use svg::node::Node;
use svg::node::element::{Line, Style, Text, Title};
use svg::{Document, node};

/// Width of every drawing, in its own units, which are a screen's pixels where there is room.
pub(crate) const WIDTH: f64 = 720.0;

/// Colours. A page that holds a drawing and a file that is opened by itself both follow the reader's choice of light or
/// dark.
const STYLE: &str = "text{fill:#1c2733}.faint{fill:#5b6875}.rule{stroke:#d9dfe5}.axis{stroke:#8a97a4}\
    .curve{stroke:#2a6fb0;fill:none}.dot,.ours{fill:#2a6fb0}.theirs{fill:#a3afbb}.spread{stroke:#1c2733}\
    @media (prefers-color-scheme:dark){text{fill:#e3e9ef}.faint{fill:#9aa8b6}.rule{stroke:#33404d}.axis{stroke:#708090}\
    .curve{stroke:#6cb0f0}.dot,.ours{fill:#6cb0f0}.theirs{fill:#64727f}.spread{stroke:#e3e9ef}}";

/// Width of a character of a sans-serif font, as a share of its size: that of a wide letter, so that a label is rather
/// thought too long than too short.
const ADVANCE: f64 = 0.6;
const WIDE_ADVANCE: f64 = 1.0;

/// Where a label's text is relative to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A text and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Label<'a> {
    text: &'a str,
    x: f64,
    /// Of the line that it stands on.
    y: f64,
    anchor: Anchor,
    size: f64,
    bold: bool,
    faint: bool,
}

impl<'a> Label<'a> {
    pub(crate) fn at(x: f64, y: f64, text: &'a str) -> Self {
        Self { text, x, y, anchor: Anchor::Start, size: 12.0, bold: false, faint: false }
    }

    pub(crate) fn anchor(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    pub(crate) fn size(self, size: f64) -> Self {
        Self { size, ..self }
    }

    pub(crate) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(crate) fn faint(self) -> Self {
        Self { faint: true, ..self }
    }

    fn frame(&self) -> Frame {
        let width = width(self.text, self.size);
        let left = match self.anchor {
            Anchor::Start => self.x,
            Anchor::Middle => self.x - width / 2.0,
            Anchor::End => self.x - width,
        };
        Frame { left, right: left + width, top: self.y - 0.8 * self.size, bottom: self.y + 0.25 * self.size }
    }
}

/// How wide a text is at most.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|c| if c.is_ascii() { ADVANCE } else { WIDE_ADVANCE } * size).sum()
}

/// The text, or its beginning with an ellipsis where all of it is wider than `room`.
pub(crate) fn fitted(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width(&kept, size) + size * WIDE_ADVANCE > room {
            kept.pop();
            break;
        }
    }
    format!("{}…", kept.trim_end())
}

/// A rectangle that a label covers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Frame {
    fn covers(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }
}

/// A drawing in the making.
pub(crate) struct Canvas {
    drawing: Document,
    height: f64,
    labels: Vec<Frame>,
}

impl Canvas {
    /// An empty one. The title is for those who cannot see it.
    pub(crate) fn new(title: &str, height: f64) -> Self {
        let drawing = Document::new()
            .set("viewBox", (0.0, 0.0, WIDTH, height))
            .set("role", "img")
            .set("font-family", "system-ui, sans-serif")
            .set("font-size", 12)
            .add(Title::new(title))
            .add(Style::new(STYLE));
        Self { drawing, height, labels: Vec::new() }
    }

    pub(crate) fn add(&mut self, node: impl Into<Box<dyn node::Node>>) {
        self.drawing.append(node);
    }

    /// Writes a label, unless it would cover another or leave the drawing; says whether it did.
    pub(crate) fn label(&mut self, label: &Label<'_>) -> bool {
        let frame = label.frame();
        let inside = frame.left >= 0.0 && frame.right <= WIDTH && frame.top >= 0.0 && frame.bottom <= self.height;
        if !inside || self.labels.iter().any(|other| frame.covers(other)) {
            return false;
        }
        let mut text = Text::new(label.text)
            .set("x", rounded(label.x))
            .set("y", rounded(label.y))
            .set("font-size", label.size)
            .set("text-anchor", label.anchor.name());
        if label.bold {
            text = text.set("font-weight", "bold");
        }
        if label.faint {
            text = text.set("class", "faint");
        }
        self.labels.push(frame);
        self.add(text);
        true
    }

    /// A straight line of one of the style's classes.
    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let line = Line::new().set("x1", rounded(from.0)).set("y1", rounded(from.1));
        self.add(line.set("x2", rounded(to.0)).set("y2", rounded(to.1)).set("class", class));
    }

    /// The drawing as an XML element.
    pub(crate) fn finish(self) -> String {
        self.drawing.to_string()
    }
}

/// A place with as many digits as can be seen.
pub(crate) fn rounded(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_would_cover_another_is_left_out() {
        let mut canvas = Canvas::new("t", 100.0);
        assert!(canvas.label(&Label::at(100.0, 50.0, "eight888")));
        assert!(!canvas.label(&Label::at(120.0, 52.0, "b")));
        assert!(!canvas.label(&Label::at(90.0, 52.0, "end").anchor(Anchor::Middle)));
        assert!(canvas.label(&Label::at(99.0, 50.0, "end").anchor(Anchor::End)));
        assert!(canvas.label(&Label::at(100.0, 70.0, "below")));
        // Out of the drawing.
        assert!(!canvas.label(&Label::at(WIDTH - 10.0, 20.0, "too long")));
        assert!(!canvas.label(&Label::at(10.0, 4.0, "high")));
    }

    #[test]
    fn a_text_is_cut_to_its_room() {
        assert_eq!(fitted("short", 10.0, 100.0), "short");
        let cut = fitted("a text that is too long for its room", 10.0, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0) <= 100.0, "{cut}");
        assert!(width("漢字", 10.0) > width("ab", 10.0));
    }
}
