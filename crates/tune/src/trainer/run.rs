//! The loop: steps, evaluations, models written at the end of each pass, and the state kept on the way.

use std::path::Path;
use std::time::{Duration, Instant};

use anser_core::{StopReason, StopSignal, TrainingEvent, TrainingMetrics};

use super::clock::Clock;
use super::course::Course;
use super::examples::Examples;
use super::figures::{ExampleSet, Figures};
use super::metrics_log::MetricsLog;
use super::written::{ModelWriter, checkpoint_folder};
use crate::TuneError;
use crate::batches::epoch_order;
use crate::checkpoint::{Best, RunState, StateFolder};
use crate::model::{Gradients, TrainableModel};
use crate::objective::sequence_sums;
use crate::optimizer::{AdamW, clip};
use crate::rank_allocation::RankAllocation;

/// Share of the time that keeping the state may take.
const SAVING_SHARE: u32 = 10;
/// Fewest examples of the small batch that validation loss is measured on between passes.
const SMALL_VALIDATION: usize = 8;

/// What a run works on.
pub(crate) struct RunInput<'a> {
    pub(crate) course: &'a Course,
    /// The run's folder.
    pub(crate) folder: &'a Path,
    pub(crate) training: &'a Examples,
    pub(crate) validation: &'a Examples,
    pub(crate) writer: &'a dyn ModelWriter,
    /// Time between two saved states.
    pub(crate) save_interval: Duration,
    pub(crate) stop: &'a StopSignal,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunResult {
    /// The best model, or the last one without validation data.
    pub(crate) model: Best,
    pub(crate) trained_tokens: u64,
    pub(crate) stopped_early: bool,
    /// Seconds over all calls.
    pub(crate) seconds: f64,
}

/// A run under way.
pub(crate) struct Run<'a> {
    input: RunInput<'a>,
    model: TrainableModel,
    optimizer: AdamW,
    gradients: Gradients,
    ranks: Option<RankAllocation>,
    state: RunState,
    state_folder: StateFolder,
    log: MetricsLog,
    clock: Clock,
    /// Seconds of earlier calls.
    seconds_before: f64,
    saved: Instant,
    saving_took: Duration,
    on_event: &'a mut dyn FnMut(TrainingEvent),
}

impl<'a> Run<'a> {
    /// Takes up the state that an earlier call left in the folder, or begins.
    pub(crate) fn open(
        input: RunInput<'a>,
        mut model: TrainableModel,
        on_event: &'a mut dyn FnMut(TrainingEvent),
    ) -> Result<Self, TuneError> {
        let course = input.course;
        std::fs::create_dir_all(input.folder).map_err(|error| TuneError::io("create", input.folder, error))?;
        let state_folder = StateFolder::of_run(input.folder);
        let resumed = state_folder.load(&course.identity, model.parameters_mut())?;
        let (state, optimizer) = match resumed {
            Some(resumed) => {
                model.refresh()?;
                let steps = resumed.state.step;
                let text = format!("training goes on after step {steps} of {}", course.total_steps());
                on_event(TrainingEvent::Message { warning: false, text });
                let optimizer = AdamW::resume(course.optimizer, steps as u64, resumed.first, resumed.second);
                (resumed.state, optimizer)
            }
            None => (RunState::new(&course.identity), AdamW::new(course.optimizer, model.parameters())),
        };
        let scores = state.rank_scores.clone();
        let ranks = course
            .adaptive_rank
            .map(|rank| RankAllocation::new(model.parameters(), rank, course.total_steps(), scores))
            .transpose()?;
        let reported = state.step - usize::from(state.unreported.is_some());
        let log = MetricsLog::open(input.folder, reported)?;
        let gradients = Gradients::zeros(model.parameters());
        let seconds_before = state.seconds;
        Ok(Self {
            input,
            model,
            optimizer,
            gradients,
            ranks,
            state,
            state_folder,
            log,
            clock: Clock::start(),
            seconds_before,
            saved: Instant::now(),
            saving_took: Duration::ZERO,
            on_event,
        })
    }

    /// Trains to the end. On a pause the state of the last finished step is kept.
    pub(crate) fn train(&mut self) -> Result<RunResult, TuneError> {
        let result = self.advance();
        if let Err(TuneError::Stopped(_)) = result {
            let reason = self.input.stop.get().unwrap_or(StopReason::Cancel);
            if reason == StopReason::Pause {
                self.save()?;
            }
            return Err(TuneError::Stopped(reason));
        }
        result?;
        let model = self.state.best.clone().or_else(|| self.state.last.clone());
        Ok(RunResult {
            model: model.ok_or_else(|| TuneError::Internal("a run ended without a model".to_owned()))?,
            trained_tokens: self.state.trained_tokens,
            stopped_early: self.state.step < self.input.course.total_steps(),
            seconds: self.seconds_before + self.clock.seconds(),
        })
    }

