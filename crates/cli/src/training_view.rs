//! A training run as a person follows it: a bar with loss, accuracy, speed and the time that is left, and a sparkline of
//! the loss. Without a terminal, a line now and then.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anser_core::TrainingMetrics;
use anser_engine::JobEvent;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::sparkline::sparkline;

/// Characters of the sparkline.
const SPARKLINE: usize = 24;
/// Lines that a whole run prints without a terminal.
const PLAIN_LINES: usize = 20;

/// Watches one run on standard error.
pub(crate) struct TrainingView {
    bar: Option<ProgressBar>,
    quiet: bool,
    losses: Vec<f64>,
    printed_step: usize,
}

impl TrainingView {
    /// Nothing is drawn before the first event, and never when `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { bar: None, quiet, losses: Vec::new(), printed_step: 0 }
    }

    /// Shows what happened.
    pub(crate) fn show(&mut self, event: &JobEvent) {
        match &event.metrics {
            Some(metrics) => self.step(metrics),
            None => self.remark(&event.message),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Shows the figures of a step.
    pub(crate) fn step(&mut self, metrics: &TrainingMetrics) {
        if self.quiet {
            return;
        }
        self.losses.push(metrics.train_loss);
        if !io::stderr().is_terminal() {
            let gap = metrics.total_steps.div_ceil(PLAIN_LINES).max(1);
            if metrics.step >= self.printed_step + gap || metrics.step == metrics.total_steps || self.losses.len() == 1
            {
                self.printed_step = metrics.step;
                let step = format!("step {} of {}", metrics.step, metrics.total_steps);
                let _ = writeln!(io::stderr().lock(), "{step}: {}", figures(metrics));
            }
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(metrics.total_steps as u64);
            if let Ok(style) = ProgressStyle::with_template("{wide_bar:.cyan/dim} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        bar.set_position(metrics.step as u64);
        bar.set_message(format!("{} {}", sparkline(&self.losses, SPARKLINE), figures(metrics)));
    }

    /// Shows a remark on a line of its own.
    pub(crate) fn remark(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => {
                let _ = writeln!(io::stderr().lock(), "{text}");
            }
        }
    }
}

impl Drop for TrainingView {
    fn drop(&mut self) {
        self.finish();
    }
}

fn figures(metrics: &TrainingMetrics) -> String {
    let valid = metrics.full_valid_loss.or(metrics.valid_loss);
    let valid = valid.map(|loss| format!(", validation {loss:.3}")).unwrap_or_default();
    format!(
        "loss {:.3}{valid}, accuracy {:.2}, {:.0} tokens/s, ETA {}",
        metrics.train_loss,
        metrics.train_token_accuracy,
        metrics.tokens_per_second,
        duration(metrics.seconds_left)
    )
}

/// Seconds as people say them.
pub(crate) fn duration(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time < Duration::from_mins(100) => HumanDuration(time).to_string(),
        Ok(time) => format!("{:.1} hours", time.as_secs_f64() / 3600.0),
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_in_its_own_unit() {
        assert_eq!(duration(12.0), "12 seconds");
        assert_eq!(duration(7200.0), "2.0 hours");
        assert_eq!(duration(f64::NAN), "unknown");
    }

    #[test]
    fn the_figures_of_a_step_name_the_validation_loss_only_when_there_is_one() {
        let metrics = TrainingMetrics { train_loss: 1.5, seconds_left: 30.0, ..TrainingMetrics::default() };
        assert_eq!(figures(&metrics), "loss 1.500, accuracy 0.00, 0 tokens/s, ETA 30 seconds");
        let metrics = TrainingMetrics { valid_loss: Some(1.25), ..metrics };
        assert!(figures(&metrics).contains("validation 1.250"));
    }
}
