//! The duplicates job: groups, which document of each is kept, the table.

use std::sync::Arc;

use anser_index::analysis::{NearDuplicateOptions, NearDuplicates, near_duplicates};
use arrow::array::{ArrayRef, BooleanArray, Float32Array, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field};

use super::grouping::{Placed, resolve};
use super::{DuplicateGroup, DuplicateMember, DuplicateOptions, DuplicateReport, ROUNDING, facts};
use crate::EngineError;
use crate::analysis::Work;
use crate::table::write_ordered;

/// Documents of a group that the report shows.
const SHOWN_MEMBERS: usize = 10;

impl DuplicateOptions {
    /// Does the work: `report.json` ([`DuplicateReport`]) and the table `documents` of the documents that are in a group,
    /// group by group, each kept document before those it stands for, with the columns `id`, `group` (u32, 0 is the
    /// largest), `keep` (bool), `kept_id` (the kept document that stands for it), `similarity` (f32, cosine with that one),
    /// `exact_copy` (bool: its title and text are those of that one), `title`, `text` and the attributes.
    pub(crate) fn run(&self, work: &Work<'_>) -> Result<(), EngineError> {
        let threshold = self.threshold.min(1.0 - ROUNDING);
        let options = NearDuplicateOptions { threshold, exact: None, seed: self.seed };
        let found = near_duplicates(&work.subject.vectors, &options, work.cancel, work.progress)?;
        let facts = facts::gather(self, work, &found.groups)?;
        let groups = found
            .groups
            .iter()
            .map(|group| resolve(self, &work.subject.vectors, group, &facts, work.cancel))
            .collect::<Result<Vec<Vec<Placed>>, _>>()?;
        let report = self.report(work, &found, &groups)?;
        write(work, &groups)?;
        work.results.report(&report)
    }

    fn report(
        &self,
        work: &Work<'_>,
        found: &NearDuplicates,
        groups: &[Vec<Placed>],
    ) -> Result<DuplicateReport, EngineError> {
        let largest = groups
            .iter()
            .enumerate()
            .take(self.limit)
            .map(|(number, group)| summary(work, number as u32, group))
            .collect::<Result<Vec<DuplicateGroup>, _>>()?;
        let all = || groups.iter().flatten();
        Ok(DuplicateReport {
            source: work.subject.name.clone(),
            embedder: work.subject.embedder.model.clone(),
            documents: work.subject.len(),
            threshold: self.threshold,
            keep: self.keep,
            newest_by: self.newest_by.clone(),
            exact: found.exact,
            recall: found.recall,
            compared: found.compared,
            groups: groups.len(),
            grouped: all().count(),
            redundant: all().filter(|placed| !placed.is_kept()).count(),
            exact_copies: all().filter(|placed| placed.exact_copy).count(),
            largest,
        })
    }
}

fn summary(work: &Work<'_>, number: u32, group: &[Placed]) -> Result<DuplicateGroup, EngineError> {
    // Copies read alike, so the others are shown first: what is kept, then what is only near.
    let mut shown: Vec<Placed> = group.to_vec();
    shown.sort_by_key(|placed| placed.exact_copy);
    shown.truncate(SHOWN_MEMBERS);
    let places: Vec<usize> = shown.iter().map(|placed| placed.row as usize).collect();
    let documents = work.subject.some(&places)?;
    let members = shown.iter().zip(&documents).map(|(placed, document)| DuplicateMember {
        document: document.into(),
        keep: placed.is_kept(),
        kept_id: work.subject.ids[placed.kept as usize].to_string(),
        similarity: placed.similarity,
        exact_copy: placed.exact_copy,
    });
    Ok(DuplicateGroup {
        group: number,
        documents: group.len(),
        redundant: group.iter().filter(|placed| !placed.is_kept()).count(),
        exact_copies: group.iter().filter(|placed| placed.exact_copy).count(),
        members: members.collect(),
    })
}

fn write(work: &Work<'_>, groups: &[Vec<Placed>]) -> Result<(), EngineError> {
    let own = vec![
        Field::new("group", DataType::UInt32, false),
        Field::new("keep", DataType::Boolean, false),
        Field::new("kept_id", DataType::Utf8, false),
        Field::new("similarity", DataType::Float32, false),
        Field::new("exact_copy", DataType::Boolean, false),
    ];
    let rows: Vec<(u32, Placed)> =
        (0..).zip(groups).flat_map(|(number, group)| group.iter().map(move |placed| (number, *placed))).collect();
    let places: Vec<usize> = rows.iter().map(|(_, placed)| placed.row as usize).collect();
    let ids = &work.subject.ids;
    write_ordered(work, "documents", own, &places, &mut |positions| {
        let rows = &rows[positions];
        let columns: [ArrayRef; 5] = [
            Arc::new(rows.iter().map(|(number, _)| Some(*number)).collect::<UInt32Array>()),
            Arc::new(rows.iter().map(|(_, placed)| Some(placed.is_kept())).collect::<BooleanArray>()),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, placed)| ids[placed.kept as usize].as_str()))),
            Arc::new(rows.iter().map(|(_, placed)| Some(placed.similarity)).collect::<Float32Array>()),
            Arc::new(rows.iter().map(|(_, placed)| Some(placed.exact_copy)).collect::<BooleanArray>()),
        ];
        columns.into()
    })
}
