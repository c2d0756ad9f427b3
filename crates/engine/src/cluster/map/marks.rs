//! The colours and shapes that tell clusters apart.

use svg::node::element::Path;

/// Twelve colours that people with any of the three common colour-vision deficiencies can tell apart, after Krzywinski,
/// "Designing for color blindness", 2012. The last four are nearest to others, so they come with another shape as well.
const COLOURS: [&str; 12] = [
    "#008df9", "#ff6e3a", "#009f81", "#9f0162", "#ffc33b", "#8400cd", "#00c2f9", "#e20134", "#ff5aaf", "#00d4ac",
    "#a40122", "#e58fe2",
];

/// How many of the colours differ strongly from each other.
const STRONG_COLOURS: usize = 8;

/// The outline of a mark: each further dozen of clusters has the next shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
}

const SHAPES: [Shape; 5] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Cross];

/// How one cluster is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) colour: &'static str,
    shape: Shape,
}

impl Mark {
    /// The mark of a cluster; sixty in a row are different.
    pub(super) fn of(cluster: u32) -> Self {
        let (dozen, colour) = (cluster as usize / COLOURS.len(), cluster as usize % COLOURS.len());
        let shape = dozen + usize::from(colour >= STRONG_COLOURS);
        Self { colour: COLOURS[colour], shape: SHAPES[shape % SHAPES.len()] }
    }

    /// The mark's outline around a point. `radius` is that of a circle; the other shapes have about the same area.
    pub(super) fn path(self, (x, y): (f32, f32), radius: f32) -> Path {
        let outline = if self.shape == Shape::Circle {
            let (left, across) = (x - radius, 2.0 * radius);
            format!("M{left:.1} {y:.1}a{radius} {radius} 0 1 0 {across} 0a{radius} {radius} 0 1 0 -{across} 0z")
        } else {
            let corner = |(dx, dy): &(f32, f32)| format!("{:.1} {:.1}", x + dx * radius, y + dy * radius);
            let corners: Vec<String> = self.shape.corners().iter().map(corner).collect();
            format!("M{}z", corners.join("L"))
        };
        Path::new().set("d", outline)
    }
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sixty_clusters_have_different_marks_and_more_do_not_fail() {
        let marks: HashSet<String> =
            (0..60).map(|c| format!("{}{}", Mark::of(c).colour, Mark::of(c).path((0.0, 0.0), 1.0))).collect();
        assert_eq!(marks.len(), 60);
        assert_eq!(Mark::of(60), Mark::of(0));
        assert_eq!(Mark::of(0).shape, Mark::of(7).shape);
        assert_ne!(Mark::of(3).shape, Mark::of(10).shape);
    }
}
