//! The state of a run on disk: everything that is needed to go on from a step as if the run had never ended.
//!
//! `state/STEP.safetensors` holds the learning weights and the optimiser's moments, `state/current.json` the rest and
//! the name of the tensors that belong to it. The tensors are on disk before `current.json` is replaced in one rename, so
//! whenever a process is killed, `current.json` names a whole state. The order of the data is not kept: it follows from
//! the seed and the step.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anser_core::TrainingMetrics;
use anser_core::storage::write_atomic;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::TuneError;
use crate::model::Parameter;
use crate::optimizer::AdamW;
use crate::rank_allocation::RankScores;

const CURRENT: &str = "current.json";

/// The best evaluation so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    /// Figures of its step, with the validation loss.
    pub(crate) metrics: TrainingMetrics,
    /// Folder of the model written then, relative to the run's.
    pub(crate) folder: PathBuf,
}

/// Where a run stands, apart from its tensors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct RunState {
    /// Which run it is: a digest of its plan.
    pub(crate) identity: String,
    /// Steps whose update is made.
    pub(crate) step: usize,
    /// Figures of that step when it still has to be evaluated and reported.
    pub(crate) unreported: Option<TrainingMetrics>,
    /// The best evaluation so far.
    pub(crate) best: Option<Best>,
    /// The last model that was written.
    pub(crate) last: Option<Best>,
    /// Evaluations since the best one.
    pub(crate) stale_evaluations: usize,
    /// Tokens that the loss counted so far.
    pub(crate) trained_tokens: u64,
    /// Seconds spent so far.
    pub(crate) seconds: f64,
    /// Log-probability of each preference sequence under the reference: training, then validation.
    pub(crate) reference: Option<[Vec<f64>; 2]>,
    /// Scores of the rank-one directions, while ranks are being moved.
    pub(crate) rank_scores: Option<RankScores>,
    /// File with the tensors.
    tensors: String,
}

impl RunState {
    /// A run that has not begun.
    pub(crate) fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), ..Self::default() }
    }
}

/// The folder of a run's state.
#[derive(Debug)]
pub(crate) struct StateFolder {
    run: PathBuf,
    folder: PathBuf,
}

/// What an earlier call left: where it stood and the optimiser's moments. The weights are already in the parameters.
pub(crate) struct Resumed {
    pub(crate) state: RunState,
    pub(crate) first: Vec<Vec<f32>>,
    pub(crate) second: Vec<Vec<f32>>,
}

impl StateFolder {
    /// The state in a run's folder.
    pub(crate) fn of_run(run: &Path) -> Self {
        Self { run: run.to_owned(), folder: run.join("state") }
    }

    /// Replaces the state by this one.
    pub(crate) fn save(
        &self,
        state: &mut RunState,
        parameters: &[Parameter],
        optimizer: &AdamW,
    ) -> Result<(), TuneError> {
        std::fs::create_dir_all(&self.folder).map_err(|error| TuneError::io("create", &self.folder, error))?;
        // A step can be saved twice, before and after its evaluation; the two must not share a file.
        let half = if state.unreported.is_some() { "-unreported" } else { "" };
        let name = format!("{:09}{half}.safetensors", state.step);
        let path = self.folder.join(&name);
        let tensors = parameters.iter().zip(optimizer.first.iter().zip(&optimizer.second));
        let tensors = tensors.flat_map(|(parameter, (first, second))| {
            [("value", &parameter.values), ("first", first), ("second", second)].map(|(kind, values)| {
                (tensor_name(kind, &parameter.name), F32Tensor { shape: vec![values.len()], values })
            })
        });
        let about = HashMap::from([("step".to_owned(), state.step.to_string())]);
        safetensors::serialize_to_file(tensors, Some(about), &path)
            .map_err(|error| self.io_of_tensors("write", &path, error))?;
        sync(&path)?;
        state.tensors = name;
        let json = serde_json::to_vec(state).map_err(|error| TuneError::Internal(error.to_string()))?;
        write_atomic(&self.folder.join(CURRENT), &json)?;
        self.remove_others(&state.tensors);
        Ok(())
    }

    /// Reads the state back and puts its weights into `parameters`; `None` when there is none yet.
    pub(crate) fn load(&self, identity: &str, parameters: &mut [Parameter]) -> Result<Option<Resumed>, TuneError> {
        let path = self.folder.join(CURRENT);
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(TuneError::io("read", path, error)),
        };
        let state: RunState = serde_json::from_slice(&json).map_err(|error| self.damaged(&error.to_string()))?;
        if state.identity != identity {
            return Err(TuneError::State {
                folder: self.run.clone(),
                damaged: false,
                reason: "it belongs to a run with another plan or other data; train in a new folder".to_owned(),
            });
        }
        let path = self.folder.join(&state.tensors);
        let bytes = std::fs::read(&path).map_err(|error| self.damaged(&error.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| self.damaged(&error.to_string()))?;
        let read = |kind: &str, parameter: &Parameter| -> Result<Vec<f32>, TuneError> {
            let name = tensor_name(kind, &parameter.name);
            let tensor = tensors.tensor(&name).map_err(|error| self.damaged(&error.to_string()))?;
            let (words, rest) = tensor.data().as_chunks::<4>();
            if tensor.dtype() != Dtype::F32 || words.len() != parameter.values.len() || !rest.is_empty() {
                return Err(self.damaged(&format!("{name} has another shape than the model's")));
            }
            Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
        };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for parameter in parameters {
            first.push(read("first", parameter)?);
            second.push(read("second", parameter)?);
            parameter.values = read("value", parameter)?;
        }
        Ok(Some(Resumed { state, first, second }))
    }

