//! From the answers of all arms to means, comparisons and a verdict.

use serde::{Deserialize, Serialize};

use super::{Arm, ArmAnswer, EvaluatedExample};
use crate::evaluate::metrics::{Classification, Labels, Likelihood, corpus_bleu};
use crate::evaluate::significance::{Estimate, PairedTest, bootstrap_mean, mcnemar, paired_bootstrap};

/// With fewer questions than this a verdict says that they are few.
const FEW: usize = 30;

/// What can be compared between base and tuned model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of outputs that equal the reference once normalised; for labels, their accuracy.
    ExactMatch,
    /// Mean F1 of words.
    TokenF1,
    /// Mean F1 of the longest common subsequence.
    RougeL,
    /// Perplexity of the references; tested on the mean negative log probability of a token. Lower is better.
    Perplexity,
    /// Share of outputs that hold the wanted pattern.
    Match,
}

impl Measure {
    /// In words for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact match",
            Self::TokenF1 => "token F1",
            Self::RougeL => "ROUGE-L",
            Self::Perplexity => "perplexity",
            Self::Match => "pattern match",
        }
    }

    /// Reads what [`Measure::name`] or the JSON form says.
    pub fn parse(name: &str) -> Option<Self> {
        let plain = name.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        match plain.as_str() {
            "exact_match" | "accuracy" => Some(Self::ExactMatch),
            "token_f1" | "f1" => Some(Self::TokenF1),
            "rouge_l" => Some(Self::RougeL),
            "perplexity" => Some(Self::Perplexity),
            "match" | "pattern_match" => Some(Self::Match),
            _ => None,
        }
    }

    /// Whether a larger value is a better one.
    pub fn higher_is_better(self) -> bool {
        self != Self::Perplexity
    }

    /// Its value for one answer: in [0, 1], or nats a token for perplexity.
    fn value(self, answer: &ArmAnswer) -> Option<f64> {
        let flag = |yes: bool| f64::from(u8::from(yes));
        match self {
            Self::ExactMatch => Some(flag(answer.scores.exact_match)),
            Self::TokenF1 => Some(answer.scores.token_f1),
            Self::RougeL => Some(answer.scores.rouge_l),
            Self::Perplexity => answer.likelihood.and_then(|likelihood| likelihood.mean_negative_log_likelihood()),
            Self::Match => answer.matches.map(flag),
        }
    }
}

/// The means of one arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmSummary {
    /// Which one.
    #[serde(flatten)]
    pub arm: Arm,
    /// Name of the model.
    pub model: String,
    /// Share of outputs that equal the reference once normalised.
    pub exact_match: Estimate,
    /// Mean F1 of words.
    pub token_f1: Estimate,
    /// Mean F1 of shared words.
    pub rouge_1: Estimate,
    /// Mean F1 of shared pairs of words.
    pub rouge_2: Estimate,
    /// Mean F1 of the longest common subsequence.
    pub rouge_l: Estimate,
    /// BLEU over all answers together, in [0, 100].
    pub bleu: f64,
    /// Perplexity over all tokens of all references; `None` when none could be scored.
    pub perplexity: Option<f64>,
    /// Share of those tokens that the model would have chosen.
    pub token_accuracy: Option<f64>,
    /// Share of outputs that hold the wanted pattern.
    pub matches: Option<Estimate>,
    /// Where the references are labels.
    pub classification: Option<Classification>,
    /// Answers cut off at the longest output.
    pub cut_off: usize,
    /// Mean seconds of an answer.
    pub mean_seconds: f64,
}

/// Tuned against base on one measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// What was compared.
    pub measure: Measure,
    /// Whether both were shown passages.
    pub retrieval: bool,
    /// The base model's figure.
    pub base: f64,
    /// The tuned model's figure.
    pub tuned: f64,
    /// Tuned minus base; for perplexity of the negative log probability, in nats a token.
    pub test: PairedTest,
}

/// Which of both is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The tuned model, with p < 0.05.
    Better,
    /// The base model, with p < 0.05.
    Worse,
    /// The difference may be chance.
    Undecided,
}

