//! The colours and shapes that tell groups apart, and the colours of a scale.

use svg::node::element::{Circle, Element, Path};

/// Twelve colours that people with any of the three common colour-vision deficiencies can tell apart, after Krzywinski,
/// "Designing for color blindness", 2012. The last four are nearest to others, so they come with another shape as well.
const COLOURS: [&str; 12] = [
    "#008df9", "#ff6e3a", "#009f81", "#9f0162", "#ffc33b", "#8400cd", "#00c2f9", "#e20134", "#ff5aaf", "#00d4ac",
    "#a40122", "#e58fe2",
];

/// How many of the colours differ strongly from each other.
const STRONG_COLOURS: usize = 8;

/// What belongs to no group, or has no value.
pub(super) const NO_COLOUR: &str = "#b8c1cc";

/// Many small groups together.
const REST_COLOUR: &str = "#98a4b1";

/// The colour of points when all are alike.
const PLAIN_COLOUR: &str = "#2f6fb3";

/// The outline of a mark: each further dozen of groups has the next shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
}

const SHAPES: [Shape; 5] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Cross];

/// How one group is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) colour: String,
    shape: Shape,
}

impl Mark {
    /// The mark of one of `groups` groups; sixty in a row are different. Each further dozen has another shape, and a darker
    /// or lighter tone for where points are too small for shapes.
    pub(super) fn of(group: u32, groups: usize) -> Self {
        if groups == 1 {
            return Self::round(PLAIN_COLOUR);
        }
        let (dozen, colour) = (group as usize / COLOURS.len(), group as usize % COLOURS.len());
        let shape = dozen + usize::from(colour >= STRONG_COLOURS);
        let colour = match dozen % 3 {
            0 => COLOURS[colour].to_owned(),
            1 => mixed(COLOURS[colour], [0x14, 0x1c, 0x26], 0.42),
            _ => mixed(COLOURS[colour], [0xff, 0xff, 0xff], 0.4),
        };
        Self { colour, shape: SHAPES[shape % SHAPES.len()] }
    }

    /// The mark of what belongs to no group.
    pub(super) fn none() -> Self {
        Self::round(NO_COLOUR)
    }

    /// The mark of many small groups together.
    pub(super) fn rest() -> Self {
        Self::round(REST_COLOUR)
    }

    /// A circle of some colour.
    pub(super) fn round(colour: &str) -> Self {
        Self { colour: colour.to_owned(), shape: Shape::Circle }
    }

    /// The shape as a number: 0 circle, 1 square, 2 triangle, 3 diamond, 4 cross.
    pub(super) fn shape_number(&self) -> usize {
        SHAPES.iter().position(|shape| *shape == self.shape).unwrap_or(0)
    }

    /// The mark around a point. `radius` is that of a circle; the other shapes have about the same area.
    pub(super) fn element(&self, (x, y): (f32, f32), radius: f32) -> Element {
        if self.shape == Shape::Circle {
            let circle = Circle::new().set("cx", format!("{x:.1}")).set("cy", format!("{y:.1}"));
            return circle.set("r", format!("{radius:.1}")).set("fill", self.colour.as_str()).into();
        }
        let corner = |(dx, dy): &(f32, f32)| format!("{:.1} {:.1}", x + dx * radius, y + dy * radius);
        let corners: Vec<String> = self.shape.corners().iter().map(corner).collect();
        Path::new().set("d", format!("M{}z", corners.join("L"))).set("fill", self.colour.as_str()).into()
    }
}

/// A colour with a share of another in it.
fn mixed(colour: &str, other: [u8; 3], share: f32) -> String {
    let number = u32::from_str_radix(colour.trim_start_matches('#'), 16).unwrap_or(0);
    let channel = |at: usize| {
        let own = (number >> (16 - 8 * at) & 0xff) as f32;
        (own + (f32::from(other[at]) - own) * share).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", channel(0), channel(1), channel(2))
}

impl Shape {
    /// The corners around the origin, for a radius of 1; none for a circle.
    fn corners(self) -> &'static [(f32, f32)] {
        match self {
            Self::Circle => &[],
            Self::Square => &[(-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89)],
            Self::Triangle => &[(0.0, -1.4), (1.25, 0.8), (-1.25, 0.8)],
            Self::Diamond => &[(0.0, -1.35), (1.15, 0.0), (0.0, 1.35), (-1.15, 0.0)],
            Self::Cross => &CROSS,
        }
    }
}

