//! The analysis `predict`: a saved predictor on all documents of a source, written back as an attribute on request.

use std::collections::BTreeMap;
use std::sync::Arc;

use anser_core::{AttributeValue, DocumentId, ProgressUnit};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use serde::{Deserialize, Serialize};

use super::{Classifier, Predictor, Regressor, SavedPredictor, check_predictor_name};
use crate::EngineError;
use crate::analysis::{AnalysisSource, Work};
use crate::table::write_documents;

/// Documents whose attribute is written in one transaction.
const WRITE_BATCH: usize = 1000;

/// Longest name of an attribute, in bytes.
const MAX_ATTRIBUTE_NAME: usize = 200;

/// Applies a saved predictor to every document. The results are `report.json` ([`PredictReport`]) and the table
/// `documents`: `id` and, of a classifier, `predicted` (text; the most probable label even where it abstained),
/// `probability` (float) and `abstained` (boolean), or, of a regression, `value` (float), then `title`, `text` and the
/// attributes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PredictOptions {
    /// Name of the predictor; required.
    pub predictor: String,
    /// Its version; the latest when absent.
    pub version: Option<u32>,
    /// Attribute of the collection's documents into which the label or number is written. Where a classifier abstains the
    /// attribute is removed. Texts and vectors are not touched.
    pub write_to: Option<String>,
}

/// What was predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictReport {
    /// The collection or file.
    pub source: String,
    /// Its documents.
    pub documents: usize,
    /// The predictor and the version that was used.
    pub predictor: SavedPredictor,
    /// How many documents got each label, in the predictor's order; empty from a regression.
    pub labels: Vec<LabelCount>,
    /// Documents that got no label.
    pub abstained: usize,
    /// The numbers; `None` from a classifier.
    pub values: Option<ValueSummary>,
    /// What was written back.
    pub written: Option<WrittenBack>,
}

/// A label and how many documents got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCount {
    /// The label.
    pub label: String,
    /// Documents that got it.
    pub documents: usize,
}

/// Numbers at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValueSummary {
    /// Their mean.
    pub mean: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// Attributes that were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenBack {
    /// The attribute.
    pub attribute: String,
    /// Documents in which it changed.
    pub documents: usize,
}

/// What was predicted for all documents, a few bytes for each.
enum Predicted<'a> {
    Labels(&'a Classifier, Vec<(usize, f64)>),
    Values(Vec<f64>),
}

impl PredictOptions {
    /// `InvalidInput` for an option out of range.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.predictor.is_empty() {
            return Err(EngineError::invalid("predictor", "name the predictor to apply"));
        }
        check_predictor_name("predictor", Some(&self.predictor))?;
        match &self.write_to {
            Some(name) if name.trim().is_empty() || name.len() > MAX_ATTRIBUTE_NAME => {
                let message = format!("write_to must name an attribute in 1 to {MAX_ATTRIBUTE_NAME} bytes");
                Err(EngineError::invalid("write_to", message))
            }
            _ => Ok(()),
        }
    }

    /// Memory that the run takes beside the mapped vectors, in bytes.
    #[expect(clippy::unused_self, reason = "every kind of analysis is asked alike")]
    pub(crate) fn memory_bytes(&self, rows: u64, dimension: usize) -> u64 {
        // A class and a probability for each document; a block of documents with their neighbours or probabilities.
        rows * 16 + (64 << 20) + dimension as u64 * (1 << 14)
    }

    /// Does the work.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let subject = work.subject;
        let (saved, predictor) =
            work.parts.predictors.for_embedder(&self.predictor, self.version, &subject.embedder)?;
        let collection = self.target(work, &saved)?;
        work.progress.start("predicting", Some(subject.len() as u64), ProgressUnit::Items);
        let predicted = match &predictor {
            Predictor::Classifier(classifier) => {
                let found = classifier.method.classify(&subject.vectors, classifier.labels.len(), work.cancel)?;
                Predicted::Labels(classifier, found)
            }
            Predictor::Regressor(regressor) => Predicted::Values(values(regressor, work)?),
        };
        work.progress.finish();
        write_documents(work, "documents", predicted.fields(), &mut |range| predicted.arrays(range))?;
        let written = match (&self.write_to, collection) {
            (Some(name), Some(collection)) => Some(Self::write_back(work, name, &collection, &predicted)?),
            _ => None,
        };
        work.results.report(&predicted.report(work, saved, written))
    }

    /// The collection to write into. `InvalidInput` when there is none, or when the attribute is the one learnt from.
    fn target(
        &self,
        work: &Work<'_>,
        saved: &SavedPredictor,
    ) -> Result<Option<Arc<anser_index::Collection>>, EngineError> {
        let Some(attribute) = &self.write_to else { return Ok(None) };
        let AnalysisSource::Collection { name, .. } = work.source else {
            let message = "a file's rows have no attributes to write into; ingest the file into a collection first";
            return Err(EngineError::invalid("write_to", message));
        };
        if saved.summary.get("attribute").and_then(|learnt| learnt.as_str()) == Some(attribute) {
            let message = format!(
                "the predictor was learnt from the attribute \"{attribute}\"; writing there would overwrite what is true, so choose another name"
            );
            return Err(EngineError::invalid("write_to", message));
        }
        Ok(Some(work.parts.store.get(name)?))
    }

    fn write_back(
        work: &Work<'_>,
        attribute: &str,
        collection: &anser_index::Collection,
        predicted: &Predicted<'_>,
    ) -> Result<WrittenBack, EngineError> {
        let ids = &work.subject.ids;
        work.progress.start("writing attributes", Some(ids.len() as u64), ProgressUnit::Items);
        let mut documents = 0;
        for (batch, ids) in ids.chunks(WRITE_BATCH).enumerate() {
            work.cancel.check()?;
            let first = batch * WRITE_BATCH;
            let change = |(at, id): (usize, &DocumentId)| (id.clone(), attribute, predicted.value(first + at));
            let changes: Vec<_> = ids.iter().enumerate().map(change).collect();
            documents += collection.set_attributes(&changes)?;
            work.progress.set((first + ids.len()) as u64);
        }
        work.progress.finish();
        Ok(WrittenBack { attribute: attribute.to_owned(), documents })
    }
}

