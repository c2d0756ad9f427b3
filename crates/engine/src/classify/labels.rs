//! The labels of documents: read from an attribute, numbered, and checked.

use std::collections::HashMap;

use anser_core::{AttributeValue, CancelToken, excerpt};

use super::report::LeftOutClass;
use crate::EngineError;
use crate::analysis::Subject;

/// Most classes. An attribute with more different values is no label.
const MAX_CLASSES: usize = 2000;

/// Labels that messages name before they say how many more there are.
const NAMED: usize = 5;

/// Characters of a label in a message.
const SHOWN: usize = 60;

/// Labelled documents.
pub(super) struct Labelled {
    /// The labels, numbers by size and else in alphabetical order; their places are the numbers of the classes.
    pub(super) names: Vec<String>,
    /// Places of the labelled documents in the subject, rising.
    pub(super) places: Vec<usize>,
    /// The class of each of them.
    pub(super) classes: Vec<usize>,
    /// Documents without the attribute.
    pub(super) unlabelled: usize,
    /// Classes with too few documents.
    pub(super) left_out: Vec<LeftOutClass>,
}

/// The label that a value is: its text; a list is one when it holds a single text.
fn label(value: AttributeValue) -> Option<String> {
    let label = match value {
        AttributeValue::StringList(mut list) if list.len() == 1 => list.pop().unwrap_or_default(),
        AttributeValue::StringList(_) => return None,
        AttributeValue::String(text) => text,
        AttributeValue::Float(v) if !v.is_finite() => return None,
        other => other.display(),
    };
    let label = label.trim();
    (!label.is_empty()).then(|| label.to_owned())
}

/// The value of the attribute in every document as a numbered label; `None` where there is none.
fn read(
    subject: &Subject,
    attribute: &str,
    cancel: &CancelToken,
) -> Result<(Vec<String>, Vec<Option<u32>>), EngineError> {
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut of = Vec::with_capacity(subject.len());
    for document in subject.documents()? {
        cancel.check()?;
        let value = document?.attributes.remove(attribute).and_then(label);
        of.push(value.map(|label| {
            let next = numbers.len() as u32;
            *numbers.entry(label).or_insert(next)
        }));
        if numbers.len() > MAX_CLASSES {
            let message = format!(
                "the attribute \"{}\" has more than {MAX_CLASSES} different values in \"{}\"; a label has fewer",
                excerpt(attribute, SHOWN),
                subject.name
            );
            return Err(EngineError::invalid("label", message));
        }
    }
    let mut names = vec![String::new(); numbers.len()];
    for (name, number) in numbers {
        names[number as usize] = name;
    }
    Ok((names, of))
}