    /// Tokens trained in this call, and how many a second.
    pub(crate) fn rate(&self) -> (u64, f64) {
        self.clock.training()
    }

    fn advance(&mut self) -> Result<(), TuneError> {
        let course = self.input.course;
        if course.beta().is_some() && self.state.reference.is_none() {
            self.state.reference = Some([self.reference(self.input.training)?, self.reference(self.input.validation)?]);
            self.save()?;
        }
        while !self.is_over() {
            let mut metrics = match self.state.unreported {
                Some(metrics) => metrics,
                None => self.step()?,
            };
            self.state.unreported = Some(metrics);
            let ends_epoch = metrics.step.is_multiple_of(course.steps_per_epoch);
            self.evaluate(&mut metrics, ends_epoch)?;
            self.report(metrics, ends_epoch)?;
            let interval = self.input.save_interval.max(self.saving_took * SAVING_SHARE);
            if ends_epoch || self.saved.elapsed() >= interval {
                self.save()?;
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let done = self.state.step >= self.input.course.total_steps() || self.patience_lost();
        self.state.unreported.is_none() && done
    }

    fn patience_lost(&self) -> bool {
        let patience = self.input.course.patience;
        patience > 0 && self.state.stale_evaluations >= patience
    }

    /// One optimiser step.
    fn step(&mut self) -> Result<TrainingMetrics, TuneError> {
        let begun = Instant::now();
        let course = self.input.course;
        let step = self.state.step + 1;
        let (epoch, index) = ((step - 1) / course.steps_per_epoch, (step - 1) % course.steps_per_epoch);
        let order = epoch_order(self.input.training.units.len(), course.seed, epoch);
        let members = order.chunks(course.batch_size).nth(index).unwrap_or_default();
        let parts = self.training_set().parts(members);
        let stop = self.input.stop;
        let mut figures = Figures::default();
        self.gradients.clear();
        for (number, part) in parts.iter().enumerate() {
            // Dropout draws from this number, so that a run that goes on draws the same.
            self.model.set_step(((step as u64) << 16) + number as u64);
            let objective = part.objective();
            let scores =
                self.model.forward_backward(&part.batch, &objective, &mut self.gradients, &|| stop.get().is_some())?;
            figures.add(part, &scores);
        }
        let gradient_norm = clip(&mut self.gradients.values, course.max_grad_norm);
        if !(figures.loss.is_finite() && gradient_norm.is_finite()) {
            return Err(TuneError::Diverged { step });
        }
        let learning_rate = course.learning_rate.at(step);
        if let Some(ranks) = &mut self.ranks {
            ranks.observe(self.model.parameters(), &self.gradients.values);
        }
        self.optimizer.update(self.model.parameters_mut(), &self.gradients.values, learning_rate);
        if let Some(ranks) = &mut self.ranks {
            ranks.prune(step, self.model.parameters_mut(), &mut self.optimizer);
        }
        self.model.refresh()?;
        self.state.step = step;
        self.state.trained_tokens += figures.targets;
        self.clock.trained(figures.tokens, begun.elapsed());
        Ok(TrainingMetrics {
            step,
            total_steps: course.total_steps(),
            epoch: step as f64 / course.steps_per_epoch as f64,
            train_loss: figures.loss,
            train_token_accuracy: figures.accuracy(),
            train_sequence_accuracy: figures.sequence_accuracy(),
            learning_rate,
            gradient_norm,
            ..TrainingMetrics::default()
        })
    }

    /// Measures on validation data what is due at this step.
    fn evaluate(&mut self, metrics: &mut TrainingMetrics, ends_epoch: bool) -> Result<(), TuneError> {
        let units = self.input.validation.units.len();
        if units == 0 {
            return Ok(());
        }
        let course = self.input.course;
        if ends_epoch || metrics.step.is_multiple_of(course.eval_interval) {
            // The same few examples each time: a curve that moves because the model does.
            let order = epoch_order(units, course.seed, usize::MAX - 1);
            let few = course.batch_size.max(SMALL_VALIDATION).min(units);
            let small = self.measure(order.get(..few).unwrap_or_default())?;
            metrics.valid_loss = Some(small.loss);
            metrics.valid_token_accuracy = Some(small.accuracy());
        }
        if ends_epoch {
            let full = self.measure(&(0..units).collect::<Vec<_>>())?;
            if !full.loss.is_finite() {
                return Err(TuneError::Diverged { step: metrics.step });
            }
            metrics.full_valid_loss = Some(full.loss);
            metrics.full_valid_token_accuracy = Some(full.accuracy());
            if course.beta().is_some() {
                let text = format!(
                    "step {}: on validation data the preferred output leads by {:.3} nats on average",
                    metrics.step,
                    full.margin()
                );
                (self.on_event)(TrainingEvent::Message { warning: false, text });
            }
        }
        Ok(())
    }

    /// Tells the step, and at the end of a pass writes the model and judges it.
    fn report(&mut self, mut metrics: TrainingMetrics, ends_epoch: bool) -> Result<(), TuneError> {
        metrics.tokens_per_second = self.clock.training().1;
        metrics.seconds_left = self.seconds_left();
        self.log.append(&metrics)?;
        (self.on_event)(TrainingEvent::Step(metrics));
        if ends_epoch {
            let folder = checkpoint_folder(metrics.step);
            let path = self.input.folder.join(&folder);
            self.input.writer.write(&self.model, self.ranks.as_ref(), &path)?;
            (self.on_event)(TrainingEvent::Checkpoint { metrics, folder: path });
            self.judge(Best { metrics, folder });
        }
        self.state.unreported = None;
        Ok(())
    }

    /// Whether a written model is the best so far.
    fn judge(&mut self, written: Best) {
        let settled = self.ranks.as_ref().is_none_or(RankAllocation::is_settled);
        if let (Some(loss), true) = (written.metrics.full_valid_loss, settled) {
            let best = self.state.best.as_ref().and_then(|best| best.metrics.full_valid_loss);
            if best.is_none_or(|best| loss < best) {
                self.state.best = Some(written.clone());
                self.state.stale_evaluations = 0;
            } else {
                self.state.stale_evaluations += 1;
                if self.patience_lost() && written.metrics.step < self.input.course.total_steps() {
                    let text = format!(
                        "training ends early: the validation loss has not fallen in {} evaluations",
                        self.state.stale_evaluations
                    );
                    (self.on_event)(TrainingEvent::Message { warning: false, text });
                }
            }
        }
        self.state.last = Some(written);
    }

    fn training_set(&self) -> ExampleSet<'_> {
        self.set(self.input.training, 0)
    }

    fn set<'s>(&'s self, examples: &'s Examples, which: usize) -> ExampleSet<'s> {
        let reference = self.state.reference.as_ref().and_then(|reference| reference.get(which));
        let preference = self.input.course.beta().zip(reference.map(Vec::as_slice));
        ExampleSet { examples, preference }
    }

    /// Loss and accuracy on validation examples.
    fn measure(&mut self, members: &[usize]) -> Result<Figures, TuneError> {
        let begun = Instant::now();
        let stop = self.input.stop;
        let mut figures = Figures::default();
        for part in self.set(self.input.validation, 1).parts(members) {
            let scores = self.model.score(&part.batch, true, &|| stop.get().is_some())?;
            figures.add(&part, &scores);
        }
        self.clock.evaluated(figures.tokens, begun.elapsed());
        Ok(figures)
    }

    /// Log-probability of each sequence under the model as it is before the first step: the reference that preference
    /// optimisation moves away from. It is the model that training starts from, with the adapter it goes on from, if any.
    fn reference(&mut self, examples: &Examples) -> Result<Vec<f64>, TuneError> {
        let begun = Instant::now();
        let stop = self.input.stop;
        let set = ExampleSet { examples, preference: None };
        let mut sums = vec![0.0; 2 * examples.units.len()];
        let mut tokens = 0;
        for part in set.parts(&(0..examples.units.len()).collect::<Vec<_>>()) {
            let scores = self.model.score(&part.batch, true, &|| stop.get().is_some())?;
            tokens += part.batch.tokens.len() as u64;
            for (member, pair) in part.members.iter().zip(sequence_sums(&scores).chunks_exact(2)) {
                if let Some(sums) = sums.get_mut(2 * member..2 * member + 2) {
                    sums.copy_from_slice(pair);
                }
            }
        }
        self.clock.evaluated(tokens, begun.elapsed());
        Ok(sums)
    }

    fn seconds_left(&self) -> f64 {
        let course = self.input.course;
        let epochs_left =
            course.total_steps().saturating_sub(self.state.step) as f64 / course.steps_per_epoch.max(1) as f64;
        let training = epochs_left * self.input.training.tokens() as f64;
        let evaluation = epochs_left.ceil() * self.input.validation.tokens() as f64;
        self.clock.left(training as u64, evaluation as u64)
    }

    /// Keeps everything that is needed to go on from here.
    fn save(&mut self) -> Result<(), TuneError> {
        let begun = Instant::now();
        self.log.sync()?;
        self.state.seconds = self.seconds_before + self.clock.seconds();
        self.state.rank_scores = self.ranks.as_ref().map(|ranks| ranks.scores().clone());
        self.state_folder.save(&mut self.state, self.model.parameters(), &self.optimizer)?;
        self.saved = Instant::now();
        self.saving_took = begun.elapsed();
        Ok(())
    }
}
