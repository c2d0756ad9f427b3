//! Does the content filter flag what it should, and nothing else?

use std::fmt;

use serde::Serialize;

use super::category::MODERATION_CATEGORIES;
use super::{Moderation, ModerationExample};

/// How well one kind of harm, or any, was found.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct DetectionScores {
    /// Examples that belong to it.
    pub positives: usize,
    /// Examples that were flagged with it.
    pub flagged: usize,
    /// Those flagged that belong to it.
    pub right: usize,
    /// `right / flagged`; 0 when nothing was flagged.
    pub precision: f64,
    /// `right / positives`; 0 without any.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// The content filter measured on labelled examples.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ModerationEvaluation {
    /// Name of the embedder.
    pub embedder: String,
    /// Examples measured on.
    pub examples: usize,
    /// Whether a text was flagged at all, whatever the category.
    pub any: DetectionScores,
    /// Each category.
    pub categories: Vec<(&'static str, DetectionScores)>,
    /// Harmless texts that were flagged, with the categories.
    pub wrongly_flagged: Vec<(String, Vec<&'static str>)>,
    /// Harmful texts that were not.
    pub missed: Vec<String>,
}

impl DetectionScores {
    fn of(pairs: impl Iterator<Item = (bool, bool)>) -> Self {
        let mut scores = Self::default();
        for (flagged, positive) in pairs {
            scores.positives += usize::from(positive);
            scores.flagged += usize::from(flagged);
            scores.right += usize::from(flagged && positive);
        }
        let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        scores.precision = share(scores.right, scores.flagged);
        scores.recall = share(scores.right, scores.positives);
        scores.f1 = share(2 * scores.right, scores.flagged + scores.positives);
        scores
    }
}

impl ModerationEvaluation {
    /// Compares what was found, one for each example, with what is true.
    pub(super) fn of(embedder: &str, examples: &[ModerationExample], found: &[Moderation]) -> Self {
        let pairs = || examples.iter().zip(found);
        let wrong = |(example, found): &(&ModerationExample, &Moderation)| found.flagged && !example.harmful();
        let missed = |(example, found): &(&ModerationExample, &Moderation)| !found.flagged && example.harmful();
        let category = |name: &'static str| {
            (name, DetectionScores::of(pairs().map(|(example, found)| (found.flags(name), example.is(name)))))
        };
        Self {
            embedder: embedder.to_owned(),
            examples: examples.len(),
            any: DetectionScores::of(pairs().map(|(example, found)| (found.flagged, example.harmful()))),
            categories: MODERATION_CATEGORIES.into_iter().map(category).collect(),
            wrongly_flagged: pairs()
                .filter(wrong)
                .map(|(e, found)| (e.text.clone(), found.flagged_categories()))
                .collect(),
            missed: pairs().filter(missed).map(|(example, _)| example.text.clone()).collect(),
        }
    }
}

impl fmt::Display for ModerationEvaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Content filter on {} examples, vectors of {}", self.examples, self.embedder)?;
        writeln!(f, "{:<24} {:>9} {:>9} {:>9} {:>9}", "category", "positives", "precision", "recall", "F1")?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, s: &DetectionScores| {
            writeln!(f, "{name:<24} {:>9} {:>9.2} {:>9.2} {:>9.2}", s.positives, s.precision, s.recall, s.f1)
        };
        for (name, scores) in &self.categories {
            row(f, name, scores)?;
        }
        row(f, "any", &self.any)?;
        for (text, categories) in &self.wrongly_flagged {
            writeln!(f, "wrongly flagged as {}: {text}", categories.join(", "))?;
        }
        for text in &self.missed {
            writeln!(f, "missed: {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_recall_count_what_they_should() {
        let example = |text: &str, categories: &[&str]| ModerationExample {
            text: text.into(),
            categories: categories.iter().map(|c| (*c).to_owned()).collect(),
        };
        let found = |category: Option<usize>| {
            let mut scores = [0.1; MODERATION_CATEGORIES.len()];
            if let Some(at) = category {
                scores[at] = 0.9;
            }
            Moderation::from_scores(scores)
        };
        let examples =
            [example("a", &["harassment"]), example("b", &["hate"]), example("c", &[]), example("d", &["harassment"])];
        let evaluation =
            ModerationEvaluation::of("e", &examples, &[found(Some(0)), found(Some(0)), found(Some(11)), found(None)]);
        let (_, harassment) = evaluation.categories[0];
        assert_eq!((harassment.positives, harassment.flagged, harassment.right), (2, 2, 1));
        assert_eq!((evaluation.any.positives, evaluation.any.flagged, evaluation.any.right), (3, 3, 2));
        assert_eq!(evaluation.wrongly_flagged, [("c".to_owned(), vec!["violence"])]);
        assert_eq!(evaluation.missed, ["d"]);
        let shown = evaluation.to_string();
        assert!(shown.contains("wrongly flagged as violence: c") && shown.contains("any"), "{shown}");
    }
}
