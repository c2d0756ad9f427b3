//! Embedders whose ONNX graph takes texts of any lengths one behind another and pools by itself, on ONNX Runtime directly:
//! fastembed knows only graphs that take padded texts with a mask.

use std::path::{Path, PathBuf};

use anser_models::ModelFiles;
use ort::environment::Environment;
use ort::session::Session as Graph;
use ort::value::Tensor;

use crate::backend::{Backend, Batching, Input, Session};
use crate::panics::caught;
use crate::{EmbedError, runtime};

/// What the graph takes: the ids of all texts, and where each text begins and the last one ends.
const INPUTS: [&str; 2] = ["tokens", "row_splits"];

/// A graph on disk, from which sessions are made.
pub(crate) struct RaggedBackend {
    model: String,
    path: PathBuf,
    environment: Environment,
}

impl RaggedBackend {
    /// Takes the graph of `files`, to be run by the ONNX Runtime library at `runtime`. It is read for each session.
    pub(crate) fn load(files: &ModelFiles, runtime: &Path) -> Result<Self, EmbedError> {
        let environment = runtime::environment(runtime)?;
        Ok(Self { model: files.spec.name.clone(), path: files.path("model.onnx")?, environment })
    }

    fn open(&self, threads: usize) -> Result<Graph, String> {
        let mut builder = Graph::builder(&self.environment)
            .and_then(|builder| Ok(builder.with_intra_threads(threads)?))
            // Spinning threads take the cores away from whoever else works on this machine.
            .and_then(|builder| Ok(builder.with_intra_op_spinning(false)?))
            .map_err(|e| e.to_string())?;
        let graph = builder.commit_from_file(&self.path).map_err(|e| e.to_string())?;
        let inputs: Vec<&str> = graph.inputs().iter().map(ort::value::Outlet::name).collect();
        if inputs != INPUTS || graph.outputs().len() != 1 {
            return Err(format!("its graph takes {} where {} belong", inputs.join(", "), INPUTS.join(", ")));
        }
        Ok(graph)
    }
}

impl Backend for RaggedBackend {
    fn name(&self) -> String {
        "onnx".to_owned()
    }

    fn batching(&self) -> Batching {
        Batching::Ragged
    }

    /// Every text runs alone unless the caller wants otherwise. These graphs choose the scale of their bytes over all that is
    /// in a run, so texts would move one another's vectors (cosine about 0.998), for a third more speed.
    fn run_tokens(&self) -> usize {
        0
    }

    fn shares_weights(&self) -> bool {
        false
    }

    fn session(&self, threads: usize) -> Result<Box<dyn Session>, EmbedError> {
        caught(|| self.open(threads))
            .and_then(|opened| opened)
            .map(|graph| Box::new(RaggedSession(graph)) as Box<dyn Session>)
            .map_err(|reason| EmbedError::BadFile { model: self.model.clone(), path: self.path.clone(), reason })
    }
}

struct RaggedSession(Graph);

impl Session for RaggedSession {
    fn run(&mut self, batch: &[Input]) -> Result<Vec<Vec<f32>>, String> {
        let (tokens, row_splits) = joined(batch)?;
        let tensors = Tensor::from_array(([tokens.len()], tokens))
            .and_then(|tokens| Ok((tokens, Tensor::from_array(([row_splits.len()], row_splits))?)))
            .map_err(|e| e.to_string())?;
        let [tokens_name, splits_name] = INPUTS;
        let outputs =
            self.0.run(ort::inputs![tokens_name => tensors.0, splits_name => tensors.1]).map_err(|e| e.to_string())?;
        let (_, output) = outputs.iter().next().ok_or("its graph gave nothing")?;
        let (shape, numbers) = output.try_extract_tensor::<f32>().map_err(|e| e.to_string())?;
        match shape[..] {
            [rows, dimension] if usize::try_from(rows) == Ok(batch.len()) && dimension > 0 => {
                Ok(numbers.chunks(usize::try_from(dimension).unwrap_or(1)).map(<[f32]>::to_vec).collect())
            }
            _ => Err(format!("its graph gave numbers of shape {shape:?} for {} texts", batch.len())),
        }
    }
}

/// The ids of all texts one behind another, and where each text begins and the last one ends.
fn joined(batch: &[Input]) -> Result<(Vec<i32>, Vec<i64>), String> {
    let mut tokens = Vec::with_capacity(batch.iter().map(|input| input.ids.len()).sum());
    let mut row_splits = vec![0];
    for input in batch {
        for id in &input.ids {
            tokens.push(i32::try_from(*id).map_err(|_| format!("the token id {id} is too large for its graph"))?);
        }
        row_splits.push(i64::try_from(tokens.len()).map_err(|e| e.to_string())?);
    }
    Ok((tokens, row_splits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(ids: &[u32]) -> Input {
        Input { ids: ids.to_vec(), text: String::new() }
    }

    #[test]
    fn texts_lie_one_behind_another() {
        let (tokens, splits) = joined(&[input(&[1, 7, 2]), input(&[1, 2]), input(&[1, 9, 9, 2])]).unwrap();
        assert_eq!(tokens, [1, 7, 2, 1, 2, 1, 9, 9, 2]);
        assert_eq!(splits, [0, 3, 5, 9]);
        assert!(joined(&[input(&[u32::MAX])]).unwrap_err().contains("4294967295"));
    }
}
