//! Analysis of what a collection holds: clusters, their keywords, and a map of them.
//!
//! Everything here is a pure function of its inputs and a seed; it reads no collection and knows no model.

mod class_tfidf;
mod kmeans;
mod lloyd;
mod logistic;
mod projection;
mod silhouette;
mod tokens;
mod vectors;

pub use class_tfidf::{Keyword, class_tfidf};
pub use kmeans::{Cluster, ClusterCount, Clustering, CountScore, KMeansOptions, spherical_kmeans};
pub use logistic::{ClassWeights, LogisticModel, LogisticOptions};
pub use projection::{Projection, project_2d};
pub use silhouette::mean_silhouette;
pub use vectors::{VectorFile, Vectors};

#[cfg(test)]
mod tests;