    /// Removes the state of a run that is over.
    pub(crate) fn remove(&self) -> Result<(), TuneError> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(TuneError::io("remove", &self.folder, error))
            }
            _ => Ok(()),
        }
    }

    /// Takes away the tensors of earlier states and whatever an interrupted save left. What cannot be removed costs
    /// only room.
    fn remove_others(&self, keep: &str) {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name() != keep && entry.file_name() != CURRENT) {
            if let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "an old state was not removed");
            }
        }
    }

    fn damaged(&self, reason: &str) -> TuneError {
        let reason = format!("it is damaged ({reason}); delete its folder named state to train from the start");
        TuneError::State { folder: self.run.clone(), damaged: true, reason }
    }

    #[expect(clippy::unused_self, reason = "stands beside the other error of this folder")]
    fn io_of_tensors(&self, action: &'static str, path: &Path, error: safetensors::SafeTensorError) -> TuneError {
        match error {
            safetensors::SafeTensorError::IoError(error) => TuneError::io(action, path, error),
            error => TuneError::Internal(error.to_string()),
        }
    }
}

fn tensor_name(kind: &str, parameter: &str) -> String {
    format!("{kind}.{parameter}")
}

/// 32-bit values for a safetensors file.
pub(crate) struct F32Tensor<'a> {
    /// Lengths of the dimensions.
    pub(crate) shape: Vec<usize>,
    /// The values, row-major.
    pub(crate) values: &'a [f32],
}

impl View for F32Tensor<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

fn sync(path: &Path) -> Result<(), TuneError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| TuneError::io("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::AdamWOptions;

    fn parameters(value: f32) -> Vec<Parameter> {
        let parameter = |name: &str, values: Vec<f32>| Parameter {
            name: name.to_owned(),
            shape: vec![values.len()],
            values,
            decay: true,
        };
        vec![parameter("a", vec![value, -value, 0.1]), parameter("b", vec![value * 2.0])]
    }

    fn optimizer(parameters: &mut [Parameter]) -> AdamW {
        let options = AdamWOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let mut optimizer = AdamW::new(options, parameters);
        optimizer.update(parameters, &[vec![0.3, 0.1, -0.7], vec![1.0]], 0.1);
        optimizer
    }

    fn state(step: usize) -> RunState {
        let metrics = TrainingMetrics { step, train_loss: 0.1 + 0.2, ..TrainingMetrics::default() };
        RunState { identity: "me".to_owned(), step, unreported: Some(metrics), ..RunState::default() }
    }

    #[test]
    fn a_saved_state_comes_back_bit_for_bit_and_old_tensors_go() {
        let run = tempfile::tempdir().unwrap();
        let folder = StateFolder::of_run(run.path());
        assert!(folder.load("me", &mut parameters(0.0)).unwrap().is_none());
        let mut saved = parameters(0.7);
        let optimizer = optimizer(&mut saved);
        folder.save(&mut state(1), &saved, &optimizer).unwrap();
        let mut last = state(2);
        folder.save(&mut last, &saved, &optimizer).unwrap();
        assert_eq!(std::fs::read_dir(run.path().join("state")).unwrap().count(), 2);

        let mut loaded = parameters(0.0);
        let resumed = folder.load("me", &mut loaded).unwrap().unwrap();
        assert_eq!(loaded, saved);
        assert_eq!((resumed.first, resumed.second), (optimizer.first, optimizer.second));
        assert_eq!(resumed.state, last);
        folder.remove().unwrap();
        assert!(folder.load("me", &mut loaded).unwrap().is_none());
    }

    #[test]
    fn a_save_that_was_cut_off_leaves_the_state_before_it() {
        let run = tempfile::tempdir().unwrap();
        let folder = StateFolder::of_run(run.path());
        let mut saved = parameters(0.7);
        let optimizer = optimizer(&mut saved);
        folder.save(&mut state(1), &saved, &optimizer).unwrap();
        std::fs::write(run.path().join("state/000000002.safetensors"), b"half").unwrap();
        std::fs::write(run.path().join("state/.tmp123"), b"{\"ident").unwrap();
        assert_eq!(folder.load("me", &mut parameters(0.0)).unwrap().unwrap().state.step, 1);
    }

    #[test]
    fn damage_and_another_runs_state_are_told_apart() {
        let run = tempfile::tempdir().unwrap();
        let folder = StateFolder::of_run(run.path());
        let mut saved = parameters(0.7);
        let optimizer = optimizer(&mut saved);
        let mut state = state(1);
        folder.save(&mut state, &saved, &optimizer).unwrap();
        let kind = |identity: &str, parameters: &mut [Parameter]| {
            folder.load(identity, parameters).err().map(|error| error.kind())
        };
        assert_eq!(kind("another", &mut saved.clone()), Some(anser_core::ErrorKind::Conflict));
        let mut longer = saved.clone();
        longer[1].values.push(1.0);
        assert_eq!(kind("me", &mut longer), Some(anser_core::ErrorKind::Corrupt));
        let tensors = run.path().join("state").join(&state.tensors);
        let bytes = std::fs::read(&tensors).unwrap();
        std::fs::write(&tensors, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(kind("me", &mut saved), Some(anser_core::ErrorKind::Corrupt));
    }
}
