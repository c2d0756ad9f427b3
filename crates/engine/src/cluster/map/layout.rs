//! Where things go on the map: data to page coordinates, widths of text, and labels that do not cover each other.

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

    fn centred((x, y): (f32, f32), width: f32, height: f32) -> Self {
        Self { left: x - width / 2.0, top: y - height / 2.0, width, height }
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right() && other.left < self.right() && self.top < other.bottom() && other.top < self.bottom()
    }

    fn holds(&self, other: &Self) -> bool {
        self.left <= other.left
            && self.top <= other.top
            && other.right() <= self.right()
            && other.bottom() <= self.bottom()
    }

    /// Moved by no more than needed to lie inside `frame`.
    fn pushed_into(mut self, frame: &Self) -> Self {
        self.left = self.left.min(frame.right() - self.width).max(frame.left);
        self.top = self.top.min(frame.bottom() - self.height).max(frame.top);
        self
    }
}

/// From data to page: the same number of pixels for a unit on both axes, so that distances look as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    centre: [f32; 2],
    pixels_per_unit: f32,
    frame: Rect,
}

impl Scale {
    /// Fits all `points` into `frame` with a margin.
    pub(super) fn fit(points: impl Iterator<Item = [f32; 2]>, frame: Rect) -> Self {
        let mut low = [f32::INFINITY; 2];
        let mut high = [f32::NEG_INFINITY; 2];
        for point in points {
            for axis in 0..2 {
                low[axis] = low[axis].min(point[axis]);
                high[axis] = high[axis].max(point[axis]);
            }
        }
        let span = |axis: usize| (high[axis] - low[axis]).max(1e-6);
        let pixels_per_unit = 0.92 * (frame.width / span(0)).min(frame.height / span(1));
        let middle = |axis: usize| f32::midpoint(low[axis], high[axis]);
        Self { centre: [middle(0), middle(1)], pixels_per_unit, frame }
    }

    /// Where a data point lies on the page.
    pub(super) fn place(&self, [x, y]: [f32; 2]) -> (f32, f32) {
        let (across, down) = (x - self.centre[0], self.centre[1] - y);
        (
            self.frame.left + self.frame.width / 2.0 + across * self.pixels_per_unit,
            self.frame.top + self.frame.height / 2.0 + down * self.pixels_per_unit,
        )
    }

    /// Round numbers along an axis (0 across, 1 up) that lie inside the frame, 4 to 10 of them on the wider side, and the
    /// decimals they need.
    pub(super) fn ticks(&self, axis: usize) -> (Vec<f32>, usize) {
        let half = [self.frame.width, self.frame.height].map(|side| side / 2.0 / self.pixels_per_unit);
        let rough = half[0].max(half[1]) / 4.0;
        let power = rough.log10().floor();
        let base = 10_f32.powf(power);
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * base).find(|s| *s >= rough).unwrap_or(base * 10.0);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let (low, high) = (self.centre[axis] - half[axis], self.centre[axis] + half[axis]);
        let first = (low / step).ceil() as i64;
        // Adding zero turns -0 into 0.
        let ticks = (first..).map(|i| i as f32 * step + 0.0).take_while(|t| *t <= high).take(50).collect();
        (ticks, decimals)
    }
}

/// About how wide `text` is at a font size: wide characters (Chinese, Japanese, Korean, emoji) fill a square.
pub(super) fn text_width(text: &str, size: f32) -> f32 {
    let ems: f32 = text
        .chars()
        .map(|c| match c {
            '\u{1100}'..='\u{11ff}'
            | '\u{2e80}'..='\u{d7af}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe4f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{1f000}'..='\u{3ffff}' => 1.0,
            'm' | 'w' | 'M' | 'W' => 0.86,
            'i' | 'j' | 'l' | 't' | 'f' | 'r' | ' ' | ',' | '.' | '\'' => 0.36,
            _ => 0.59,
        })
        .sum();
    ems * size
}

/// As much of `text` as is at most `width` wide, with an ellipsis when cut.
pub(super) fn fit_text(text: &str, size: f32, width: f32) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let room = width - size;
    let mut used = 0.0;
    let cut: String = text
        .chars()
        .take_while(|c| {
            used += text_width(c.encode_utf8(&mut [0; 4]), size);
            used <= room
        })
        .collect();
    format!("{}…", cut.trim_end_matches([' ', ',']))
}

