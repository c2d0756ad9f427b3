//! How clusters agree with classes that are known.

use std::collections::HashMap;

use anser_index::analysis::{adjusted_rand, normalized_mutual_information, v_measure};

use super::partition::Partition;
use super::report::TruthComparison;
use crate::EngineError;
use crate::analysis::Work;

/// Compares the clusters with the classes in `attribute`, over the documents that have it.
pub(super) fn compare(work: &Work<'_>, partition: &Partition, attribute: &str) -> Result<TruthComparison, EngineError> {
    let mut classes: HashMap<String, u32> = HashMap::new();
    let (mut truth, mut found) = (Vec::new(), Vec::new());
    for (value, cluster) in work.subject.attribute(attribute)?.into_iter().zip(partition.labels()) {
        let Some(value) = value else { continue };
        let next = classes.len() as u32;
        truth.push(*classes.entry(value.display()).or_insert(next));
        found.push(cluster);
    }
    if truth.is_empty() {
        let message = format!("no document has the attribute \"{attribute}\"; look at its spelling");
        return Err(EngineError::invalid("truth", message));
    }
    let measure = v_measure(&truth, &found);
    Ok(TruthComparison {
        attribute: attribute.to_owned(),
        documents: truth.len(),
        classes: classes.len(),
        homogeneity: measure.homogeneity,
        completeness: measure.completeness,
        v_measure: measure.v_measure,
        normalized_mutual_information: normalized_mutual_information(&truth, &found),
        adjusted_rand: adjusted_rand(&truth, &found),
    })
}
