//! `anser tune metrics`: the figures of a run as a table, and its curves as a drawing.

use std::path::Path;

use anser_core::TrainingMetrics;
use anser_core::storage::write_atomic;
use anser_engine::Engine;

use super::show::all_events;
use crate::failure::Failure;
use crate::plot::training_curves;
use crate::sparkline::sparkline;
use crate::terminal::Terminal;

/// Rows of the table; all steps are in the JSON and in the drawing.
const ROWS: usize = 24;
/// Characters of the sparkline.
const SPARKLINE: usize = 80;

/// Prints the steps of a job and draws them.
pub(super) fn metrics(engine: &Engine, id: &str, svg: Option<&Path>, terminal: &Terminal) -> Result<(), Failure> {
    let job = engine.fine_tuning_job(id)?;
    let steps: Vec<TrainingMetrics> = all_events(engine, id)?.into_iter().filter_map(|e| e.metrics).collect();
    if let Some(path) = svg {
        let title = job.fine_tuned_model.as_deref().unwrap_or(&job.id);
        write_atomic(path, training_curves(title, &steps).as_bytes())?;
    }
    if terminal.is_json() {
        return terminal.json(&steps);
    }
    if steps.is_empty() {
        return terminal.line(format!("{id} has made no step yet"));
    }
    terminal.table(
        ["step", "epoch", "loss", "accuracy", "whole examples", "validation loss", "accuracy ", "rate", "tokens/s"],
        shown(&steps).into_iter().map(row).collect(),
    )?;
    let losses: Vec<f64> = steps.iter().map(|m| m.train_loss).collect();
    terminal.line(format!("training loss {}", sparkline(&losses, SPARKLINE)))?;
    match svg {
        Some(path) => terminal.line(format!("wrote {}", path.display())),
        None => Ok(()),
    }
}

/// Steps for the table: every one that measured all validation data, the first and the last, and others between them.
fn shown(steps: &[TrainingMetrics]) -> Vec<&TrainingMetrics> {
    let gap = steps.len().div_ceil(ROWS).max(1);
    let wanted = |(at, m): &(usize, &TrainingMetrics)| {
        (at + 1) % gap == 0 || *at == 0 || at + 1 == steps.len() || m.full_valid_loss.is_some()
    };
    steps.iter().enumerate().filter(wanted).map(|(_, m)| m).collect()
}

fn row(m: &TrainingMetrics) -> [String; 9] {
    let three = |value: f64| format!("{value:.3}");
    let valid = m.full_valid_loss.map(|loss| format!("{loss:.3} (all)"));
    [
        m.step.to_string(),
        format!("{:.2}", m.epoch),
        three(m.train_loss),
        three(m.train_token_accuracy),
        three(m.train_sequence_accuracy),
        valid.or(m.valid_loss.map(three)).unwrap_or_default(),
        m.full_valid_token_accuracy.or(m.valid_token_accuracy).map(three).unwrap_or_default(),
        format!("{:.2e}", m.learning_rate),
        format!("{:.0}", m.tokens_per_second),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(numbers: &[usize]) -> Vec<TrainingMetrics> {
        numbers.iter().map(|step| TrainingMetrics { step: *step, ..TrainingMetrics::default() }).collect()
    }

    #[test]
    fn a_long_run_is_thinned_but_keeps_its_ends_and_its_evaluations() {
        let mut run = steps(&(1..=500).collect::<Vec<_>>());
        run[200].full_valid_loss = Some(1.0);
        let table: Vec<usize> = shown(&run).iter().map(|m| m.step).collect();
        assert!(table.len() <= ROWS + 3 && table.starts_with(&[1]) && table.ends_with(&[500]) && table.contains(&201));
        assert_eq!(shown(&steps(&[1])).len(), 1);
    }
}