impl Comparison {
    /// Compares an arm of the tuned model with the same arm of the base.
    fn of(measure: Measure, retrieval: bool, base: &[&ArmAnswer], tuned: &[&ArmAnswer], seed: u64) -> Option<Self> {
        let both = |(base, tuned): (&&ArmAnswer, &&ArmAnswer)| Some((measure.value(base)?, measure.value(tuned)?));
        let (first, second): (Vec<f64>, Vec<f64>) = base.iter().zip(tuned).filter_map(both).unzip();
        if first.is_empty() {
            return None;
        }
        let test = match measure {
            Measure::ExactMatch | Measure::Match => {
                let right = |values: &[f64]| values.iter().map(|value| *value > 0.5).collect::<Vec<bool>>();
                mcnemar(&right(&first), &right(&second), seed)
            }
            _ => paired_bootstrap(&first, &second, seed),
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (base, tuned) = if measure == Measure::Perplexity {
            (perplexity(base).unwrap_or_default(), perplexity(tuned).unwrap_or_default())
        } else {
            (mean(&first), mean(&second))
        };
        Some(Self { measure, retrieval, base, tuned, test })
    }

    /// Which of both is better.
    pub fn outcome(&self) -> Outcome {
        match (self.test.significant(), (self.test.difference.mean > 0.0) == self.measure.higher_is_better()) {
            (false, _) => Outcome::Undecided,
            (true, true) => Outcome::Better,
            (true, false) => Outcome::Worse,
        }
    }

    /// What the tuned model does, as the rest of a sentence that begins with it.
    pub fn sentence(&self) -> String {
        let (base, tuned, difference) = (self.base, self.tuned, self.test.difference.mean);
        let figures = match self.measure {
            Measure::Match => format!(
                "matches the pattern in {:.0} % of its replies against {:.0} % (difference {:.0} points",
                100.0 * tuned,
                100.0 * base,
                100.0 * difference
            ),
            Measure::Perplexity => {
                format!("has perplexity {tuned:.2} against {base:.2} (difference {difference:.2} nats a token")
            }
            measure => {
                format!("scores {} {tuned:.2} against {base:.2} (difference {difference:.2}", measure.name())
            }
        };
        let figures = format!("{figures}, {})", p_value(self.test.p_value));
        match self.outcome() {
            Outcome::Better => format!("{figures}: it is better"),
            Outcome::Worse => format!("{figures}: it is worse"),
            Outcome::Undecided => {
                let detectable = self.test.detectable.filter(|size| *size > 0.0).map_or(String::new(), |size| {
                    format!("; on so many questions a true difference of {size:.2} is found four times in five")
                });
                format!("{figures}: no difference can be shown{detectable}")
            }
        }
    }
}

/// "p < 0.001", "p = 0.03".
fn p_value(p: f64) -> String {
    match p {
        p if p < 0.001 => "p < 0.001".to_owned(),
        p if p < 0.1 => format!("p = {p:.3}"),
        p => format!("p = {p:.2}"),
    }
}

/// Answers of one arm, in the order of the questions.
pub(super) fn answers_of(examples: &[EvaluatedExample], at: usize) -> Vec<&ArmAnswer> {
    examples.iter().filter_map(|example| example.answers.get(at)).collect()
}

fn perplexity(answers: &[&ArmAnswer]) -> Option<f64> {
    likelihood(answers).perplexity()
}

fn likelihood(answers: &[&ArmAnswer]) -> Likelihood {
    answers.iter().filter_map(|answer| answer.likelihood).fold(Likelihood::default(), Likelihood::plus)
}

/// The means of arm `at`.
pub(super) fn summarize(
    arm: Arm,
    model: &str,
    (examples, at): (&[EvaluatedExample], usize),
    labels: Option<&Labels>,
    seed: u64,
) -> ArmSummary {
    let answers = answers_of(examples, at);
    let mean = |value: fn(&ArmAnswer) -> f64| {
        bootstrap_mean(&answers.iter().map(|answer| value(answer)).collect::<Vec<f64>>(), seed)
    };
    let pairs = || answers.iter().zip(examples).map(|(answer, e)| (answer.output.trim(), e.reference.trim()));
    let likelihood = likelihood(&answers);
    let matches: Option<Vec<f64>> = answers.iter().map(|answer| Measure::Match.value(answer)).collect();
    ArmSummary {
        arm,
        model: model.to_owned(),
        exact_match: mean(|answer| f64::from(u8::from(answer.scores.exact_match))),
        token_f1: mean(|answer| answer.scores.token_f1),
        rouge_1: mean(|answer| answer.scores.rouge_1),
        rouge_2: mean(|answer| answer.scores.rouge_2),
        rouge_l: mean(|answer| answer.scores.rouge_l),
        bleu: corpus_bleu(pairs()).score,
        perplexity: likelihood.perplexity(),
        token_accuracy: likelihood.token_accuracy(),
        matches: matches.filter(|values| !values.is_empty()).map(|values| bootstrap_mean(&values, seed)),
        classification: labels.map(|labels| Classification::of(labels, pairs())),
        cut_off: answers.iter().filter(|answer| answer.cut_off).count(),
        mean_seconds: answers.iter().map(|answer| answer.seconds).sum::<f64>() / answers.len().max(1) as f64,
    }
}

/// Tuned against base on every measure, without retrieval and, where there is a collection, with it.
pub(super) fn compare(examples: &[EvaluatedExample], arms: &[Arm], seed: u64) -> Vec<Comparison> {
    let measures = [Measure::TokenF1, Measure::RougeL, Measure::ExactMatch, Measure::Perplexity, Measure::Match];
    let place = |wanted: Arm| arms.iter().position(|arm| *arm == wanted);
    let mut comparisons = Vec::new();
    for retrieval in [false, true] {
        let places = (place(Arm { tuned: false, retrieval }), place(Arm { tuned: true, retrieval }));
        let (Some(base), Some(tuned)) = places else { continue };
        let (base, tuned) = (answers_of(examples, base), answers_of(examples, tuned));
        comparisons.extend(measures.iter().filter_map(|m| Comparison::of(*m, retrieval, &base, &tuned, seed)));
    }
    comparisons
}

/// What a manager reads: who is better on the chosen measure, without retrieval and with it.
pub(super) fn verdict(comparisons: &[Comparison], primary: Measure, count: usize, collection: Option<&str>) -> String {
    let find = |retrieval: bool| comparisons.iter().find(|c| c.measure == primary && c.retrieval == retrieval);
    let Some(plain) = find(false) else { return format!("{} could not be measured.", primary.name()) };
    let plural = if count == 1 { "" } else { "s" };
    let mut sentences = vec![format!("On {count} held-out question{plural} the tuned model {}.", plain.sentence())];
    if let (Some(grounded), Some(collection)) = (find(true), collection) {
        sentences.push(format!("With retrieval from \"{collection}\" it {}.", grounded.sentence()));
    }
    if count < FEW {
        sentences.push(format!("{count} questions are few: measure on {FEW} or more before relying on this."));
    }
    sentences.join(" ")
}