fn values(regressor: &Regressor, work: &Work<'_>) -> Result<Vec<f64>, EngineError> {
    regressor.values(&work.subject.vectors, work.cancel)
}

impl Predicted<'_> {
    fn fields(&self) -> Vec<Field> {
        match self {
            Self::Labels(..) => vec![
                Field::new("predicted", DataType::Utf8, false),
                Field::new("probability", DataType::Float64, false),
                Field::new("abstained", DataType::Boolean, false),
            ],
            Self::Values(_) => vec![Field::new("value", DataType::Float64, false)],
        }
    }

    fn arrays(&self, range: std::ops::Range<usize>) -> Vec<ArrayRef> {
        match self {
            Self::Labels(classifier, found) => {
                let found = &found[range];
                let label = |(class, _): &(usize, f64)| classifier.labels[*class].as_str();
                let abstained: Vec<bool> = found.iter().map(|(_, p)| classifier.abstains(*p)).collect();
                vec![
                    Arc::new(StringArray::from_iter_values(found.iter().map(label))),
                    Arc::new(Float64Array::from_iter_values(found.iter().map(|(_, probability)| *probability))),
                    Arc::new(BooleanArray::from(abstained)),
                ]
            }
            Self::Values(values) => vec![Arc::new(Float64Array::from_iter_values(values[range].iter().copied()))],
        }
    }

    /// What is written into the document at a place.
    fn value(&self, at: usize) -> Option<AttributeValue> {
        match self {
            Self::Labels(classifier, found) => {
                let (class, probability) = found.get(at)?;
                let label = classifier.labels.get(*class).filter(|_| !classifier.abstains(*probability))?;
                Some(AttributeValue::String(label.clone()))
            }
            Self::Values(values) => values.get(at).copied().filter(|v| v.is_finite()).map(AttributeValue::Float),
        }
    }

    fn report(&self, work: &Work<'_>, predictor: SavedPredictor, written: Option<WrittenBack>) -> PredictReport {
        let (mut labels, mut abstained, mut values) = (Vec::new(), 0, None);
        match self {
            Self::Labels(classifier, found) => {
                let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
                for (class, probability) in found {
                    if classifier.abstains(*probability) {
                        abstained += 1;
                    } else {
                        *counts.entry(*class).or_default() += 1;
                    }
                }
                let count = |(class, label): (usize, &String)| LabelCount {
                    label: label.clone(),
                    documents: counts.get(&class).copied().unwrap_or_default(),
                };
                labels = classifier.labels.iter().enumerate().map(count).collect();
            }
            Self::Values(found) => {
                values = Some(ValueSummary {
                    mean: found.iter().sum::<f64>() / found.len().max(1) as f64,
                    low: found.iter().copied().fold(f64::INFINITY, f64::min),
                    high: found.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                });
            }
        }
        let (source, documents) = (work.subject.name.clone(), work.subject.len());
        PredictReport { source, documents, predictor, labels, abstained, values, written }
    }
}
