//! How attributes are distributed over clusters, counted as documents come by.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anser_core::{AttributeValue, Attributes};

use super::report::{AttributeSummary, ValueCount};
use crate::EngineError;
use crate::table::number;

/// Most different values of an attribute that are counted; a text with more is prose or an id.
const MOST_VALUES: usize = 500;

/// Most different numbers that are listed.
const LISTED_NUMBERS: usize = 20;

/// Most texts that are listed for each cluster.
const LISTED_TEXTS: usize = 10;

/// Most attributes when none are named.
const MOST_ATTRIBUTES: usize = 50;

/// Attributes of documents in clusters.
pub(super) struct AttributeTallies {
    /// The names asked for; when empty, all that say something.
    wanted: BTreeSet<String>,
    clusters: usize,
    sizes: Vec<usize>,
    tallies: BTreeMap<String, Tally>,
}

/// One attribute over all clusters.
struct Tally {
    clusters: Vec<ClusterTally>,
    /// All different values, until there are too many.
    values: Option<BTreeSet<String>>,
    has_numbers: bool,
}

/// One attribute in one cluster.
#[derive(Default, Clone)]
struct ClusterTally {
    count: usize,
    numbers: Moments,
    values: HashMap<String, usize>,
}

/// Mean and variance of numbers as they come by (Welford 1962).
#[derive(Default, Clone, Copy)]
struct Moments {
    count: usize,
    mean: f64,
    squares: f64,
    range: Option<(f64, f64)>,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.range = Some(self.range.map_or((value, value), |(min, max)| (min.min(value), max.max(value))));
    }

    fn sd(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares / (self.count - 1) as f64).sqrt())
    }
}

impl AttributeTallies {
    /// Of `wanted` attributes, or of all when it is empty.
    pub(super) fn new(wanted: &[String], clusters: usize) -> Self {
        Self { wanted: wanted.iter().cloned().collect(), clusters, sizes: vec![0; clusters], tallies: BTreeMap::new() }
    }

    /// Counts a document of a cluster.
    pub(super) fn add(&mut self, cluster: u32, attributes: &Attributes) {
        let cluster = cluster as usize;
        self.sizes[cluster] += 1;
        for (name, value) in attributes {
            let chosen = self.wanted.contains(name);
            if !self.wanted.is_empty() && !chosen {
                continue;
            }
            if !self.tallies.contains_key(name) {
                if !chosen && self.tallies.len() == MOST_ATTRIBUTES {
                    continue;
                }
                self.tallies.insert(name.clone(), Tally::new(self.clusters));
            }
            if let Some(tally) = self.tallies.get_mut(name) {
                tally.add(cluster, value);
            }
        }
    }

    /// `InvalidInput` when an attribute asked for was in no document of a cluster.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        match self.wanted.iter().find(|name| !self.tallies.contains_key(*name)) {
            None => Ok(()),
            Some(name) => {
                let message = format!("no document of a cluster has the attribute \"{name}\"; look at its spelling");
                Err(EngineError::invalid("attributes", message))
            }
        }
    }

    /// For each cluster the attributes, by name.
    pub(super) fn summaries(&self) -> Vec<BTreeMap<String, AttributeSummary>> {
        let says = |tally: &Tally| !self.wanted.is_empty() || tally.has_numbers || tally.says_something();
        let of = |cluster: usize| {
            let shown = self.tallies.iter().filter(|(_, tally)| says(tally));
            shown.map(|(name, tally)| (name.clone(), tally.summary(cluster, self.sizes[cluster]))).collect()
        };
        (0..self.clusters).map(of).collect()
    }
}

impl Tally {
    fn new(clusters: usize) -> Self {
        Self { clusters: vec![ClusterTally::default(); clusters], values: Some(BTreeSet::new()), has_numbers: false }
    }

    fn add(&mut self, cluster: usize, value: &AttributeValue) {
        let tally = &mut self.clusters[cluster];
        tally.count += 1;
        if let Some(number) = number(value).filter(|number| number.is_finite()) {
            tally.numbers.add(number);
            self.has_numbers = true;
        }
        match value {
            AttributeValue::StringList(texts) => {
                let different: BTreeSet<&String> = texts.iter().collect();
                for text in different {
                    self.count(cluster, text.clone());
                }
            }
            other => self.count(cluster, other.display()),
        }
    }

    fn count(&mut self, cluster: usize, value: String) {
        let Some(values) = &mut self.values else { return };
        if !values.contains(&value) {
            if values.len() == MOST_VALUES {
                self.values = None;
                self.clusters.iter_mut().for_each(|tally| tally.values = HashMap::new());
                return;
            }
            values.insert(value.clone());
        }
        *self.clusters[cluster].values.entry(value).or_default() += 1;
    }

