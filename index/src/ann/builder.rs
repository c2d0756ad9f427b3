//! Building HNSW graphs: parameters, the checks that rows need, and what is the same whoever links them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anser_core::CancelToken;

use super::codes::Codes;
use super::graph::{Adjacency, Graph, Links};
use super::reachable::make_reachable;
use super::vectors::{Vectors, dot};
use super::{hnsw, native};
use crate::{IndexError, Result};

/// `hnsw_rs` ends the process above 256; links are stored 2 m per row.
const M_RANGE: std::ops::RangeInclusive<usize> = 2..=128;

/// Who links the rows of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphBuilder {
    /// Anser itself, by codes of one byte per number: several times faster, and the same graph on any number of threads.
    #[default]
    Native,
    /// The library `hnsw_rs`, by the vectors themselves.
    HnswRs,
}

/// Parameters of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HnswParams {
    /// Links per row and layer; twice as many in layer 0.
    pub(crate) m: usize,
    /// Beam width while building.
    pub(crate) ef_construction: usize,
    /// Threads that build.
    pub(crate) threads: usize,
    /// Who builds.
    pub(crate) builder: GraphBuilder,
}

/// Builds the graph over all rows of `vectors`, which have these `codes`, and returns it as the bytes of a graph file.
pub(crate) fn build_graph(
    vectors: &Arc<Vectors>,
    codes: &Codes,
    params: &HnswParams,
    cancel: &CancelToken,
) -> Result<Vec<u8>> {
    if !M_RANGE.contains(&params.m) || params.ef_construction < params.m {
        return Err(IndexError::invalid(format!(
            "HNSW needs m between {} and {} and ef_construction of at least m, not m = {} and ef_construction = {}",
            M_RANGE.start(),
            M_RANGE.end(),
            params.m,
            params.ef_construction
        )));
    }
    if vectors.len() == 0 || vectors.len() > i32::MAX as usize || codes.len() != vectors.len() {
        return Err(IndexError::internal(format!(
            "a graph over {} rows with the codes of {} cannot be built",
            vectors.len(),
            codes.len()
        )));
    }
    check_rows(vectors)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(params.threads.max(1))
        .thread_name(|i| format!("hnsw-build-{i}"))
        .build()
        .map_err(|e| IndexError::internal(format!("cannot start threads that build a graph: {e}")))?;
    catch_unwind(AssertUnwindSafe(|| pool.install(|| link_all(vectors, codes, params, cancel))))
        .unwrap_or_else(|_| Err(IndexError::internal("the builder of graphs panicked")))
}

fn link_all(vectors: &Arc<Vectors>, codes: &Codes, params: &HnswParams, cancel: &CancelToken) -> Result<Vec<u8>> {
    let rows = vectors.len();
    let (nodes, twins) = group_twins(vectors);
    let (entry, mut layers) = match params.builder {
        GraphBuilder::Native => native::link(codes, &nodes, params, cancel)?,
        GraphBuilder::HnswRs => hnsw::link(vectors, &nodes, params, cancel)?,
    };
    if let Some(base) = layers.first_mut() {
        base.extend(twins.iter().flat_map(|(_, rows)| rows).map(|row| (*row, Vec::new())));
        base.sort_unstable_by_key(|(row, _)| *row);
        let mut settled = vec![true; rows];
        for row in &nodes {
            settled[*row as usize] = false;
        }
        let added = make_reachable(base, entry, settled);
        tracing::debug!(rows, nodes = nodes.len(), added, "graph built");
    }
    Graph::encode(rows, &Links { entry, degree: 2 * params.m, layers, twins })
}

/// Nothing but finite unit vectors is linked: an all-zero or NaN vector would look like a perfect match.
fn check_rows(vectors: &Vectors) -> Result<()> {
    for (_, id, row) in vectors.iter() {
        let norm = dot(row, row).sqrt();
        if !norm.is_finite() || (norm - 1.0).abs() > 2e-3 {
            return Err(IndexError::corrupt(format!("vector of chunk {id}"), format!("its norm is {norm}, not 1")));
        }
    }
    Ok(())
}

