//! A map of documents as a picture: points in the plane, coloured by group or by a number, as SVG, PNG and a page that
//! can be explored in a browser.

mod drawing;
mod hover;
mod labels;
mod layout;
mod legend;
mod marks;
mod page;
mod raster;
pub(crate) mod text;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use self::layout::is_drawable;
use self::marks::{Mark, NO_COLOUR, Range, ramp};
use crate::EngineError;
pub(crate) use hover::hover_texts;
pub(crate) use text::grouped;

/// Most points in a page; of more a random sample is.
const PAGE_POINTS: usize = 100_000;

/// Most points in a picture; of more a random sample is.
const PICTURE_POINTS: usize = 20_000;

/// Documents in the plane, ready to be drawn.
#[derive(Debug, Clone)]
pub(crate) struct DocumentMap {
    /// What the map shows.
    pub(crate) title: String,
    /// How it was made, in a sentence or two.
    pub(crate) note: String,
    /// One place for each document. Only distances matter: the map is scaled to the page. A point that is not finite is
    /// not drawn.
    pub(crate) points: Vec<[f32; 2]>,
    /// What the colours mean, one value for each point.
    pub(crate) colouring: Colouring,
    /// What is shown of each document when it is pointed at: lines, the first one a heading. Those of documents that
    /// [`DocumentMap::shown`] leaves out may be empty, and so may the whole list.
    pub(crate) hover: Vec<String>,
}

/// What the colours of a map mean.
#[derive(Debug, Clone)]
pub(crate) enum Colouring {
    /// Groups, each with a colour and shape of its own.
    Groups {
        /// The group of each point, an index into `labels`; `None` for a point that belongs to none.
        of: Vec<Option<u32>>,
        /// What each group is called.
        labels: Vec<String>,
        /// Whether the last label stands for many small groups together. Such points are grey, lie under all others and
        /// are not named on the map.
        rest: bool,
    },
    /// A number, on a scale of colours.
    Scale {
        /// The number of each point; `None` where there is none.
        values: Vec<Option<f64>>,
        /// What the number is.
        name: String,
    },
}

impl DocumentMap {
    /// Which of `points` points a page shows, in the order of drawing, which is random so that no group lies on top of
    /// all others: all, or of more than 100,000 a sample, the same on every call. A picture shows the first 20,000.
    pub(crate) fn shown(points: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..points as u32).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
        order.truncate(PAGE_POINTS);
        order
    }

    /// The map as an SVG file, 1280 x 960: points, names of groups that lie together, a legend with counts or a colour
    /// bar. Of more than 20,000 points a sample is drawn, and the note says so.
    pub(crate) fn svg(&self) -> String {
        drawing::draw(self)
    }

    /// The same as a PNG file, 1600 x 1200. Text is drawn with a common sans-serif font of the machine, and with one of the
    /// program's own where there is none.
    pub(crate) fn png(&self) -> Result<Vec<u8>, EngineError> {
        raster::png(&self.svg(), raster::fonts())
    }

    /// A page of its own, which needs no network: pan and zoom, hover texts, a legend that turns groups on and off, and
    /// a search. Of more than 100,000 points a sample is in it, and the note says so.
    pub(crate) fn html(&self) -> String {
        page::page(self)
    }

    /// At most so many points in the order of drawing: those that are grey first, so that they hide no others.
    fn drawn(&self, most: usize) -> Vec<usize> {
        let mut drawn: Vec<usize> = Self::shown(self.points.len()).into_iter().map(|at| at as usize).collect();
        drawn.retain(|at| is_drawable(self.points[*at]));
        drawn.truncate(most);
        drawn.sort_by_key(|at| !self.colouring.is_grey(*at));
        drawn
    }

    /// The note, and how many points are drawn when that is not all.
    fn full_note(&self, drawn: usize) -> String {
        if drawn == self.points.len() {
            return self.note.clone();
        }
        let (drawn, all) = (text::grouped(drawn), text::grouped(self.points.len()));
        let note = self.note.trim_end_matches('.');
        let joint = if note.is_empty() { "" } else { ". " };
        format!("{note}{joint}Drawn: a random {drawn} of {all} documents.")
    }
}

impl Colouring {
    /// How each point is drawn.
    fn marks(&self) -> Box<dyn Fn(usize) -> Mark + '_> {
        match self {
            Self::Groups { of, .. } => Box::new(move |at| match of.get(at).copied().flatten() {
                Some(group) => self.mark_of_group(group),
                None => Mark::none(),
            }),
            Self::Scale { values, .. } => {
                let range = Range::of(values);
                Box::new(move |at| {
                    let value = values.get(at).copied().flatten().filter(|value| value.is_finite());
                    match (value, range) {
                        (Some(value), Some(range)) => Mark::round(&ramp(range.share(value))),
                        _ => Mark::round(NO_COLOUR),
                    }
                })
            }
        }
    }

    /// How the points of a group are drawn.
    fn mark_of_group(&self, group: u32) -> Mark {
        match self {
            Self::Groups { labels, .. } if !self.is_rest(group) => Mark::of(group, labels.len()),
            Self::Groups { .. } => Mark::rest(),
            Self::Scale { .. } => Mark::none(),
        }
    }

    /// Whether a group stands for many small ones together.
    fn is_rest(&self, group: u32) -> bool {
        matches!(self, Self::Groups { labels, rest: true, .. } if group as usize + 1 == labels.len())
    }

    /// Whether a point has no colour that means something.
    fn is_grey(&self, at: usize) -> bool {
        match self {
            Self::Groups { of, .. } => of.get(at).copied().flatten().is_none_or(|group| self.is_rest(group)),
            Self::Scale { values, .. } => !values.get(at).copied().flatten().is_some_and(f64::is_finite),
        }
    }

    /// How many points each group has, and how many have none.
    fn counts(&self) -> (Vec<usize>, usize) {
        match self {
            Self::Groups { of, labels, .. } => {
                let (mut counts, mut none) = (vec![0_usize; labels.len()], 0);
                for group in of {
                    match group.and_then(|group| counts.get_mut(group as usize)) {
                        Some(count) => *count += 1,
                        None => none += 1,
                    }
                }
                (counts, none)
            }
            Self::Scale { values, .. } => {
                (Vec::new(), values.iter().filter(|v| !v.is_some_and(f64::is_finite)).count())
            }
        }
    }
}

#[cfg(test)]
mod tests;