    /// Whether its values, none of them numbers, tell clusters apart: few different ones, some of which come again.
    fn says_something(&self) -> bool {
        let documents: usize = self.clusters.iter().map(|tally| tally.count).sum();
        self.values.as_ref().is_some_and(|values| values.len() * 2 <= documents)
    }

    fn summary(&self, cluster: usize, size: usize) -> AttributeSummary {
        let tally = &self.clusters[cluster];
        let numbers = tally.numbers;
        AttributeSummary {
            count: tally.count,
            missing: size - tally.count,
            mean: (numbers.count > 0).then_some(numbers.mean),
            sd: numbers.sd(),
            min: numbers.range.map(|(min, _)| min),
            max: numbers.range.map(|(_, max)| max),
            values: self.listed(tally),
        }
    }

    fn listed(&self, tally: &ClusterTally) -> Vec<ValueCount> {
        let few = self.values.as_ref().is_some_and(|values| values.len() <= LISTED_NUMBERS);
        if self.has_numbers && !few {
            return Vec::new();
        }
        let mut values: Vec<(&String, usize)> = tally.values.iter().map(|(value, count)| (value, *count)).collect();
        if self.has_numbers {
            let as_number = |value: &str| value.parse::<f64>().unwrap_or(f64::INFINITY);
            values.sort_by(|a, b| as_number(a.0).total_cmp(&as_number(b.0)).then_with(|| a.0.cmp(b.0)));
        } else {
            values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
            values.truncate(LISTED_TEXTS);
        }
        let share = |count: usize| count as f64 / tally.count.max(1) as f64;
        values
            .into_iter()
            .map(|(value, count)| ValueCount { value: value.clone(), count, share: share(count) })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tallies(wanted: &[&str], rows: &[(u32, &str)]) -> AttributeTallies {
        let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        let mut tallies = AttributeTallies::new(&wanted, 2);
        for (cluster, json) in rows {
            tallies.add(*cluster, &serde_json::from_str(json).unwrap());
        }
        tallies
    }

    #[test]
    fn numbers_have_moments_and_few_different_values_are_counted() {
        let rows = [
            (0, r#"{"score": 1}"#),
            (0, r#"{"score": 5}"#),
            (0, r#"{"score": 5}"#),
            (0, "{}"),
            (1, r#"{"score": 2.5}"#),
        ];
        let found = tallies(&[], &rows).summaries();
        let score = &found[0]["score"];
        assert_eq!((score.count, score.missing, score.min, score.max), (3, 1, Some(1.0), Some(5.0)));
        assert!((score.mean.unwrap() - 11.0 / 3.0).abs() < 1e-12);
        assert!((score.sd.unwrap() - (16.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        let counts: Vec<(&str, usize)> = score.values.iter().map(|v| (v.value.as_str(), v.count)).collect();
        assert_eq!(counts, [("1", 1), ("5", 2)]);
        assert_eq!((found[1]["score"].mean, found[1]["score"].sd), (Some(2.5), None));
    }

    #[test]
    fn texts_come_by_frequency_and_prose_is_left_out_unless_asked_for() {
        let rows: Vec<(u32, String)> = (0..700)
            .map(|at| {
                let lang = if at % 3 == 0 { "de" } else { "en" };
                (0, format!(r#"{{"lang": "{lang}", "user": "u{at}", "tags": ["x", "x", "y{}"]}}"#, at % 2))
            })
            .collect();
        let rows: Vec<(u32, &str)> = rows.iter().map(|(cluster, json)| (*cluster, json.as_str())).collect();
        let found = tallies(&[], &rows).summaries();
        let names: Vec<&String> = found[0].keys().collect();
        assert_eq!(names, ["lang", "tags"]);
        assert_eq!((found[0]["lang"].values[0].value.as_str(), found[0]["lang"].values[0].count), ("en", 466));
        assert_eq!((found[0]["tags"].values[0].value.as_str(), found[0]["tags"].values[0].count), ("x", 700));
        let asked = tallies(&["user"], &rows).summaries();
        assert_eq!((asked[0]["user"].count, asked[0]["user"].values.len()), (700, 0));
        assert_eq!(asked[0].len(), 1);
        assert!(tallies(&["nothing"], &rows).check().unwrap_err().to_string().contains("\"nothing\""));
        tallies(&["user"], &rows).check().unwrap();
    }

    #[test]
    fn numbers_that_are_no_numbers_are_left_out() {
        let mut tallies = AttributeTallies::new(&[], 1);
        tallies.add(0, &[("n".to_owned(), AttributeValue::Float(f64::NAN))].into());
        tallies.add(0, &[("n".to_owned(), AttributeValue::Float(2.0))].into());
        assert_eq!(tallies.summaries()[0]["n"].mean, Some(2.0));
    }
}
