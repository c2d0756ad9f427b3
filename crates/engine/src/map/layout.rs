//! Where things go on the page: rectangles, and data to page coordinates.

/// A rectangle on the page, in pixels; y grows downwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) width: f32,
    pub(super) height: f32,
}

impl Rect {
    pub(super) fn right(&self) -> f32 {
        self.left + self.width
    }

    pub(super) fn bottom(&self) -> f32 {
        self.top + self.height
    }

    pub(super) fn centred((x, y): (f32, f32), width: f32, height: f32) -> Self {
        Self { left: x - width / 2.0, top: y - height / 2.0, width, height }
    }

    pub(super) fn centre(&self) -> (f32, f32) {
        (self.left + self.width / 2.0, self.top + self.height / 2.0)
    }

    /// Larger by `gap` on every side; smaller when that is negative.
    pub(super) fn padded(&self, gap: f32) -> Self {
        let (width, height) = (self.width + 2.0 * gap, self.height + 2.0 * gap);
        Self { left: self.left - gap, top: self.top - gap, width, height }
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right() && other.left < self.right() && self.top < other.bottom() && other.top < self.bottom()
    }

    pub(super) fn holds(&self, other: &Self) -> bool {
        self.left <= other.left
            && self.top <= other.top
            && other.right() <= self.right()
            && other.bottom() <= self.bottom()
    }

    /// The point of the rectangle that is nearest to another.
    pub(super) fn nearest(&self, (x, y): (f32, f32)) -> (f32, f32) {
        (x.max(self.left).min(self.right()), y.max(self.top).min(self.bottom()))
    }

    /// Moved by no more than needed to lie inside `frame`.
    pub(super) fn pushed_into(mut self, frame: &Self) -> Self {
        self.left = self.left.min(frame.right() - self.width).max(frame.left);
        self.top = self.top.min(frame.bottom() - self.height).max(frame.top);
        self
    }
}

/// From data to page: the same number of pixels for a unit on both axes, so that distances look as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fit {
    centre: [f32; 2],
    pixels_per_unit: f32,
    frame: Rect,
}

impl Fit {
    /// Fits `points` into `frame`. Points that lie in no number of the plane (NaN, infinite) count for nothing.
    pub(super) fn new(points: impl Iterator<Item = [f32; 2]>, frame: Rect) -> Self {
        let mut low = [f32::INFINITY; 2];
        let mut high = [f32::NEG_INFINITY; 2];
        for point in points.filter(|point| is_drawable(*point)) {
            for axis in 0..2 {
                low[axis] = low[axis].min(point[axis]);
                high[axis] = high[axis].max(point[axis]);
            }
        }
        if low[0] > high[0] {
            return Self { centre: [0.0; 2], pixels_per_unit: 1.0, frame };
        }
        let span = |axis: usize| (high[axis] - low[axis]).max(1e-6);
        let pixels_per_unit = (frame.width / span(0)).min(frame.height / span(1));
        let middle = |axis: usize| f32::midpoint(low[axis], high[axis]);
        Self { centre: [middle(0), middle(1)], pixels_per_unit, frame }
    }

    /// Where a data point lies on the page.
    pub(super) fn place(&self, [x, y]: [f32; 2]) -> (f32, f32) {
        let (across, down) = (x - self.centre[0], self.centre[1] - y);
        let (middle, half) = self.frame.centre();
        (middle + across * self.pixels_per_unit, half + down * self.pixels_per_unit)
    }
}

/// Whether a point has a place in the plane. The bound keeps sums and differences of two points finite.
pub(super) fn is_drawable(point: [f32; 2]) -> bool {
    point.iter().all(|c| c.is_finite() && c.abs() < 1e30)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Rect = Rect { left: 10.0, top: 20.0, width: 400.0, height: 200.0 };

    #[test]
    fn every_point_lands_inside_the_frame_and_up_is_up() {
        let points = [[-3.0, 1.0], [5.0, 0.0], [0.0, -2.0], [f32::NAN, 0.0]];
        let fit = Fit::new(points.into_iter(), FRAME);
        for point in &points[..3] {
            let (x, y) = fit.place(*point);
            let at = Rect { left: x, top: y, width: 0.0, height: 0.0 };
            assert!(FRAME.padded(0.01).holds(&at), "{x} {y}");
        }
        assert!(fit.place([0.0, 1.0]).1 < fit.place([0.0, 0.0]).1);
    }

    #[test]
    fn one_point_or_none_lands_in_the_middle() {
        assert_eq!(Fit::new([[2.0, 2.0]].into_iter(), FRAME).place([2.0, 2.0]), (210.0, 120.0));
        assert_eq!(Fit::new(std::iter::empty(), FRAME).place([0.0, 0.0]), (210.0, 120.0));
    }
}
