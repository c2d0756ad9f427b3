//! What a map says about itself.

use serde::{Deserialize, Serialize};

use super::ProjectionMethod;

/// The report of a projection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProjectionReport {
    /// The collection or file.
    pub source: String,
    /// Documents on the map.
    pub documents: usize,
    /// The embedder whose vectors were laid out.
    pub embedder: String,
    /// How places were found.
    pub method: ProjectionMethod,
    /// The seed.
    pub seed: u64,
    /// The shares of the variance, in [0, 1], along the first two principal components: the axes of the map when the method
    /// is `pca`, its start when it is `tsne`.
    pub explained_variance: [f32; 2],
    /// Neighbours that trustworthiness looks at; lowered to less than half of the documents where there are few.
    pub trustworthiness_k: usize,
    /// How far the map can be trusted, in [0, 1]: 1 when documents that lie together on it are nearest to each other in
    /// truth, about 0.5 for a random map (Venna and Kaski 2001). Measured for a sample of 500 documents among up to 20,000;
    /// absent for fewer than 4 documents.
    pub trustworthiness: Option<f64>,
    /// The same for the first two principal components of the same documents.
    pub pca_trustworthiness: Option<f64>,
    /// Figures of t-SNE; absent when the method is `pca`.
    pub tsne: Option<TsneFigures>,
    /// What the colours mean; absent when there are none.
    pub coloured_by: Option<ColouredBy>,
}

/// How t-SNE went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TsneFigures {
    /// The perplexity used.
    pub perplexity: f32,
    /// Steps of the descent.
    pub epochs: usize,
    /// Documents laid out together: all, or a sample of 50,000. Each other document lies between its nearest of these.
    pub laid_out: usize,
    /// The share of true neighbours that the layout began from; absent when all pairs were compared.
    pub neighbour_recall: Option<f64>,
}

/// What the colours of a map mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColouredBy {
    /// `cluster`, or the name of an attribute.
    pub name: String,
    /// The groups in the order of the legend, largest first; empty for a scale.
    pub groups: Vec<ColouredGroup>,
    /// The smallest and the largest number on the scale; absent for groups. Times are years, or days when all lie within
    /// three years.
    pub scale: Option<[f64; 2]>,
    /// Documents without a value.
    pub missing: usize,
    /// How the clusters, or the groups of an attribute with many values, were formed; absent where there is nothing to say.
    pub how: Option<String>,
}

/// One group of a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColouredGroup {
    /// What it is called.
    pub label: String,
    /// Its documents.
    pub documents: usize,
}
