//! Analysis of vectors and texts: clusters and their keywords, neighbours, outliers, near-duplicates, diversity, maps, and
//! learning from labels.
//!
//! Everything here is a pure function of its inputs and a seed; it reads no collection and knows no model.

mod agreement;
mod class_tfidf;
mod density;
mod directions;
mod diversity;
mod folds;
mod kmeans;
mod lloyd;
mod logistic;
mod merge_tree;
mod mini_batch;
mod mmr;
mod near_duplicates;
mod nearest;
mod neighbours;
mod outliers;
mod projection;
mod ridge;
mod seeding;
mod silhouette;
mod stability;
mod sums;
mod tokens;
mod trustworthiness;
mod tsne;
mod vectors;

pub use agreement::{VMeasure, adjusted_rand, normalized_mutual_information, v_measure};
pub use class_tfidf::{ClassTfidf, Keyword};
pub use density::{DensityClusters, HdbscanOptions, hdbscan};
pub use diversity::{DiversityFigures, diversity};
pub use folds::{first_copies, shuffled_folds, stratified_draw, stratified_folds, stratified_held_out};
pub use kmeans::{Cluster, ClusterCount, Clustering, CountScore, KMeansAlgorithm, KMeansOptions, spherical_kmeans};
pub use lloyd::{LloydRun, lloyd_iterations};
pub use logistic::{ClassWeights, LogisticModel, LogisticOptions};
pub use merge_tree::{MERGE_TREE_LIMIT, Merge, merge_tree};
pub use mmr::maximal_marginal_relevance;
pub use near_duplicates::{NearDuplicateOptions, NearDuplicates, near_duplicates};
pub use nearest::assign_to;
pub use neighbours::{NeighbourOptions, NeighbourSearch, Neighbours, nearest_among, nearest_neighbours};
pub use outliers::{OutlierScore, outlier_scores};
pub use projection::{Projection, project_2d};
pub use ridge::{AlphaScore, RidgeFolds, RidgeModel};
pub use silhouette::{SampledSilhouette, mean_silhouette, sampled_silhouette};
pub use stability::{Stability, stability};
pub use trustworthiness::trustworthiness;
pub use tsne::{LAID_OUT_VECTORS, TsneMap, TsneOptions, tsne_2d, tsne_map};
pub use vectors::{VectorFile, Vectors};

#[cfg(test)]
mod made;
#[cfg(test)]
mod tests;
