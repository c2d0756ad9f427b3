//! The map of a clustering.

use anser_core::ProgressUnit;
use anser_index::analysis::{TsneOptions, project_2d, tsne_map};

use super::options::{ClusterOptions, ClusterProjection};
use super::partition::Partition;
use super::report::ClusterReport;
use crate::EngineError;
use crate::analysis::Work;
use crate::map::{Colouring, DocumentMap, hover_texts};

/// Every document's place in the plane.
pub(super) struct Places {
    pub(super) points: Vec<[f32; 2]>,
    pub(super) explained_variance: Option<[f32; 2]>,
    /// How they were found, in words.
    how: String,
}

impl Places {
    /// Lays all documents out.
    pub(super) fn find(work: &Work<'_>, options: &ClusterOptions) -> Result<Self, EngineError> {
        let (vectors, cancel) = (&work.subject.vectors, work.cancel);
        match options.projection {
            ClusterProjection::Pca => {
                work.progress.start("laying out the map", Some(1), ProgressUnit::Items);
                let projection = project_2d(vectors, options.seed, cancel)?;
                work.progress.finish();
                let [x, y] = projection.explained_variance.map(|share| share * 100.0);
                let how = format!("Principal components: {x:.1} % of the variance across, {y:.1} % upwards");
                Ok(Self { points: projection.points, explained_variance: Some(projection.explained_variance), how })
            }
            ClusterProjection::Tsne => {
                let tsne = TsneOptions { seed: options.seed, ..TsneOptions::default() };
                let map = tsne_map(vectors, &tsne, cancel, work.progress)?;
                let how = "t-SNE: near documents lie together, distances between groups mean little".to_owned();
                Ok(Self { points: map.points, explained_variance: None, how })
            }
        }
    }
}

/// Draws `map.svg`, `map.png` and `map.html`.
pub(super) fn draw(
    work: &Work<'_>,
    report: &ClusterReport,
    partition: &Partition,
    places: &Places,
) -> Result<(), EngineError> {
    work.progress.start("drawing the map", Some(3), ProgressUnit::Items);
    let map = DocumentMap {
        title: title(report),
        note: note(report, places),
        points: places.points.clone(),
        colouring: Colouring::Groups {
            of: partition.assignments.clone(),
            labels: report.clusters.iter().map(|cluster| cluster.label.clone()).collect(),
            rest: false,
        },
        hover: hover_texts(work)?,
    };
    work.results.file("map.svg", map.svg().as_bytes())?;
    work.progress.set(1);
    work.cancel.check()?;
    work.results.file("map.png", &map.png()?)?;
    work.progress.set(2);
    work.cancel.check()?;
    work.results.file("map.html", map.html().as_bytes())?;
    work.progress.finish();
    Ok(())
}

fn title(report: &ClusterReport) -> String {
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let (k, documents) = (report.k, report.documents);
    format!("{}: {k} cluster{} of {documents} document{}", report.source, s(k), s(documents))
}

fn note(report: &ClusterReport, places: &Places) -> String {
    // A number of clusters that was chosen comes with its silhouette in the criterion.
    let silhouette = report.silhouette.filter(|_| report.scores.is_empty());
    let silhouette = silhouette.map(|s| format!("; mean silhouette (cosine) {s:.3}")).unwrap_or_default();
    format!("k = {}: {}{silhouette}. {}", report.k, report.criterion, places.how)
}
