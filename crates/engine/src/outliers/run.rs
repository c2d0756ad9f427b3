//! The outlier job: neighbours, scores, ranks, reasons.

use std::collections::HashSet;
use std::sync::Arc;

use anser_core::CancelToken;
use anser_index::analysis::{
    NeighbourOptions, NeighbourSearch, Neighbours, OutlierScore, Vectors, nearest_neighbours, outlier_scores,
};
use arrow::array::{ArrayRef, BooleanArray, Float32Array, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field};

use super::histogram::histogram;
use super::{NearDocument, Outlier, OutlierMethod, OutlierOptions, OutlierReport, ShownDocument, TypicalFigures};
use crate::EngineError;
use crate::analysis::Work;
use crate::table::write_ordered;

/// Nearest documents that a reason names.
const NAMED_NEIGHBOURS: usize = 3;

/// Neighbours at least this near are copies, but for rounding.
const COPY: f32 = 1.0 - 1e-5;

/// Robust standard deviations above the median from which on a score stands out.
const DEVIATIONS: f64 = 3.0;

/// From median absolute deviation to standard deviation, for the normal distribution.
const NORMAL_MAD: f64 = 1.4826;

/// Least score above the median that can stand out: less is rounding.
const ROUNDING: f64 = 1e-4;

impl OutlierOptions {
    /// Does the work: `report.json` ([`OutlierReport`]), `scores.svg` (how the scores are distributed) and the table
    /// `documents`, most unusual first, with the columns `id`, `rank` (u32, from 1), `outlier` (bool: stands out), `lof`
    /// (f32), `distance` (f32, cosine distance to the k-th nearest), `nearest_id`, `nearest_similarity` (f32, cosine),
    /// `title`, `text` and the attributes.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let rows = work.subject.len();
        if rows < 2 {
            let name = &work.subject.name;
            let message = format!("\"{name}\" has 1 document here, and outliers need others to differ from; add some");
            return Err(EngineError::invalid("source", message));
        }
        let options = NeighbourOptions { k: self.k.min(rows - 1), exact: None, seed: self.seed };
        let search = nearest_neighbours(&work.subject.vectors, &options, work.cancel, work.progress)?;
        let scores = outlier_scores(&search.neighbours);
        work.cancel.check()?;
        let ranking = Ranking::new(self.method, &search.neighbours, &scores);
        let report = self.report(work, &search, &ranking)?;
        work.results.file("scores.svg", histogram(&report, &ranking.values()).as_bytes())?;
        ranking.write(work)?;
        work.results.report(&report)
    }

    fn report(
        &self,
        work: &Work<'_>,
        search: &NeighbourSearch,
        ranking: &Ranking<'_>,
    ) -> Result<OutlierReport, EngineError> {
        let typical = ranking.typical();
        let ranked = ranking
            .without_copies(&work.subject.vectors, self.limit, work.cancel)?
            .into_iter()
            .map(|rank| ranking.reasons(work, rank, typical))
            .collect::<Result<Vec<Outlier>, _>>()?;
        Ok(OutlierReport {
            source: work.subject.name.clone(),
            embedder: work.subject.embedder.model.clone(),
            documents: work.subject.len(),
            method: self.method,
            k: search.neighbours.k(),
            exact: search.exact,
            recall: search.recall,
            typical,
            threshold: ranking.threshold,
            outliers: ranking.order.iter().take_while(|row| ranking.stands_out(**row)).count(),
            ranked,
        })
    }
}

/// All documents with their scores, most unusual first.
struct Ranking<'a> {
    method: OutlierMethod,
    neighbours: &'a Neighbours,
    scores: &'a [OutlierScore],
    /// Rows, most unusual first; equal scores in order of id.
    order: Vec<usize>,
    threshold: f64,
}

impl<'a> Ranking<'a> {
    fn new(method: OutlierMethod, neighbours: &'a Neighbours, scores: &'a [OutlierScore]) -> Self {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let value = |row: usize| value_of(method, scores[row]);
        // The other score tells documents apart that this one does not.
        let other = |row: usize| {
            let score = &scores[row];
            if method == OutlierMethod::Lof { score.distance } else { score.lof }
        };
        order.sort_by(|&a, &b| value(b).total_cmp(&value(a)).then(other(b).total_cmp(&other(a))).then(a.cmp(&b)));
        let middle = median(scores.iter().map(|score| value_of(method, *score)));
        let spread = median(scores.iter().map(|score| (value_of(method, *score) - middle).abs()));
        let threshold = middle + (DEVIATIONS * NORMAL_MAD * spread).max(ROUNDING);
        Self { method, neighbours, scores, order, threshold }
    }

    fn value(&self, row: usize) -> f64 {
        value_of(self.method, self.scores[row])
    }

    /// The scores, highest first.
    fn values(&self) -> Vec<f64> {
        self.order.iter().map(|&row| self.value(row)).collect()
    }

    fn stands_out(&self, row: usize) -> bool {
        self.value(row) > self.threshold
    }

    /// A document's nearest other and its cosine; every row has at least one neighbour.
    fn nearest(&self, row: usize) -> (usize, f32) {
        let (rows, similarities) = self.neighbours.of(row);
        (rows.first().map_or(row, |row| *row as usize), similarities.first().copied().unwrap_or_default())
    }

    fn typical(&self) -> TypicalFigures {
        TypicalFigures {
            nearest_distance: median((0..self.scores.len()).map(|row| f64::from(1.0 - self.nearest(row).1))),
            distance: median(self.scores.iter().map(|score| f64::from(score.distance))),
            lof: median(self.scores.iter().map(|score| f64::from(score.lof))),
        }
    }

