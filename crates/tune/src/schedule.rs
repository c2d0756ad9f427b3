//! The learning rate of each step: a straight climb to the peak, then the chosen way down.

use std::f64::consts::PI;

use anser_core::Schedule;

/// Course of the learning rate over a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LearningRate {
    peak: f64,
    warmup_steps: usize,
    total_steps: usize,
    schedule: Schedule,
}

impl LearningRate {
    /// Climbs over the first `warmup_ratio` of `total_steps`, then follows `schedule`.
    pub(crate) fn new(peak: f64, warmup_ratio: f64, total_steps: usize, schedule: Schedule) -> Self {
        let warmup_steps = (warmup_ratio * total_steps as f64).round() as usize;
        Self { peak, warmup_steps, total_steps, schedule }
    }

    /// Learning rate of a step, counted from 1. The climb reaches the peak in its last step, and the way down would
    /// reach zero one step after the run's last: no step is wasted on a rate of zero.
    pub(crate) fn at(&self, step: usize) -> f64 {
        if step <= self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let span = (self.total_steps.saturating_sub(self.warmup_steps) + 1) as f64;
        let way = ((step - self.warmup_steps) as f64 / span).min(1.0);
        match self.schedule {
            Schedule::Cosine => self.peak * 0.5 * (1.0 + (PI * way).cos()),
            Schedule::Linear => self.peak * (1.0 - way),
            Schedule::Constant => self.peak,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn the_climb_is_straight_and_ends_at_the_peak() {
        let rate = LearningRate::new(0.8, 0.25, 16, Schedule::Cosine);
        close(rate.at(1), 0.2);
        close(rate.at(2), 0.4);
        close(rate.at(4), 0.8);
    }

    #[test]
    fn each_way_down_passes_its_middle_and_ends_above_zero() {
        // Four steps of climbing, eleven of falling: the middle of the fall's span of 12 is step 10.
        let at = |schedule, step| LearningRate::new(1.0, 4.0 / 15.0, 15, schedule).at(step);
        close(at(Schedule::Cosine, 10), 0.5);
        close(at(Schedule::Linear, 10), 0.5);
        close(at(Schedule::Constant, 10), 1.0);
        close(at(Schedule::Linear, 15), 1.0 / 12.0);
        // (1 + cos(11π/12)) / 2
        close(at(Schedule::Cosine, 15), 0.017_037_086_855_465_844);
        close(at(Schedule::Cosine, 7), 0.853_553_390_593_273_8);
    }

    #[test]
    fn without_a_climb_the_first_step_is_near_the_peak() {
        let rate = LearningRate::new(1.0, 0.0, 9, Schedule::Linear);
        close(rate.at(1), 0.9);
        close(rate.at(9), 0.1);
    }
}
