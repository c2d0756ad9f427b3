//! The evaluation as text for people.

use std::fmt::{self, Write};

use super::{ArmSummary, TunedEvaluation};
use crate::evaluate::significance::Estimate;

/// Most characters of a text that a table of questions shows.
const SHOWN_CHARS: usize = 160;

impl TunedEvaluation {
    /// The table of arms, the comparisons and the verdict, several lines.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    /// Each question with what every arm said, several lines.
    pub fn render_questions(&self) -> String {
        let mut out = String::new();
        for example in &self.examples {
            let _ = writeln!(out, "line {}: {}", example.line, short(&example.question));
            let _ = writeln!(out, "  {:<21} {}", "reference", short(&example.reference));
            for (arm, answer) in self.arms.iter().zip(&example.answers) {
                let _ = writeln!(
                    out,
                    "  {:<21} {} (F1 {:.2}, ROUGE-L {:.2})",
                    arm.arm.name(),
                    short(&answer.output),
                    answer.scores.token_f1,
                    answer.scores.rouge_l
                );
            }
        }
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        write!(out, "{:<22}", "")?;
        for arm in &self.arms {
            write!(out, " {:>22}", arm.arm.name())?;
        }
        writeln!(out)?;
        row(out, "exact match", &self.arms, |arm| share(&arm.exact_match))?;
        row(out, "token F1", &self.arms, |arm| share(&arm.token_f1))?;
        row(out, "BLEU", &self.arms, |arm| format!("{:.2}", arm.bleu))?;
        row(out, "ROUGE-1", &self.arms, |arm| share(&arm.rouge_1))?;
        row(out, "ROUGE-2", &self.arms, |arm| share(&arm.rouge_2))?;
        row(out, "ROUGE-L", &self.arms, |arm| share(&arm.rouge_l))?;
        let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        row(out, "perplexity", &self.arms, |arm| figure(arm.perplexity))?;
        row(out, "token accuracy", &self.arms, |arm| figure(arm.token_accuracy))?;
        if self.pattern.is_some() {
            row(out, "pattern match", &self.arms, |arm| arm.matches.as_ref().map_or("-".to_owned(), share))?;
        }
        if self.arms.iter().any(|arm| arm.classification.is_some()) {
            let of = |arm: &ArmSummary, value: fn(&crate::metrics::Classification) -> f64| {
                figure(arm.classification.as_ref().map(value))
            };
            row(out, "label accuracy", &self.arms, |arm| of(arm, |c| c.accuracy))?;
            row(out, "label precision, macro", &self.arms, |arm| of(arm, |c| c.macro_precision))?;
            row(out, "label recall, macro", &self.arms, |arm| of(arm, |c| c.macro_recall))?;
            row(out, "label F1, macro", &self.arms, |arm| of(arm, |c| c.macro_f1))?;
            row(out, "label F1, weighted", &self.arms, |arm| of(arm, |c| c.weighted_f1))?;
        }
        row(out, "cut off", &self.arms, |arm| arm.cut_off.to_string())?;
        row(out, "seconds an answer", &self.arms, |arm| format!("{:.2}", arm.mean_seconds))?;
        writeln!(out, "\nRanges hold the true mean with 95 % confidence.\n\nTuned against base:")?;
        for comparison in &self.comparisons {
            let place = if comparison.retrieval { ", with retrieval" } else { "" };
            writeln!(out, "  {}{place}: the tuned model {}.", comparison.measure.name(), comparison.sentence())?;
        }
        writeln!(out, "\n{}", self.verdict)
    }
}

fn row(out: &mut String, name: &str, arms: &[ArmSummary], cell: impl Fn(&ArmSummary) -> String) -> fmt::Result {
    write!(out, "{name:<22}")?;
    for arm in arms {
        write!(out, " {:>22}", cell(arm))?;
    }
    writeln!(out)
}

fn share(estimate: &Estimate) -> String {
    format!("{:.2} ({:.2} to {:.2})", estimate.mean, estimate.low, estimate.high)
}

/// On one line, cut where it gets long.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<&str>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
