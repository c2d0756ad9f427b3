//! What jobs leave on the disk, and when it goes.

use std::fs;
use std::io;
use std::path::Path;

use super::lock::JobLock;
use super::{JobState, Jobs, record};
use crate::EngineError;

/// The kind whose jobs are kept, because models refer to them.
const KEPT_KIND: &str = "fine_tuning";

impl Jobs {
    /// What the analyses of this process may take together.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> &super::MemoryBudget {
        &self.memory
    }

    /// Deletes a job that has ended: its row, log and list of results at once and for good, then its files.
    pub(crate) fn delete(&self, id: &str) -> Result<(), EngineError> {
        let refuse = |message: String| Err(EngineError::WrongState { message });
        let job = self.get(id)?;
        if job.kind == KEPT_KIND {
            return refuse(format!(
                "the job {id} stays: the models that it made refer to its figures; `anser tune` deletes the models"
            ));
        }
        if !job.state.is_final() {
            let state = job.state.as_str();
            return refuse(format!("the job {id} is {state}; cancel it before it is deleted"));
        }
        let Some(lock) = JobLock::try_take(&self.data, id)? else {
            return refuse(format!("the job {id} is just ending; try again in a moment"));
        };
        self.database.write(|tx| {
            tx.execute("DELETE FROM jobs WHERE id = ?1", [id])?;
            Ok(())
        })?;
        // What cannot be removed now is swept when the folder is opened next.
        for folder in [self.data.job_results(id)?, self.data.job(id)?] {
            if let Err(error) = remove(&folder) {
                tracing::warn!(%error, job = id, "a deleted job left something on the disk");
            }
        }
        drop(lock);
        Ok(())
    }

    /// Removes what an ended job worked with, and results that never became its own. What cannot be removed now is swept
    /// later.
    pub(super) fn clean(&self, id: &str) {
        let removed = self.work_folder(id).and_then(|folder| remove(&folder)).and_then(|()| {
            if self.get(id)?.state == JobState::Succeeded { Ok(()) } else { remove(&self.data.job_results(id)?) }
        });
        if let Err(error) = removed {
            tracing::warn!(%error, job = id, "an ended job left something on the disk");
        }
    }

    /// Removes what ended and deleted jobs left.
    pub(super) fn sweep(&self) -> Result<(), EngineError> {
        for state in JobState::ALL.into_iter().filter(|state| state.is_final()) {
            for (id, _) in self.database.read(|connection| record::in_state(connection, state))? {
                let left = self.work_folder(&id)?.exists()
                    || (state != JobState::Succeeded && self.data.job_results(&id)?.exists());
                if left && JobLock::try_take(&self.data, &id)?.is_some() {
                    self.clean(&id);
                }
            }
        }
        for root in [self.data.root().join("results"), self.data.root().join("jobs")] {
            for id in names(&root)? {
                let known = self.database.read(|connection| record::exists(connection, &id))?;
                if !known && let Err(error) = remove(&root.join(&id)) {
                    tracing::warn!(%error, job = id, "a deleted job left something on the disk");
                }
            }
        }
        Ok(())
    }
}

/// Removes a folder with all it holds, if it is there.
fn remove(folder: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EngineError::io("remove the folder", folder, error))
        }
        _ => Ok(()),
    }
}

/// The folders in a folder that could be those of jobs; none when it is not there.
fn names(root: &Path) -> Result<Vec<String>, EngineError> {
    let failed = |error| EngineError::io("list", root, error);
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.starts_with("job-") {
            names.push(name);
        }
    }
    Ok(names)
}
