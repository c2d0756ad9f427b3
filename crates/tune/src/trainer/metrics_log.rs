//! The figures of every step as CSV in a run's folder: `metrics.csv` with all of them, and `result.csv` with the columns
//! that hosted fine-tuning reports.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anser_core::TrainingMetrics;
use anser_core::storage::write_atomic;

use crate::TuneError;

/// File with all figures.
pub(crate) const METRICS: &str = "metrics.csv";
/// File with the usual columns.
pub(crate) const RESULT: &str = "result.csv";

const METRICS_HEADER: &str = "step,epoch,train_loss,train_accuracy,train_sequence_accuracy,valid_loss,\
                              valid_mean_token_accuracy,full_valid_loss,full_valid_mean_token_accuracy,learning_rate,\
                              gradient_norm,tokens_per_second\n";
const RESULT_HEADER: &str = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n";

/// Both files, open at their ends.
#[derive(Debug)]
pub(crate) struct MetricsLog {
    files: [(PathBuf, File); 2],
}

impl MetricsLog {
    /// Opens both files for a run that has reported `steps` steps. Rows of later steps, which an interrupted run wrote
    /// and will write again, are taken out.
    pub(crate) fn open(folder: &Path, steps: usize) -> Result<Self, TuneError> {
        let open = |name: &str, header: &str| -> Result<(PathBuf, File), TuneError> {
            let path = folder.join(name);
            let old = match std::fs::read_to_string(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                read => read.map_err(|error| TuneError::io("read", &path, error))?,
            };
            let mut kept = header.to_owned();
            kept.extend(old.split_inclusive('\n').skip(1).filter(|row| is_reported(row, steps)));
            if kept != old {
                write_atomic(&path, kept.as_bytes())?;
            }
            let file = OpenOptions::new().append(true).open(&path);
            Ok((path.clone(), file.map_err(|error| TuneError::io("open", path, error))?))
        };
        Ok(Self { files: [open(METRICS, METRICS_HEADER)?, open(RESULT, RESULT_HEADER)?] })
    }

    /// Adds a step.
    pub(crate) fn append(&mut self, metrics: &TrainingMetrics) -> Result<(), TuneError> {
        for ((path, file), row) in self.files.iter_mut().zip([metrics_row(metrics), result_row(metrics)]) {
            file.write_all(row.as_bytes()).map_err(|error| TuneError::io("write", &*path, error))?;
        }
        Ok(())
    }

    /// Waits until all rows are on disk.
    pub(crate) fn sync(&self) -> Result<(), TuneError> {
        for (path, file) in &self.files {
            file.sync_data().map_err(|error| TuneError::io("write", path, error))?;
        }
        Ok(())
    }
}

fn is_reported(row: &str, steps: usize) -> bool {
    let step = row.split(',').next().and_then(|cell| cell.parse::<usize>().ok());
    row.ends_with('\n') && step.is_some_and(|step| step <= steps)
}

fn metrics_row(metrics: &TrainingMetrics) -> String {
    let TrainingMetrics { step, epoch, train_loss, train_token_accuracy, train_sequence_accuracy, .. } = metrics;
    let TrainingMetrics { learning_rate, gradient_norm, tokens_per_second, .. } = metrics;
    let [valid_loss, valid_accuracy, full_loss, full_accuracy] =
        [metrics.valid_loss, metrics.valid_token_accuracy, metrics.full_valid_loss, metrics.full_valid_token_accuracy]
            .map(cell);
    format!(
        "{step},{epoch},{train_loss},{train_token_accuracy},{train_sequence_accuracy},{valid_loss},{valid_accuracy},\
         {full_loss},{full_accuracy},{learning_rate},{gradient_norm},{tokens_per_second:.1}\n"
    )
}

fn result_row(metrics: &TrainingMetrics) -> String {
    let TrainingMetrics { step, train_loss, train_token_accuracy, .. } = metrics;
    let [valid_loss, valid_accuracy] = [metrics.valid_loss, metrics.valid_token_accuracy].map(cell);
    format!("{step},{train_loss},{train_token_accuracy},{valid_loss},{valid_accuracy}\n")
}

/// A figure that was not measured is an empty cell.
fn cell(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(step: usize) -> TrainingMetrics {
        TrainingMetrics { step, epoch: 0.5, train_loss: 1.5, tokens_per_second: 99.96, ..TrainingMetrics::default() }
    }

    #[test]
    fn rows_have_the_columns_of_their_header_and_blanks_where_nothing_was_measured() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::open(folder.path(), 0).unwrap();
        log.append(&metrics(1)).unwrap();
        log.append(&TrainingMetrics { valid_loss: Some(2.25), full_valid_token_accuracy: Some(0.5), ..metrics(2) })
            .unwrap();
        let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let rows = read(METRICS);
        assert!(rows.lines().all(|row| row.split(',').count() == 12), "{rows}");
        assert_eq!(rows.lines().nth(2).unwrap(), "2,0.5,1.5,0,0,2.25,,,0.5,0,0,100.0");
        assert_eq!(
            read(RESULT),
            "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,1.5,0,,\n2,1.5,0,2.25,\n"
        );
    }

    #[test]
    fn going_on_takes_out_rows_that_will_be_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::open(folder.path(), 0).unwrap();
        (1..=4).for_each(|step| log.append(&metrics(step)).unwrap());
        let path = folder.path().join(METRICS);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}5,0.")).unwrap();
        let mut log = MetricsLog::open(folder.path(), 2).unwrap();
        log.append(&metrics(3)).unwrap();
        for name in [METRICS, RESULT] {
            let rows = std::fs::read_to_string(folder.path().join(name)).unwrap();
            let steps: Vec<&str> = rows.lines().map(|row| row.split(',').next().unwrap()).collect();
            assert_eq!(steps, ["step", "1", "2", "3"]);
        }
    }
}
