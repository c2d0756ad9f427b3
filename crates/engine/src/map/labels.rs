//! Names on the map: which groups have one place to be named at, and boxes that do not cover each other.

use super::Colouring;
use super::layout::{Rect, is_drawable};

/// Cells on each side of the grid that the densest place of a group is looked for in.
const CELLS: usize = 28;

/// A group is named on the map when half of its points lie within this share of the distance within which half of all
/// points lie from their middle. A group that is everywhere has no place of its own.
const COMPACT: f32 = 0.75;

/// Pixels between two rings of tried places, and how many rings are tried.
const RING: f32 = 8.0;
const RINGS: u16 = 60;
/// How many of them are near enough to choose among.
const NEAR_RINGS: u16 = 9;
/// Places tried on each ring.
const SPOKES: u16 = 24;
/// Free space around every label.
const GAP: f32 = 3.0;

/// The densest place of each group that has one, as (group, place), largest group first.
pub(super) fn anchors(points: &[[f32; 2]], colouring: &Colouring) -> Vec<(u32, [f32; 2])> {
    let Colouring::Groups { of, labels, .. } = colouring else { return Vec::new() };
    let mut members: Vec<Vec<[f32; 2]>> = vec![Vec::new(); labels.len()];
    for (group, point) in of.iter().zip(points) {
        if let Some(members) = group.and_then(|group| members.get_mut(group as usize))
            && is_drawable(*point)
        {
            members.push(*point);
        }
    }
    let all: Vec<[f32; 2]> = points.iter().copied().filter(|point| is_drawable(*point)).collect();
    if all.is_empty() {
        return Vec::new();
    }
    let (low, high) = bounds(&all);
    let middle = [0, 1].map(|axis| median(all.iter().map(|point| point[axis]).collect()));
    let spread = median(all.iter().map(|point| distance(*point, middle)).collect());
    let mut found: Vec<(usize, u32, [f32; 2])> = Vec::new();
    let named = |group: usize| !members[group].is_empty() && !colouring.is_rest(group as u32);
    for (group, members) in members.iter().enumerate().filter(|(group, _)| named(*group)) {
        let place = densest(members, low, high);
        let own_spread = median(members.iter().map(|point| distance(*point, place)).collect());
        if own_spread < COMPACT * spread {
            found.push((members.len(), group as u32, place));
        }
    }
    found.sort_by_key(|(size, group, _)| (std::cmp::Reverse(*size), *group));
    found.into_iter().map(|(_, group, place)| (group, place)).collect()
}

/// The mean of the points in the fullest 3 x 3 cells of a grid over the whole map.
fn densest(members: &[[f32; 2]], low: [f32; 2], high: [f32; 2]) -> [f32; 2] {
    let cell = |point: &[f32; 2]| {
        [0, 1].map(|axis| {
            let share = (point[axis] - low[axis]) / (high[axis] - low[axis]).max(1e-12);
            ((share * CELLS as f32) as usize).min(CELLS - 1)
        })
    };
    let near = |a: [usize; 2], b: [usize; 2]| a[0].abs_diff(b[0]) <= 1 && a[1].abs_diff(b[1]) <= 1;
    let mut counts = vec![0_usize; CELLS * CELLS];
    for point in members {
        let [across, up] = cell(point);
        for row in up.saturating_sub(1)..(up + 2).min(CELLS) {
            for column in across.saturating_sub(1)..(across + 2).min(CELLS) {
                // A point counts more for its own cell than for those around it.
                counts[row * CELLS + column] += if row == up && column == across { 2 } else { 1 };
            }
        }
    }
    let fullest = (0..counts.len()).max_by_key(|at| (counts[*at], std::cmp::Reverse(*at))).unwrap_or(0);
    let fullest = [fullest % CELLS, fullest / CELLS];
    let (mut sum, mut within) = ([0.0_f64; 2], 0_u32);
    for point in members.iter().filter(|point| near(cell(point), fullest)) {
        sum[0] += f64::from(point[0]);
        sum[1] += f64::from(point[1]);
        within += 1;
    }
    sum.map(|sum| (sum / f64::from(within.max(1))) as f32)
}

