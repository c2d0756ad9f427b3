//! How fast a run is and when it will end.

use std::time::{Duration, Instant};

/// Tokens a second of evaluation against training, before any was measured: a backward pass costs about twice a forward
/// pass.
const USUAL_RATIO: f64 = 3.0;

/// Work done since a run began or was resumed.
#[derive(Debug)]
pub(crate) struct Clock {
    begun: Instant,
    training: (u64, Duration),
    evaluation: (u64, Duration),
}

impl Clock {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self { begun: Instant::now(), training: (0, Duration::ZERO), evaluation: (0, Duration::ZERO) }
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Adds a step over so many tokens.
    pub(crate) fn trained(&mut self, tokens: u64, took: Duration) {
        self.training.0 += tokens;
        self.training.1 += took;
    }

    /// Adds an evaluation of so many tokens.
    pub(crate) fn evaluated(&mut self, tokens: u64, took: Duration) {
        self.evaluation.0 += tokens;
        self.evaluation.1 += took;
    }

    /// Training tokens, and how many a second.
    pub(crate) fn training(&self) -> (u64, f64) {
        (self.training.0, rate(self.training).unwrap_or(0.0))
    }

    /// Seconds that this work will take at the rates so far; 0 before any was measured.
    pub(crate) fn left(&self, training_tokens: u64, evaluation_tokens: u64) -> f64 {
        let Some(training) = rate(self.training) else { return 0.0 };
        let evaluation = rate(self.evaluation).unwrap_or(training * USUAL_RATIO);
        training_tokens as f64 / training + evaluation_tokens as f64 / evaluation
    }
}

fn rate((tokens, took): (u64, Duration)) -> Option<f64> {
    let rate = tokens as f64 / took.as_secs_f64();
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// Seconds of a run at `rate` training tokens a second.
pub(crate) fn estimate(rate: f64, training_tokens: u64, evaluation_tokens: u64) -> f64 {
    (training_tokens as f64 + evaluation_tokens as f64 / USUAL_RATIO) / rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_the_measured_rates() {
        let mut clock = Clock::start();
        assert!(clock.left(100, 100) < f64::EPSILON);
        clock.trained(1000, Duration::from_secs(10));
        assert!((clock.left(500, 600) - (5.0 + 2.0)).abs() < 1e-9);
        clock.evaluated(50, Duration::from_secs(5));
        assert!((clock.left(500, 600) - (5.0 + 60.0)).abs() < 1e-9);
        assert!((clock.training().1 - 100.0).abs() < 1e-9);
        assert!((estimate(100.0, 500, 600) - 7.0).abs() < 1e-9);
    }
}
