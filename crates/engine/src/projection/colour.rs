//! What the points of a map are coloured by: clusters found here, or an attribute.

use std::collections::{BTreeSet, HashMap};

use anser_core::{AttributeValue, ProgressUnit};
use anser_index::analysis::{ClassTfidf, ClusterCount, KMeansOptions, Keyword, spherical_kmeans};

use super::report::{ColouredBy, ColouredGroup};
use super::{BY_CLUSTER, ProjectionOptions};
use crate::EngineError;
use crate::analysis::Work;
use crate::map::Colouring;

/// Numbers of clusters tried when none is given.
const TRIED: (usize, usize) = (2, 20);

/// Most values of an attribute with a colour of their own; the rarer ones share one.
const MOST_VALUES: usize = 29;

/// Keywords in the name of a cluster.
const KEYWORDS: usize = 3;

/// Texts counted at a time.
const COUNTED: usize = 512;

const DAY: f64 = 86_400.0;
const YEAR: f64 = 365.2425 * DAY;

/// Colours and what they mean.
pub(super) struct Colour {
    pub(super) colouring: Colouring,
    pub(super) report: ColouredBy,
}

/// Finds the colours that the options ask for.
pub(super) fn colour(work: &Work<'_>, options: &ProjectionOptions) -> Result<Option<Colour>, EngineError> {
    match options.colour_by.as_deref() {
        None => Ok(None),
        Some(BY_CLUSTER) => by_cluster(work, options).map(Some),
        Some(name) => by_attribute(work, name).map(Some),
    }
}

fn by_cluster(work: &Work<'_>, options: &ProjectionOptions) -> Result<Colour, EngineError> {
    let count = options.k.map_or(ClusterCount::Auto { min: TRIED.0, max: TRIED.1 }, ClusterCount::Fixed);
    let kmeans = KMeansOptions { count, seed: options.seed, ..KMeansOptions::default() };
    let clustering = spherical_kmeans(&work.subject.vectors, &kmeans, work.cancel, work.progress)?;
    let clusters = clustering.clusters.len();
    let mut counted = ClassTfidf::new(clusters);
    let mut waiting: Vec<(u32, String)> = Vec::with_capacity(COUNTED);
    work.progress.start("naming clusters", Some(work.subject.len() as u64), ProgressUnit::Items);
    for (at, (document, cluster)) in work.subject.documents()?.zip(&clustering.assignments).enumerate() {
        work.cancel.check()?;
        waiting.push((*cluster, document?.text));
        if waiting.len() == COUNTED {
            counted.add(&waiting)?;
            waiting.clear();
            work.progress.set(at as u64 + 1);
        }
    }
    counted.add(&waiting)?;
    work.progress.finish();
    let name = |(number, keywords): (usize, &Vec<Keyword>)| {
        let terms: Vec<&str> = keywords.iter().map(|keyword| keyword.term.as_str()).collect();
        if terms.is_empty() { format!("cluster {number}") } else { terms.join(", ") }
    };
    let labels: Vec<String> = counted.keywords(KEYWORDS).iter().enumerate().map(name).collect();
    let of = clustering.assignments.iter().map(|cluster| Some(*cluster)).collect();
    let how = format!("k-means, k = {clusters}: {}", clustering.criterion);
    Ok(groups(BY_CLUSTER, of, labels, false, Some(how)))
}

fn by_attribute(work: &Work<'_>, name: &str) -> Result<Colour, EngineError> {
    let values = work.subject.attribute(name)?;
    let mut present = values.iter().flatten();
    let Some(first) = present.next() else { return Err(no_such_attribute(work, name)?) };
    let all = |is: fn(&AttributeValue) -> bool| is(first) && values.iter().flatten().all(is);
    if all(|value| matches!(value, AttributeValue::Integer(_) | AttributeValue::Float(_))) {
        let numbers = values.iter().map(|value| value.as_ref().and_then(crate::table::number)).collect();
        return Ok(scale(name, name.to_owned(), numbers));
    }
    if all(|value| matches!(value, AttributeValue::Time(_))) {
        return Ok(times(name, &values));
    }
    Ok(by_value(name, &values))
}

/// Times as years, or as days since the first when all lie within three years.
fn times(name: &str, values: &[Option<AttributeValue>]) -> Colour {
    let seconds: Vec<Option<f64>> = values
        .iter()
        .map(|value| match value {
            Some(AttributeValue::Time(time)) => Some(time.unix_timestamp() as f64),
            _ => None,
        })
        .collect();
    let (low, high) = seconds
        .iter()
        .flatten()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(*at), high.max(*at)));
    if high - low > 3.0 * YEAR {
        let years = seconds.iter().map(|at| at.map(|at| 1970.0 + at / YEAR)).collect();
        return scale(name, format!("{name} (year)"), years);
    }
    let first = values.iter().flatten().find_map(|value| match value {
        AttributeValue::Time(time) if time.unix_timestamp() as f64 <= low => Some(time.date().to_string()),
        _ => None,
    });
    let days = seconds.iter().map(|at| at.map(|at| (at - low) / DAY)).collect();
    scale(name, format!("{name} (days since {})", first.unwrap_or_default()), days)
}