/// The first row of each distinct vector, and for those that occur more than once the other rows. Only the first becomes
/// a node: equal vectors would fill their links, and the beam of a search, with one another.
fn group_twins(vectors: &Vectors) -> (Vec<u32>, Adjacency) {
    let mut first: HashMap<u64, Vec<u32>> = HashMap::with_capacity(vectors.len());
    let (mut nodes, mut twins) = (Vec::new(), BTreeMap::<u32, Vec<u32>>::new());
    for (row, _, vector) in vectors.iter() {
        let mut hasher = DefaultHasher::new();
        for value in vector {
            hasher.write_u32(value.to_bits());
        }
        let same_hash = first.entry(hasher.finish()).or_default();
        if let Some(node) = same_hash.iter().find(|node| vectors.row(**node as usize) == vector) {
            twins.entry(*node).or_default().push(row);
        } else {
            same_hash.push(row);
            nodes.push(row);
        }
    }
    (nodes, twins.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use anser_core::{ChunkId, ErrorKind};
    use arrow::buffer::Buffer;

    use super::*;
    use crate::ann::made::{self, BUILDERS, codes, graph, params, search, vectors};

    /// Unit vectors along a spiral; the first `equal` are the same.
    fn spiral(count: usize, equal: usize) -> Vec<Vec<f32>> {
        (0..count)
            .map(|i| {
                let t = if i < equal { 0.7 } else { i as f32 * 0.37 };
                let z = (t * 0.11).sin();
                let r = (1.0 - z * z).sqrt();
                vec![r * t.cos(), r * t.sin(), z]
            })
            .collect()
    }

    fn refused(rows: &[Vec<f32>], params: &HnswParams, cancel: &CancelToken) -> IndexError {
        let rows = vectors(rows);
        build_graph(&rows, &codes(&rows), params, cancel).unwrap_err()
    }

    #[test]
    fn parameters_that_cannot_be_are_refused() {
        for (m, ef_construction) in [(0, 10), (1, 10), (129, 200), (257, 300), (16, 15)] {
            for builder in BUILDERS {
                let params = HnswParams { m, ef_construction, ..params(builder, 1) };
                assert_eq!(
                    refused(&spiral(10, 0), &params, &CancelToken::new()).kind(),
                    ErrorKind::InvalidInput,
                    "m = {m}"
                );
            }
        }
        let rows = vectors(&spiral(10, 0));
        let others = codes(&vectors(&spiral(9, 0)));
        let error = build_graph(&rows, &others, &params(GraphBuilder::Native, 1), &CancelToken::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }

    #[test]
    fn zero_nan_and_long_vectors_are_never_linked() {
        for bad in [vec![0.0, 0.0, 0.0], vec![f32::NAN, 0.0, 1.0], vec![1.0, 1.0, 1.0]] {
            for builder in BUILDERS {
                let mut rows = spiral(20, 0);
                rows[13].clone_from(&bad);
                let error = refused(&rows, &params(builder, 2), &CancelToken::new());
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(error.to_string().contains("chunk 13"), "{error}");
            }
        }
    }

    #[test]
    fn a_cancelled_build_stops() {
        let cancel = CancelToken::new();
        cancel.cancel();
        for builder in BUILDERS {
            assert_eq!(refused(&spiral(3000, 0), &params(builder, 2), &cancel).kind(), ErrorKind::Cancelled);
        }
    }

    #[test]
    fn a_crowd_of_equal_vectors_neither_panics_nor_hides_anything() {
        let data = spiral(1500, 700);
        let rows = vectors(&data);
        for builder in BUILDERS {
            let graph = graph(&rows, builder);
            let crowd = search(&graph, &rows, &data[3], 700);
            assert!(crowd.len() >= 700);
            assert!(crowd[..700].iter().all(|s| (s.score - 1.0).abs() < 1e-5));
            for row in (700..1500).step_by(37) {
                let best = search(&graph, &rows, &data[row], 64);
                assert!((best[0].score - 1.0).abs() < 1e-5, "row {row} is found by itself");
            }
            assert_eq!(search(&graph, &rows, &data[0], usize::MAX).len(), 1500, "every row can be reached");
        }
    }

    #[test]
    fn a_crowd_whose_codes_are_equal_hides_nothing_either() {
        // Nearer to one another than one part in 127 can tell, but no two the same.
        let mut data = made::clustered(1200, 12, (30, 0.8), 9);
        for (row, vector) in data.iter_mut().enumerate().take(600) {
            *vector = vec![0.0; 12];
            let angle = row as f32 * 1e-6;
            (vector[3], vector[4]) = (angle.cos(), angle.sin());
        }
        let rows = vectors(&data);
        for builder in BUILDERS {
            let graph = graph(&rows, builder);
            assert_eq!(search(&graph, &rows, &data[0], usize::MAX).len(), 1200);
            // The library links the rows of a crowd with one another only, so a narrow beam that meets it is lost in it.
            if builder == GraphBuilder::Native {
                let found = |row: &usize| search(&graph, &rows, &data[*row], 64)[0].row as usize == *row;
                let found = (600..1200).step_by(6).filter(found).count();
                assert!(found >= 95, "{found} of 100 rows outside the crowd");
            }
        }
    }

    #[test]
    fn graphs_of_few_rows_work() {
        for count in 1..12 {
            let rows = vectors(&spiral(count, 0));
            for builder in BUILDERS {
                assert_eq!(search(&graph(&rows, builder), &rows, rows.row(0), 50).len(), count);
            }
        }
    }

    #[test]
    fn our_own_graph_is_the_same_on_any_number_of_threads() {
        let rows = vectors(&made::clustered(3000, 20, (60, 0.8), 4));
        let codes = codes(&rows);
        let build =
            |threads| build_graph(&rows, &codes, &params(GraphBuilder::Native, threads), &CancelToken::new()).unwrap();
        let one = build(1);
        assert!([2, 3, 8].into_iter().all(|threads| build(threads) == one));
        assert!(Graph::decode(Buffer::from(&one[..]), 3000).is_ok());
    }

    #[test]
    fn rows_that_lie_scattered_in_blocks_are_built_alike() {
        let data = made::clustered(700, 9, (9, 0.6), 2);
        let ids = (0..700u64).map(|id| ChunkId(id * id));
        let rows = Arc::new(Vectors::from_rows(9, ids.zip(data.iter().map(Vec::as_slice))).unwrap());
        let build = |rows: &Arc<Vectors>| {
            build_graph(rows, &codes(rows), &params(GraphBuilder::Native, 2), &CancelToken::new()).unwrap()
        };
        assert!(build(&rows) == build(&vectors(&data)), "ids do not matter");
    }
}