impl Labelled {
    /// Reads the labels of a subject. `InvalidInput` when nothing can be learnt from them: no document has the attribute,
    /// there is one class only, or a class has a single document and `min_examples` does not leave it out.
    pub(super) fn of(
        subject: &Subject,
        attribute: &str,
        min_examples: Option<usize>,
        cancel: &CancelToken,
    ) -> Result<Self, EngineError> {
        let (names, of) = read(subject, attribute, cancel)?;
        let mut counts = vec![0_usize; names.len()];
        of.iter().flatten().for_each(|&number| counts[number as usize] += 1);
        let shown = excerpt(attribute, SHOWN);
        if names.is_empty() {
            let message = format!("no document of \"{}\" has the attribute \"{shown}\"", subject.name);
            return Err(EngineError::invalid("label", message));
        }
        let least = min_examples.unwrap_or(2);
        let mut rare: Vec<usize> = (0..names.len()).filter(|class| counts[*class] < least).collect();
        rare.sort_by(|a, b| names[*a].cmp(&names[*b]));
        if min_examples.is_none() && !rare.is_empty() {
            let named: Vec<String> =
                rare.iter().take(NAMED).map(|class| format!("\"{}\"", excerpt(&names[*class], SHOWN))).collect();
            let more = if rare.len() > NAMED { format!(" and {} more", rare.len() - NAMED) } else { String::new() };
            let message = format!(
                "{} of \"{shown}\" stands in one document only, too few to learn from and to measure on; add examples or leave rare labels out with min_examples",
                named.join(", ") + &more
            );
            return Err(EngineError::invalid("min_examples", message));
        }
        let mut kept: Vec<usize> = (0..names.len()).filter(|class| counts[*class] >= least).collect();
        order(&mut kept, &names);
        if kept.len() < 2 {
            let message = match kept.first() {
                Some(only) => format!(
                    "all labelled documents of \"{}\" have the same \"{shown}\", \"{}\"; a classifier needs two labels or more",
                    subject.name,
                    excerpt(&names[*only], SHOWN)
                ),
                None => format!("no value of \"{shown}\" stands in {least} documents or more; lower min_examples"),
            };
            return Err(EngineError::invalid("label", message));
        }
        let mut class_of = vec![None; names.len()];
        kept.iter().enumerate().for_each(|(class, number)| class_of[*number] = Some(class));
        let found = |(place, number): (usize, &Option<u32>)| {
            let class = class_of[(*number)? as usize]?;
            Some((place, class))
        };
        let (places, classes) = of.iter().enumerate().filter_map(found).unzip();
        let left_out = |class: &usize| LeftOutClass { label: names[*class].clone(), documents: counts[*class] };
        Ok(Self {
            places,
            classes,
            unlabelled: of.iter().filter(|number| number.is_none()).count(),
            left_out: rare.iter().map(left_out).collect(),
            names: kept.iter().map(|number| names[*number].clone()).collect(),
        })
    }

    /// Reads labels that must be among `known`, whose order they keep. Documents with another one are left out.
    pub(super) fn among(
        subject: &Subject,
        attribute: &str,
        known: &[String],
        cancel: &CancelToken,
    ) -> Result<Self, EngineError> {
        let (names, of) = read(subject, attribute, cancel)?;
        let class_of: Vec<Option<usize>> =
            names.iter().map(|name| known.iter().position(|known| known == name)).collect();
        let mut strangers = vec![0_usize; names.len()];
        let (mut places, mut classes) = (Vec::new(), Vec::new());
        for (place, number) in of.iter().enumerate().filter_map(|(place, number)| Some((place, (*number)? as usize))) {
            match class_of[number] {
                Some(class) => {
                    places.push(place);
                    classes.push(class);
                }
                None => strangers[number] += 1,
            }
        }
        if places.is_empty() {
            let message = format!(
                "no document of \"{}\" has one of the labels in its attribute \"{}\"; the labels' names must be its values",
                subject.name,
                excerpt(attribute, SHOWN)
            );
            return Err(EngineError::invalid("label", message));
        }
        let mut left_out: Vec<LeftOutClass> = names
            .iter()
            .zip(&strangers)
            .filter(|(_, documents)| **documents > 0)
            .map(|(label, documents)| LeftOutClass { label: label.clone(), documents: *documents })
            .collect();
        left_out.sort_by(|a, b| b.documents.cmp(&a.documents).then_with(|| a.label.cmp(&b.label)));
        let unlabelled = of.iter().filter(|number| number.is_none()).count();
        Ok(Self { names: known.to_vec(), places, classes, unlabelled, left_out })
    }

    /// How many documents there are of each class.
    pub(super) fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        self.classes.iter().for_each(|&class| counts[class] += 1);
        counts
    }
}

/// Numbers by size, everything else in alphabetical order.
fn order(classes: &mut [usize], names: &[String]) {
    let numbers: Option<Vec<f64>> =
        names.iter().map(|name| name.parse().ok().filter(|v: &f64| v.is_finite())).collect();
    match numbers {
        Some(numbers) => classes.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b])),
        None => classes.sort_by(|a, b| names[*a].cmp(&names[*b])),
    }
}