    /// The first ranks, `limit` of them, without documents that are copies of one before: a text that was posted nine times
    /// is one thing to look at.
    fn without_copies(&self, vectors: &Vectors, limit: usize, cancel: &CancelToken) -> Result<Vec<usize>, EngineError> {
        let mut ranks: Vec<usize> = Vec::with_capacity(limit);
        let mut listed = HashSet::new();
        for (at, &row) in self.order.iter().enumerate() {
            if ranks.len() == limit {
                break;
            }
            cancel.check()?;
            let (near, similarities) = self.neighbours.of(row);
            let mut copies = near.iter().zip(similarities).take_while(|(_, similarity)| **similarity >= COPY);
            // Copies may be too many to be each other's neighbours; equal vectors tell then.
            let is_copy = copies.any(|(other, _)| listed.contains(&(*other as usize)))
                || similarities.first().is_some_and(|nearest| *nearest >= COPY)
                    && listed.iter().any(|other| vectors.row(*other) == vectors.row(row));
            if !is_copy {
                listed.insert(row);
                ranks.push(at + 1);
            }
        }
        Ok(ranks)
    }

    /// The document of a rank with what a person needs to see why it has that rank.
    fn reasons(&self, work: &Work<'_>, rank: usize, typical: TypicalFigures) -> Result<Outlier, EngineError> {
        let row = self.order[rank - 1];
        let (near, similarities) = self.neighbours.of(row);
        let copies = similarities.iter().take_while(|similarity| **similarity >= COPY).count();
        // Copies explain nothing, but where there is nothing else they are what there is.
        let named = if copies < near.len() {
            copies..near.len().min(copies + NAMED_NEIGHBOURS)
        } else {
            0..near.len().min(NAMED_NEIGHBOURS)
        };
        let (near, similarities) = (&near[named.clone()], &similarities[named]);
        let places: Vec<usize> = std::iter::once(row).chain(near.iter().map(|row| *row as usize)).collect();
        let mut documents = work.subject.some(&places)?.into_iter();
        let itself = documents.next().ok_or_else(|| EngineError::internal("an outlier was not read"))?;
        let neighbours: Vec<NearDocument> = documents
            .zip(similarities)
            .map(|(document, similarity)| NearDocument { document: (&document).into(), similarity: *similarity })
            .collect();
        let score = self.scores[row];
        let nearest_distance = similarities.first().map_or(0.0, |similarity| (1.0 - similarity).max(0.0));
        let nearest = match copies {
            0 => "its nearest".to_owned(),
            1 => "the nearest that is not its one copy".to_owned(),
            _ => format!("the nearest that is none of its {copies} copies"),
        };
        let reason = format!(
            "{nearest_distance:.2} from {nearest} (typical {:.2}), {:.2} from its {} nearest (typical {:.2}); {:.2} times as far from its neighbours as they are from theirs",
            typical.nearest_distance,
            score.distance,
            ordinal(self.neighbours.k()),
            typical.distance,
            score.lof
        );
        Ok(Outlier {
            rank,
            document: ShownDocument::from(&itself),
            lof: score.lof,
            distance: score.distance,
            nearest_distance,
            copies,
            outlier: self.stands_out(row),
            reason,
            neighbours,
        })
    }

    fn write(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let own = vec![
            Field::new("rank", DataType::UInt32, false),
            Field::new("outlier", DataType::Boolean, false),
            Field::new("lof", DataType::Float32, false),
            Field::new("distance", DataType::Float32, false),
            Field::new("nearest_id", DataType::Utf8, false),
            Field::new("nearest_similarity", DataType::Float32, false),
        ];
        let ids = &work.subject.ids;
        write_ordered(work, "documents", own, &self.order, &mut |positions| {
            let rows = &self.order[positions.clone()];
            let float = |of: &dyn Fn(usize) -> f32| -> ArrayRef {
                Arc::new(rows.iter().map(|&row| of(row)).map(Some).collect::<Float32Array>())
            };
            vec![
                Arc::new(positions.map(|at| Some(at as u32 + 1)).collect::<UInt32Array>()),
                Arc::new(rows.iter().map(|&row| Some(self.stands_out(row))).collect::<BooleanArray>()),
                float(&|row| self.scores[row].lof),
                float(&|row| self.scores[row].distance),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|&row| ids[self.nearest(row).0].as_str()))),
                float(&|row| self.nearest(row).1),
            ]
        })
    }
}

fn value_of(method: OutlierMethod, score: OutlierScore) -> f64 {
    f64::from(match method {
        OutlierMethod::Lof => score.lof,
        OutlierMethod::KnnDistance => score.distance,
    })
}

/// The middle value, the mean of the two middle ones where their number is even; 0 for none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    if values.is_empty() {
        return 0.0;
    }
    let (odd, middle) = (values.len() % 2 == 1, values.len() / 2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if odd { *upper } else { below.iter().copied().fold(f64::MIN, f64::max).midpoint(*upper) }
}

/// 1st, 2nd, 3rd, 4th, …
fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ordinals_are_those_of_the_textbook() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-12);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-12);
        assert!(median(std::iter::empty()).abs() < 1e-12);
        let shown = [1, 2, 3, 4, 11, 12, 13, 20, 21, 102, 111, 113].map(ordinal);
        assert_eq!(shown.join(" "), "1st 2nd 3rd 4th 11th 12th 13th 20th 21st 102nd 111th 113th");
    }
}
