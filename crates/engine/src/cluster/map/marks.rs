//! The colours and shapes that tell clusters apart.

use svg::node::element::Path;

/// Twelve colours that people with any of the three common colour-vision deficiencies can tell apart, ordered so that
/// neighbours differ most. The set is Krzywinski's, "Designing for color blindness", 2012.
const COLOURS: [&str; 12] = [
    "#008df9", "#ff6e3a", "#009f81", "#9f0162", "#ffc33b", "#8400cd", "#00c2f9", "#e20134", "#ff5aaf", "#00d4ac",
    "#a40122", "#e58fe2",
];

/// The outline of a mark: with more clusters than colours each further dozen gets the next shape.
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
        let cluster = cluster as usize;
        Self { colour: COLOURS[cluster % COLOURS.len()], shape: SHAPES[cluster / COLOURS.len() % SHAPES.len()] }
    }

    /// The mark's outline around a point. `radius` is that of a circle; the other shapes have about the same area.
    pub(super) fn path(self, (x, y): (f32, f32), radius: f32) -> Path {
        let r = radius;
        let outline = match self.shape {
            Shape::Circle => format!("M{:.1} {y:.1}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0z", x - r, d = 2.0 * r),
            Shape::Square => polygon((x, y), &[(-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89)], r),
            Shape::Triangle => polygon((x, y), &[(0.0, -1.4), (1.25, 0.8), (-1.25, 0.8)], r),
            Shape::Diamond => polygon((x, y), &[(0.0, -1.35), (1.15, 0.0), (0.0, 1.35), (-1.15, 0.0)], r),
            Shape::Cross => {
                let (a, b) = (0.42, 1.25);
                let corners = [
                    (-a, -b),
                    (a, -b),
                    (a, -a),
                    (b, -a),
                    (b, a),
                    (a, a),
                    (a, b),
                    (-a, b),
                    (-a, a),
                    (-b, a),
                    (-b, -a),
                    (-a, -a),
                ];
                polygon((x, y), &corners, r)
            }
        };
        Path::new().set("d", outline)
    }
}

fn polygon((x, y): (f32, f32), corners: &[(f32, f32)], radius: f32) -> String {
    let points: Vec<String> =
        corners.iter().map(|(dx, dy)| format!("{:.1} {:.1}", x + dx * radius, y + dy * radius)).collect();
    format!("M{}z", points.join("L"))
}

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
        assert_eq!(Mark::of(0).shape, Mark::of(11).shape);
    }
}
