//! Doing the work of a projection.

use std::ops::Range;
use std::sync::Arc;

use anser_core::ProgressUnit;
use anser_index::analysis::{project_2d, trustworthiness, tsne_map};
use arrow::array::{ArrayRef, Float32Array, Float64Array, StringArray};
use arrow::datatypes::{DataType, Field};

use super::colour::{Colour, colour};
use super::report::{ProjectionReport, TsneFigures};
use super::{ProjectionMethod, ProjectionOptions};
use crate::EngineError;
use crate::analysis::Work;
use crate::map::{Colouring, DocumentMap, grouped, hover_texts};
use crate::table::write_documents;

/// Neighbours on the map that trustworthiness looks at.
const TRUSTED_NEIGHBOURS: usize = 15;

/// Places of all documents and how good they are.
struct Places {
    points: Vec<[f32; 2]>,
    explained_variance: [f32; 2],
    trustworthiness: Option<f64>,
    pca_trustworthiness: Option<f64>,
    tsne: Option<TsneFigures>,
}

impl ProjectionOptions {
    /// Makes the table `documents` with the columns `id`, `x` and `y` (32-bit floats), `colour` (the group's name, or a
    /// 64-bit float; left out when the map has no colours), `title`, `text` and the attributes; the files `map.svg`,
    /// `map.png` and `map.html`; and a [`ProjectionReport`].
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let colour = colour(work, self)?;
        let places = self.places(work)?;
        write_table(work, &places.points, colour.as_ref())?;
        let report = ProjectionReport {
            source: work.subject.name.clone(),
            documents: work.subject.len(),
            embedder: work.subject.embedder.model.clone(),
            method: self.method,
            seed: self.seed,
            explained_variance: places.explained_variance,
            trustworthiness_k: TRUSTED_NEIGHBOURS.min((work.subject.len() - 1) / 2),
            trustworthiness: places.trustworthiness,
            pca_trustworthiness: places.pca_trustworthiness,
            tsne: places.tsne,
            coloured_by: colour.as_ref().map(|colour| colour.report.clone()),
        };
        draw(work, &report, places.points, colour.map(|colour| colour.colouring))?;
        work.results.report(&report)
    }

    fn places(&self, work: &Work<'_>) -> Result<Places, EngineError> {
        let (vectors, cancel) = (&work.subject.vectors, work.cancel);
        let trust = |points: &[[f32; 2]]| trustworthiness(vectors, points, TRUSTED_NEIGHBOURS, self.seed, cancel);
        match self.method {
            ProjectionMethod::Pca => {
                let map = project_2d(vectors, self.seed, cancel)?;
                let trusted = trust(&map.points)?;
                Ok(Places {
                    explained_variance: map.explained_variance,
                    trustworthiness: trusted,
                    pca_trustworthiness: trusted,
                    tsne: None,
                    points: map.points,
                })
            }
            ProjectionMethod::Tsne => {
                let options = self.tsne();
                let map = tsne_map(vectors, &options, cancel, work.progress)?;
                let figures = TsneFigures {
                    perplexity: options.perplexity_of(map.laid_out),
                    epochs: options.epochs,
                    laid_out: map.laid_out,
                    neighbour_recall: map.recall,
                };
                Ok(Places {
                    explained_variance: map.start.explained_variance,
                    trustworthiness: trust(&map.points)?,
                    pca_trustworthiness: trust(&map.start.points)?,
                    tsne: Some(figures),
                    points: map.points,
                })
            }
        }
    }
}

fn write_table(work: &Work<'_>, points: &[[f32; 2]], colour: Option<&Colour>) -> Result<(), EngineError> {
    let mut fields = vec![Field::new("x", DataType::Float32, false), Field::new("y", DataType::Float32, false)];
    match colour.map(|colour| &colour.colouring) {
        Some(Colouring::Groups { .. }) => fields.push(Field::new("colour", DataType::Utf8, true)),
        Some(Colouring::Scale { .. }) => fields.push(Field::new("colour", DataType::Float64, true)),
        None => {}
    }
    write_documents(work, "documents", fields, &mut |range: Range<usize>| {
        let axis = |axis: usize| -> ArrayRef {
            Arc::new(points[range.clone()].iter().map(|point| Some(point[axis])).collect::<Float32Array>())
        };
        let mut columns = vec![axis(0), axis(1)];
        match colour.map(|colour| &colour.colouring) {
            Some(Colouring::Groups { of, labels, .. }) => {
                let label = |group: &Option<u32>| group.and_then(|group| labels.get(group as usize));
                columns.push(Arc::new(of[range].iter().map(label).collect::<StringArray>()));
            }
            Some(Colouring::Scale { values, .. }) => {
                columns.push(Arc::new(values[range].iter().copied().collect::<Float64Array>()));
            }
            None => {}
        }
        columns
    })
}

/// Makes `map.svg`, `map.png` and `map.html`.
fn draw(
    work: &Work<'_>,
    report: &ProjectionReport,
    points: Vec<[f32; 2]>,
    colouring: Option<Colouring>,
) -> Result<(), EngineError> {
    work.progress.start("drawing the map", Some(4), ProgressUnit::Items);
    let s = if report.documents == 1 { "" } else { "s" };
    let by = report.coloured_by.as_ref().map(|by| format!(", coloured by {}", by.name)).unwrap_or_default();
    let plain =
        || Colouring::Groups { of: vec![Some(0); points.len()], labels: vec!["documents".to_owned()], rest: false };
    let map = DocumentMap {
        title: format!("{}: {} document{s}{by}", report.source, grouped(report.documents)),
        note: note(report),
        colouring: colouring.unwrap_or_else(plain),
        points,
        hover: hover_texts(work)?,
    };
    work.progress.set(1);
    work.results.file("map.html", map.html().as_bytes())?;
    work.progress.set(2);
    work.cancel.check()?;
    work.results.file("map.svg", map.svg().as_bytes())?;
    work.progress.set(3);
    work.cancel.check()?;
    work.results.file("map.png", &map.png()?)?;
    work.progress.finish();
    Ok(())
}

/// How the map was made, for those who look at it.
fn note(report: &ProjectionReport) -> String {
    let layout = match (&report.tsne, report.explained_variance) {
        (Some(tsne), _) => {
            let how = format!("t-SNE (perplexity {:.0}) of {} vectors", tsne.perplexity, report.embedder);
            let placed = match report.documents.checked_sub(tsne.laid_out) {
                Some(0) | None => String::new(),
                Some(_) => format!("; {} laid out, the others placed beside their nearest", grouped(tsne.laid_out)),
            };
            format!("{how}{placed}: near documents lie together, distances between groups mean little.")
        }
        (None, share) => {
            let [x, y] = share.map(|share| share * 100.0);
            let model = &report.embedder;
            format!("Principal components of {model} vectors: across {x:.1} % of the variance, up {y:.1} %.")
        }
    };
    let trust = report.trustworthiness.map(|trusted| format!(" Trustworthiness {trusted:.3}.")).unwrap_or_default();
    let how = report.coloured_by.as_ref().and_then(|by| by.how.as_ref());
    let colours = how.map(|how| format!(" Colours: {how}.")).unwrap_or_default();
    format!("{layout}{trust}{colours}")
}