/// Places a box of each size in `sizes` as near as possible to its anchor, inside `frame` and clear of the boxes placed
/// before it; tried on growing rings around the anchor. A box that fits nowhere is `None`.
pub(super) fn place_labels(anchors: &[(f32, f32)], sizes: &[(f32, f32)], frame: &Rect) -> Vec<Option<Rect>> {
    /// Pixels between rings, and how many rings are tried.
    const RING: f32 = 9.0;
    const RINGS: u16 = 40;
    /// Places tried on each ring.
    const SPOKES: u16 = 16;
    /// Free space around every label.
    const GAP: f32 = 3.0;
    let mut taken: Vec<Rect> = Vec::new();
    let mut places = Vec::with_capacity(anchors.len());
    for (&(x, y), &(width, height)) in anchors.iter().zip(sizes) {
        let spots = (0..RINGS).flat_map(|ring| (0..SPOKES).map(move |spoke| (ring, spoke)));
        let free = spots
            .filter(|(ring, spoke)| *ring > 0 || *spoke == 0)
            .map(|(ring, spoke)| {
                // Straight up first: the eye looks for a label above what it names.
                let angle = f32::from(spoke) / f32::from(SPOKES) * std::f32::consts::TAU;
                let reach = f32::from(ring) * RING;
                Rect::centred((x + angle.sin() * reach, y - angle.cos() * reach), width, height).pushed_into(frame)
            })
            .find(|rect| {
                let padded = Rect {
                    left: rect.left - GAP,
                    top: rect.top - GAP,
                    width: width + 2.0 * GAP,
                    height: height + 2.0 * GAP,
                };
                frame.holds(rect) && !taken.iter().any(|other| other.overlaps(&padded))
            });
        taken.extend(free);
        places.push(free);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Rect = Rect { left: 10.0, top: 20.0, width: 400.0, height: 200.0 };

    #[test]
    fn every_point_lands_inside_the_frame_and_up_is_up() {
        let points = [[-3.0, 1.0], [5.0, 0.0], [0.0, -2.0]];
        let scale = Scale::fit(points.into_iter(), FRAME);
        for point in points {
            let (x, y) = scale.place(point);
            assert!(x > FRAME.left && x < FRAME.right() && y > FRAME.top && y < FRAME.bottom());
        }
        assert!(scale.place([0.0, 1.0]).1 < scale.place([0.0, 0.0]).1);
        let single = Scale::fit([[2.0, 2.0]].into_iter(), FRAME);
        assert_eq!(single.place([2.0, 2.0]), (210.0, 120.0));
        assert!(single.ticks(0).0.len() <= 50);
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale::fit([[-0.43, -0.2], [0.57, 0.2]].into_iter(), FRAME);
        let (ticks, decimals) = scale.ticks(0);
        assert!(ticks.len() >= 4 && decimals == 1, "{ticks:?} {decimals}");
        assert!(ticks.iter().all(|t| (t * 10.0 - (t * 10.0).round()).abs() < 1e-4));
        assert!(
            ticks.iter().all(|t| scale.place([*t, 0.0]).0 >= FRAME.left && scale.place([*t, 0.0]).0 <= FRAME.right())
        );
    }

    #[test]
    fn labels_on_one_spot_are_spread_without_overlap() {
        let anchors = [(200.0, 100.0); 12];
        let places = place_labels(&anchors, &[(70.0, 16.0); 12], &FRAME);
        let boxes: Vec<Rect> = places.into_iter().flatten().collect();
        assert_eq!(boxes.len(), 12);
        for (i, a) in boxes.iter().enumerate() {
            assert!(FRAME.holds(a));
            assert!(boxes[i + 1..].iter().all(|b| !a.overlaps(b)));
        }
        assert_eq!(place_labels(&[(0.0, 0.0)], &[(900.0, 16.0)], &FRAME), [None]);
    }

    #[test]
    fn text_is_cut_to_its_width() {
        assert_eq!(fit_text("coffee", 12.0, 100.0), "coffee");
        for text in ["coffee, beans, roast, espresso", "咖啡豆的味道很好很好很好"] {
            let cut = fit_text(text, 12.0, 80.0);
            assert!(cut.ends_with('…') && text_width(&cut, 12.0) <= 84.0, "{cut}");
        }
    }
}