fn bounds(points: &[[f32; 2]]) -> ([f32; 2], [f32; 2]) {
    let mut low = [f32::INFINITY; 2];
    let mut high = [f32::NEG_INFINITY; 2];
    for point in points {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    (low, high)
}

fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

fn median(mut values: Vec<f32>) -> f32 {
    let at = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(at, f32::total_cmp).1 }
}

/// How many points lie in any rectangle of the page, to within a few pixels.
pub(super) struct Crowd {
    /// For each cell of a grid the points left of and above its lower right corner.
    sums: Vec<u32>,
    columns: usize,
    rows: usize,
    left: f32,
    top: f32,
}

impl Crowd {
    /// Side of a cell, in pixels.
    const CELL: f32 = 4.0;

    /// Counts points of the page that lie in `frame`.
    pub(super) fn new(points: impl Iterator<Item = (f32, f32)>, frame: &Rect) -> Self {
        // One empty row and column in front, so that every rectangle has cells before it.
        let cells = |side: f32| (side / Self::CELL).ceil() as usize + 2;
        let (columns, rows) = (cells(frame.width), cells(frame.height));
        let mut crowd = Self { sums: vec![0; columns * rows], columns, rows, left: frame.left, top: frame.top };
        for (x, y) in points {
            let (column, row) = crowd.cell((x, y));
            crowd.sums[row * columns + column] += 1;
        }
        for row in 1..rows {
            for column in 1..columns {
                let at = row * columns + column;
                crowd.sums[at] += crowd.sums[at - 1] + crowd.sums[at - columns] - crowd.sums[at - columns - 1];
            }
        }
        crowd
    }

    fn cell(&self, (x, y): (f32, f32)) -> (usize, usize) {
        let index = |from: f32, most: usize| ((from / Self::CELL).max(0.0) as usize + 1).min(most - 1);
        (index(x - self.left, self.columns), index(y - self.top, self.rows))
    }

    fn within(&self, rect: &Rect) -> u32 {
        let (left, top) = self.cell((rect.left, rect.top));
        let (right, bottom) = self.cell((rect.right(), rect.bottom()));
        let sum = |column: usize, row: usize| self.sums[row * self.columns + column];
        sum(right, bottom) + sum(left - 1, top - 1) - sum(left - 1, bottom) - sum(right, top - 1)
    }
}