/// A plus sign, clockwise from its upper left corner.
const CROSS: [(f32, f32); 12] = [
    (-0.42, -1.25),
    (0.42, -1.25),
    (0.42, -0.42),
    (1.25, -0.42),
    (1.25, 0.42),
    (0.42, 0.42),
    (0.42, 1.25),
    (-0.42, 1.25),
    (-0.42, 0.42),
    (-1.25, 0.42),
    (-1.25, -0.42),
    (-0.42, -0.42),
];

/// The colours of a scale from low to high: viridis (van der Walt and Smith, 2015), which grows evenly in lightness and
/// is read alike with all common colour-vision deficiencies. Its light end is left out: it hardly shows on white.
const RAMP: [[u8; 3]; 8] = [
    [0x44, 0x01, 0x54],
    [0x47, 0x2d, 0x7b],
    [0x3b, 0x52, 0x8b],
    [0x2c, 0x72, 0x8e],
    [0x21, 0x91, 0x8c],
    [0x28, 0xae, 0x80],
    [0x5e, 0xc9, 0x62],
    [0xad, 0xdc, 0x30],
];

/// The colour at `share` of the scale, from 0 (low) to 1 (high).
pub(super) fn ramp(share: f64) -> String {
    let at = share.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    let below = (at as usize).min(RAMP.len() - 2);
    let part = at - below as f64;
    let mixed = |channel: usize| {
        let (low, high) = (f64::from(RAMP[below][channel]), f64::from(RAMP[below + 1][channel]));
        (low + (high - low) * part).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", mixed(0), mixed(1), mixed(2))
}

/// Which numbers the two ends of a scale stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Whether some values lie beyond the ends and have the colour of the nearer one.
    pub(super) open: bool,
}

impl Range {
    /// From the smallest to the largest number; when a few lie far from all others, from the first to the last
    /// hundredth. `None` when there is no finite number.
    pub(super) fn of(values: &[Option<f64>]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().flatten().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let hundredth = sorted.len() / 100;
        let (inner_low, inner_high) = (sorted[hundredth], sorted[sorted.len() - 1 - hundredth]);
        if inner_high > inner_low && high - low > 3.0 * (inner_high - inner_low) {
            return Some(Self { low: inner_low, high: inner_high, open: true });
        }
        Some(Self { low, high, open: false })
    }

    /// Where a value lies on the scale, from 0 to 1; in the middle when all are equal.
    pub(super) fn share(&self, value: f64) -> f64 {
        let width = self.high - self.low;
        if width > 0.0 && width.is_finite() { ((value - self.low) / width).clamp(0.0, 1.0) } else { 0.5 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sixty_groups_have_different_marks_and_more_do_not_fail() {
        let marks: HashSet<String> = (0..60).map(|g| format!("{:?}", Mark::of(g, 60))).collect();
        assert_eq!(marks.len(), 60);
        let colours: HashSet<String> = (0..36).map(|g| Mark::of(g, 60).colour).collect();
        assert_eq!(colours.len(), 36);
        assert_eq!(Mark::of(12, 60).colour, "#085ea0");
        assert_eq!(Mark::of(0, 9).shape_number(), 0);
        assert_ne!(Mark::of(3, 20).shape_number(), Mark::of(10, 20).shape_number());
    }

    #[test]
    fn a_scale_runs_from_dark_to_light() {
        assert_eq!((ramp(0.0).as_str(), ramp(1.0).as_str()), ("#440154", "#addc30"));
        assert_eq!((ramp(-3.0), ramp(f64::INFINITY)), (ramp(0.0), ramp(1.0)));
        let light = |share: f64| {
            let colour = u32::from_str_radix(&ramp(share)[1..], 16).unwrap();
            (colour >> 16) * 3 + (colour >> 8 & 255) * 6 + (colour & 255)
        };
        assert!((1..=20).all(|i| light(f64::from(i) / 20.0) > light(f64::from(i - 1) / 20.0)));
    }

    #[test]
    fn a_few_far_values_do_not_take_the_scale() {
        let mut values: Vec<Option<f64>> = (0..1000).map(|i| Some(f64::from(i))).collect();
        assert_eq!(Range::of(&values), Some(Range { low: 0.0, high: 999.0, open: false }));
        values.push(Some(1e9));
        values.push(None);
        values.push(Some(f64::NAN));
        let range = Range::of(&values).unwrap();
        assert!(range.open && range.high < 1000.0);
        assert!((range.share(1e9) - 1.0).abs() < 1e-12);
        let same = Range::of(&[Some(2.0), Some(2.0)]).unwrap();
        assert!((same.share(2.0) - 0.5).abs() < 1e-12);
        assert_eq!(Range::of(&[None, Some(f64::NAN)]), None);
    }
}
