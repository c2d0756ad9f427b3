//! Which clusters are nearest to each other: a tree that merges them two by two.

use kodama::{Method, linkage};
use serde::{Deserialize, Serialize};

use super::vectors::{Vectors, dot};
use crate::{IndexError, Result};

/// Most clusters of a merge tree: the distances of all pairs take 4 bytes each.
pub const MERGE_TREE_LIMIT: usize = 10_000;

/// Two clusters, or groups of clusters, that become one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Merge {
    /// The part with the lower number: a cluster below k, else the merge of that number minus k.
    pub left: usize,
    /// The part with the higher number.
    pub right: usize,
    /// Mean cosine between the centroids of the one part and those of the other, in [-1, 1].
    pub similarity: f32,
    /// Vectors in both parts.
    pub size: usize,
}

/// Merges clusters two by two, the most similar first, until one is left: average linkage on 1 - cosine between unit
/// centroids, in which every cluster counts the same, since the tree is about how topics relate and not about how many
/// vectors each has. Clusters are numbered from 0 to k - 1, and the i-th merge is number k + i, as in `SciPy`. `sizes` says how
/// many vectors each cluster has. One cluster, or none, needs no merge.
///
/// Müllner, "Modern hierarchical, agglomerative clustering algorithms", 2011. Fails with `InvalidInput` when there is not
/// one size for each centroid, or there are more than [`MERGE_TREE_LIMIT`].
pub fn merge_tree(centroids: &Vectors, sizes: &[usize]) -> Result<Vec<Merge>> {
    let k = centroids.len();
    if sizes.len() != k {
        return Err(IndexError::invalid(format!("{k} centroids cannot have {} sizes; give one for each", sizes.len())));
    }
    if k > MERGE_TREE_LIMIT {
        return Err(IndexError::invalid(format!(
            "a merge tree of {k} clusters needs the distances of all pairs; make at most {MERGE_TREE_LIMIT} clusters"
        )));
    }
    let mut distances: Vec<f32> = (0..k)
        .flat_map(|a| (a + 1..k).map(move |b| (1.0 - dot(centroids.row(a), centroids.row(b))).max(0.0)))
        .collect();
    let tree = linkage(&mut distances, k, Method::Average);
    let mut merges: Vec<Merge> = Vec::with_capacity(k.saturating_sub(1));
    for step in tree.steps() {
        let (left, right) = (step.cluster1.min(step.cluster2), step.cluster1.max(step.cluster2));
        let size_of = |part: usize| if part < k { sizes[part] } else { merges[part - k].size };
        let size = size_of(left) + size_of(right);
        merges.push(Merge { left, right, similarity: (1.0 - step.dissimilarity).clamp(-1.0, 1.0), size });
    }
    Ok(merges)
}

#[cfg(test)]
mod tests {
    use anser_core::ErrorKind;
    use serde_json::Value;

    use super::*;

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    #[test]
    fn agrees_with_scipy() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/clustering_figures.json")).unwrap();
        let case = &fixture["merge_tree"];
        let rows = case["centroids"].as_array().unwrap();
        let values = rows.iter().flat_map(numbers).map(|v| v as f32).collect();
        let centroids = Vectors::new(values, numbers(&rows[0]).len()).unwrap();
        let merges = merge_tree(&centroids, &vec![3; rows.len()]).unwrap();
        let expected = case["linkage"].as_array().unwrap();
        assert_eq!((merges.len(), expected.len()), (rows.len() - 1, rows.len() - 1));
        for (merge, expected) in merges.iter().zip(expected) {
            let [left, right, distance, leaves] = numbers(expected)[..] else { panic!("a row of 4") };
            assert_eq!((merge.left, merge.right, merge.size), (left as usize, right as usize, 3 * leaves as usize));
            assert!((f64::from(merge.similarity) - (1.0 - distance)).abs() < 1e-5, "{merge:?} {distance}");
        }
    }

    #[test]
    fn few_equal_and_mismatched_clusters_are_defined() {
        let of = |values: &[f32]| Vectors::new(values.to_vec(), 2).unwrap();
        assert_eq!(merge_tree(&of(&[]), &[]).unwrap(), []);
        assert_eq!(merge_tree(&of(&[1.0, 0.0]), &[4]).unwrap(), []);
        let equal = merge_tree(&of(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]), &[4, 2, 1]).unwrap();
        assert!(equal.iter().all(|merge| (merge.similarity - 1.0).abs() < 1e-6));
        assert_eq!(equal.last().map(|merge| merge.size), Some(7));
        let opposite = merge_tree(&of(&[1.0, 0.0, -1.0, 0.0]), &[1, 1]).unwrap();
        assert_eq!(opposite, [Merge { left: 0, right: 1, similarity: -1.0, size: 2 }]);
        assert_eq!(merge_tree(&of(&[1.0, 0.0]), &[]).unwrap_err().kind(), ErrorKind::InvalidInput);
        let many = Vectors::new(vec![1.0; MERGE_TREE_LIMIT + 1], 1).unwrap();
        let error = merge_tree(&many, &vec![1; MERGE_TREE_LIMIT + 1]).unwrap_err();
        assert!(error.to_string().contains("at most 10000"), "{error}");
    }
}