/// Places a box of each size in `sizes` near its anchor, inside `frame` and clear of the boxes placed before it; tried on
/// growing rings around the anchor. Near the anchor the place is taken that weighs least, the distance and the share of
/// points covered together; farther away the first free one. A box that fits nowhere is `None`.
pub(super) fn place_labels(
    anchors: &[(f32, f32)],
    sizes: &[(f32, f32)],
    frame: &Rect,
    crowd: &Crowd,
) -> Vec<Option<Rect>> {
    let mut taken: Vec<Rect> = Vec::new();
    let mut places = Vec::with_capacity(anchors.len());
    for (&(x, y), &(width, height)) in anchors.iter().zip(sizes) {
        let on_ring = |ring: u16| {
            let spokes = if ring == 0 { 1 } else { SPOKES };
            (0..spokes).map(move |spoke| {
                // Straight up first: the eye looks for a label above what it names.
                let angle = f32::from(spoke) / f32::from(SPOKES) * std::f32::consts::TAU;
                let reach = f32::from(ring) * RING;
                Rect::centred((x + angle.sin() * reach, y - angle.cos() * reach), width, height).pushed_into(frame)
            })
        };
        let free = |rect: &Rect| frame.holds(rect) && !taken.iter().any(|other| other.overlaps(&rect.padded(GAP)));
        let near: Vec<(Rect, u16, u32)> = (0..NEAR_RINGS)
            .flat_map(|ring| on_ring(ring).filter(free).map(move |rect| (rect, ring, crowd.within(&rect))))
            .collect();
        let most = near.iter().map(|(.., covered)| *covered).max().unwrap_or(0).max(1) as f32;
        let weight =
            |(_, ring, covered): &(Rect, u16, u32)| f32::from(*ring) / f32::from(NEAR_RINGS) + *covered as f32 / most;
        let best = near.iter().min_by(|a, b| weight(a).total_cmp(&weight(b))).map(|(rect, ..)| *rect);
        let place = best.or_else(|| (NEAR_RINGS..RINGS).flat_map(on_ring).find(free));
        taken.extend(place);
        places.push(place);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Rect = Rect { left: 10.0, top: 20.0, width: 400.0, height: 200.0 };

    #[test]
    fn labels_on_one_spot_are_spread_without_overlap() {
        let anchors = [(200.0, 100.0); 12];
        let none = Crowd::new(std::iter::empty(), &FRAME);
        let places = place_labels(&anchors, &[(70.0, 16.0); 12], &FRAME, &none);
        let boxes: Vec<Rect> = places.into_iter().flatten().collect();
        assert_eq!(boxes.len(), 12);
        for (i, a) in boxes.iter().enumerate() {
            assert!(FRAME.holds(a));
            assert!(boxes[i + 1..].iter().all(|b| !a.overlaps(b)));
        }
        assert_eq!(place_labels(&[(0.0, 0.0)], &[(900.0, 16.0)], &FRAME, &none), [None]);
        let alone = place_labels(&[(200.0, 100.0)], &[(70.0, 16.0)], &FRAME, &none);
        assert_eq!(alone, [Some(Rect::centred((200.0, 100.0), 70.0, 16.0))]);
    }

    #[test]
    fn a_label_moves_off_its_points_when_there_is_room_beside_them() {
        let points: Vec<(f32, f32)> =
            (0..40_u8).map(|at| (190.0 + f32::from(at % 8) * 3.0, 95.0 + f32::from(at / 8) * 2.0)).collect();
        let crowd = Crowd::new(points.iter().copied(), &FRAME);
        let place = place_labels(&[(200.0, 100.0)], &[(70.0, 16.0)], &FRAME, &crowd)[0].unwrap();
        let held = |rect: &Rect| points.iter().filter(|(x, y)| rect.nearest((*x, *y)) == (*x, *y)).count();
        assert_eq!(held(&place), 0, "{place:?}");
        assert!((place.centre().0 - 200.0).hypot(place.centre().1 - 100.0) < 60.0);
        assert_eq!(crowd.within(&FRAME), 40);
        assert_eq!(crowd.within(&Rect { left: 300.0, top: 30.0, width: 50.0, height: 50.0 }), 0);
    }

    #[test]
    fn a_group_is_named_where_most_of_it_lies_and_a_group_that_is_everywhere_is_not_named() {
        let (mut points, mut of) = (Vec::new(), Vec::new());
        for i in 0..100_u8 {
            let (a, b) = (f32::from(i % 10), f32::from(i / 10));
            points.extend([[a * 0.1, b * 0.1], [50.0 + a * 0.1, b * 0.1], [a * 5.0, b * 5.0]]);
            of.extend([Some(0), Some(1), Some(2)]);
        }
        // One stray of group 0 far away does not pull its name.
        points.push([50.0, 50.0]);
        of.push(Some(0));
        points.push([f32::NAN, 0.0]);
        of.push(Some(1));
        let labels = ["a", "b", "everywhere", "empty"].map(str::to_owned).to_vec();
        let found = anchors(&points, &Colouring::Groups { of, labels, rest: false });
        let groups: Vec<u32> = found.iter().map(|(group, _)| *group).collect();
        assert_eq!(groups, [0, 1], "{found:?}");
        assert!(found[0].1[0] < 1.0 && found[0].1[1] < 1.0, "{found:?}");
        assert!(found[1].1[0] > 50.0, "{found:?}");
    }
}
