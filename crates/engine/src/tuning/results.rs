//! Figures of a finished run as CSV.

use anser_core::TrainingMetrics;

use crate::EngineError;

/// Name and header of the file that has OpenAI's columns.
pub(super) const RESULT_FILE: &str = "result.csv";
const RESULT_HEADER: [&str; 5] = ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"];

/// Name and header of the file that has all columns.
pub(super) const METRICS_FILE: &str = "metrics.csv";
const METRICS_HEADER: [&str; 13] = [
    "step",
    "epoch",
    "train_loss",
    "train_mean_token_accuracy",
    "train_sequence_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "seconds_left",
];

/// One row for each step in OpenAI's columns; a cell is empty where nothing was measured.
pub(super) fn result_csv(steps: &[TrainingMetrics]) -> Result<Vec<u8>, EngineError> {
    table(&RESULT_HEADER, steps, |m| {
        vec![
            m.step.to_string(),
            m.train_loss.to_string(),
            m.train_token_accuracy.to_string(),
            cell(m.valid_loss),
            cell(m.valid_token_accuracy),
        ]
    })
}

/// One row for each step in all columns.
pub(super) fn metrics_csv(steps: &[TrainingMetrics]) -> Result<Vec<u8>, EngineError> {
    table(&METRICS_HEADER, steps, |m| {
        vec![
            m.step.to_string(),
            m.epoch.to_string(),
            m.train_loss.to_string(),
            m.train_token_accuracy.to_string(),
            m.train_sequence_accuracy.to_string(),
            cell(m.valid_loss),
            cell(m.valid_token_accuracy),
            cell(m.full_valid_loss),
            cell(m.full_valid_token_accuracy),
            m.learning_rate.to_string(),
            m.gradient_norm.to_string(),
            m.tokens_per_second.to_string(),
            m.seconds_left.to_string(),
        ]
    })
}

fn cell(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn table(
    header: &[&str],
    steps: &[TrainingMetrics],
    row: impl Fn(&TrainingMetrics) -> Vec<String>,
) -> Result<Vec<u8>, EngineError> {
    let failed = |what: String| EngineError::internal(format!("the figures of a run cannot be written: {what}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(|e| failed(e.to_string()))?;
    for step in steps {
        writer.write_record(row(step)).map_err(|e| failed(e.to_string()))?;
    }
    writer.into_inner().map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_a_row_and_what_was_not_measured_is_empty() {
        let first = TrainingMetrics { step: 1, train_loss: 2.5, train_token_accuracy: 0.25, ..Default::default() };
        let second = TrainingMetrics { step: 2, valid_loss: Some(1.5), valid_token_accuracy: Some(0.5), ..first };
        let steps = [first, second];
        let text = String::from_utf8(result_csv(&steps).unwrap()).unwrap();
        let header = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy";
        assert_eq!(text, format!("{header}\n1,2.5,0.25,,\n2,2.5,0.25,1.5,0.5\n"));
        let all = String::from_utf8(metrics_csv(&steps).unwrap()).unwrap();
        assert!(all.lines().next().unwrap().contains("train_sequence_accuracy"), "{all}");
        assert_eq!(all.lines().count(), 3);
    }
}
