//! Whether a tuned model should answer when nobody names one: only if it is significantly better at what it was tuned for
//! and has not become worse at everything else.

mod general;

use anser_core::{CancelToken, Progress};
use serde::Serialize;
use serde_json::json;

pub use general::{GeneralAnswer, GeneralComparison};

use super::tuned::{Comparison, Outcome, TunedEvaluation, TunedEvaluationRequest};
use crate::{Engine, EngineError};

/// The decision about a tuned model, and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PromotionReport {
    /// Whether it is now the default chat model.
    pub promoted: bool,
    /// The decision in words, with its reasons.
    pub decision: String,
    /// On held-out examples.
    pub evaluation: TunedEvaluation,
    /// On the general set.
    pub general: GeneralComparison,
}

impl PromotionReport {
    /// The evaluation, the general set and the decision, several lines.
    pub fn render(&self) -> String {
        let general = format!(
            "General questions answered rightly: {:.0} % tuned, {:.0} % base, of {}.\n",
            100.0 * self.general.tuned,
            100.0 * self.general.base,
            self.general.answers.len()
        );
        let lost = self.general.answers.iter().filter(|answer| answer.base_right && !answer.tuned_right);
        let lost: String =
            lost.map(|lost| ["  lost: ", &lost.question, " (now: ", lost.tuned.trim(), ")\n"].concat()).collect();
        [self.evaluation.render().as_str(), "\n", &general, &lost, "\n", &self.decision, "\n"].concat()
    }
}

impl Engine {
    /// Compares a tuned model with its base on held-out examples and on 30 general questions, and makes it the default chat
    /// model if it is better at the first (on the request's primary measure, p < 0.05) and no worse at the second (no
    /// significant loss, at most 10 points lost). Otherwise nothing changes and the report says why.
    ///
    /// Fails as [`Engine::evaluate_tuned`] does.
    pub fn promote_if_better(
        &self,
        request: &TunedEvaluationRequest,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<PromotionReport, EngineError> {
        // Only a tuned model can become the default: found out before the work rather than after it.
        self.tuned_model(&request.tuned)?;
        let evaluation = self.evaluate_tuned(request, progress, cancel)?;
        let (base, tuned) = (self.models().chat(Some(&evaluation.base))?, self.models().chat(Some(&evaluation.tuned))?);
        let answers = general::ask_both(base.as_ref(), tuned.as_ref(), progress, cancel)?;
        let general = GeneralComparison::of(answers, request.seed);
        let (promoted, decision) = decide(&evaluation, &general);
        if promoted {
            let evidence = json!({
                "decision": decision,
                "verdict": evaluation.verdict,
                "comparisons": evaluation.comparisons,
                "general": { "base": general.base, "tuned": general.tuned, "test": general.test },
            });
            self.set_default_chat_model(Some(&evaluation.tuned), evidence)?;
        }
        Ok(PromotionReport { promoted, decision, evaluation, general })
    }
}

/// Whether to promote, and why or why not.
fn decide(evaluation: &TunedEvaluation, general: &GeneralComparison) -> (bool, String) {
    let outcome = evaluation.primary_comparison().map_or(Outcome::Undecided, Comparison::outcome);
    let knowledge = format!(
        "on {} general questions it is right in {:.0} % against {:.0} %",
        general.answers.len(),
        100.0 * general.tuned,
        100.0 * general.base
    );
    let mut against = Vec::new();
    match outcome {
        Outcome::Better => {}
        Outcome::Worse => against.push(format!("it is worse than {}", evaluation.base)),
        Outcome::Undecided => against.push(format!("it is not shown to be better than {}", evaluation.base)),
    }
    if !general.holds {
        against.push(format!("it has forgotten too much: {knowledge}"));
    }
    let verdict = &evaluation.verdict;
    if against.is_empty() {
        (true, format!("{} answers by default from now on. {verdict} And {knowledge}.", evaluation.tuned))
    } else {
        let reasons = against.join(", and ");
        (false, format!("{} is not promoted, because {reasons}. {verdict}", evaluation.tuned))
    }
}