/// A group for each of the most frequent values; of a list the first text counts.
fn by_value(name: &str, values: &[Option<AttributeValue>]) -> Colour {
    let word = |value: &AttributeValue| match value {
        AttributeValue::StringList(texts) => texts.first().cloned(),
        other => Some(other.display()),
    };
    let words: Vec<Option<String>> =
        values.iter().map(|value| value.as_ref().and_then(word).filter(|word| !word.trim().is_empty())).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in words.iter().flatten() {
        *counts.entry(word).or_default() += 1;
    }
    let mut order: Vec<(&str, usize)> = counts.into_iter().collect();
    order.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let rare = order.len().saturating_sub(MOST_VALUES);
    // One rare value may keep its own name and colour.
    let own = if rare == 1 { order.len() } else { order.len() - rare };
    let place: HashMap<&str, u32> =
        order.iter().enumerate().map(|(at, (word, _))| (*word, at.min(own) as u32)).collect();
    let of = words.iter().map(|word| word.as_deref().and_then(|word| place.get(word).copied())).collect();
    let mut labels: Vec<String> = order[..own].iter().map(|(word, _)| (*word).to_owned()).collect();
    let (mut how, rest) = (None, own < order.len());
    if rest {
        labels.push(format!("{rare} other values"));
        how = Some(format!("the {own} most frequent of {} values have a colour of their own", order.len()));
    }
    groups(name, of, labels, rest, how)
}

/// Groups and their names; with `rest` the last one stands for many small ones.
fn groups(name: &str, of: Vec<Option<u32>>, labels: Vec<String>, rest: bool, how: Option<String>) -> Colour {
    let mut counts = vec![0_usize; labels.len()];
    for group in of.iter().flatten() {
        counts[*group as usize] += 1;
    }
    let missing = of.iter().filter(|group| group.is_none()).count();
    let one = |(label, documents): (&String, usize)| ColouredGroup { label: label.clone(), documents };
    let groups = labels.iter().zip(counts).map(one).collect();
    let report = ColouredBy { name: name.to_owned(), groups, scale: None, missing, how };
    Colour { colouring: Colouring::Groups { of, labels, rest }, report }
}

fn scale(name: &str, shown: String, values: Vec<Option<f64>>) -> Colour {
    let (low, high) = values
        .iter()
        .flatten()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    let missing = values.iter().filter(|value| value.is_none()).count();
    let report = ColouredBy { name: name.to_owned(), groups: Vec::new(), scale: Some([low, high]), missing, how: None };
    Colour { colouring: Colouring::Scale { values, name: shown }, report }
}

fn no_such_attribute(work: &Work<'_>, name: &str) -> Result<EngineError, EngineError> {
    let mut names = BTreeSet::new();
    for document in work.subject.documents()? {
        names.extend(document?.attributes.into_keys());
    }
    let known: Vec<String> = names.iter().take(20).map(|name| format!("\"{name}\"")).collect();
    let advice = match (known.is_empty(), names.len() > known.len()) {
        (true, _) => "they have no attributes; use \"cluster\" or nothing".to_owned(),
        (false, false) => format!("they have {}", known.join(", ")),
        (false, true) => format!("they have {}, …", known.join(", ")),
    };
    let message = format!("no document of \"{}\" has an attribute \"{name}\"; {advice}", work.subject.name);
    Ok(EngineError::invalid("colour_by", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(json: &str) -> Vec<Option<AttributeValue>> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn frequent_values_have_groups_and_rare_ones_share_one() {
        let colour = by_value("tag", &values(r#"["b", "a", null, "b", ["c", "d"], "", [], true]"#));
        let Colouring::Groups { of, labels, rest } = colour.colouring else { panic!("groups") };
        assert_eq!(labels, ["b", "a", "c", "true"]);
        assert_eq!(of, [Some(0), Some(1), None, Some(0), Some(2), None, None, Some(3)]);
        assert_eq!((colour.report.missing, colour.report.how, rest), (3, None, false));

        let many: Vec<Option<AttributeValue>> =
            (0..40).map(|at| Some(AttributeValue::String(format!("{:02}", at.min(35))))).collect();
        let colour = by_value("id", &many);
        assert!(matches!(colour.colouring, Colouring::Groups { rest: true, .. }));
        assert_eq!(colour.report.groups.len(), 30);
        assert_eq!((colour.report.groups[0].label.as_str(), colour.report.groups[0].documents), ("35", 5));
        let last = &colour.report.groups[29];
        assert_eq!((last.label.as_str(), last.documents), ("7 other values", 7));
        let thirty = by_value("id", &many[..30]);
        assert!(thirty.report.groups.len() == 30 && thirty.report.how.is_none());
    }

    #[test]
    fn times_are_years_or_days() {
        let long = times("date", &values(r#"["2000-01-01T00:00:00Z", null, "2010-07-02T12:00:00Z"]"#));
        let [low, high] = long.report.scale.unwrap();
        assert!((low - 2000.0).abs() < 0.01 && (high - 2010.5).abs() < 0.01 && long.report.missing == 1);
        let short = times("date", &values(r#"["2024-05-11T00:00:00Z", "2024-05-01T00:00:00Z"]"#));
        assert_eq!(short.report.scale, Some([0.0, 10.0]));
        let Colouring::Scale { name, .. } = short.colouring else { panic!("a scale") };
        assert_eq!(name, "date (days since 2024-05-01)");
    }
}
