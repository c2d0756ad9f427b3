//! Which column is what: named by the caller or guessed, then applied to every row.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use anser_core::{AttributeKind, excerpt};

use super::brought::RawVector;
use super::source::{RawRow, RawValue, column_list};
use super::values::{infer, render};
use super::{AttributeField, FieldMapping, ResolvedField, ResolvedFields};
use crate::EngineError;

/// Column names that mean the text, best first; letter case, spaces, `_` and `-` do not matter.
const TEXT_NAMES: [&str; 17] = [
    "text",
    "body",
    "content",
    "reviewtext",
    "reviewbody",
    "review",
    "comment",
    "comments",
    "answer",
    "message",
    "description",
    "utterance",
    "instruction",
    "passage",
    "sentence",
    "document",
    "question",
];

/// Column names that mean the title, best first.
const TITLE_NAMES: [&str; 9] = [
    "title",
    "headline",
    "heading",
    "subject",
    "summary",
    "reviewtitle",
    "reviewsummary",
    "reviewheadline",
    "question",
];

/// Names of things, which are titles only beside a description: elsewhere `name` is mostly a person.
const NAMES_BESIDE_DESCRIPTION: [&str; 2] = ["name", "productname"];

/// Column names that always mean the id.
const ID_NAMES: [&str; 3] = ["id", "uuid", "guid"];

/// Column names that mean the id if no value is missing or repeated in the first rows.
const ID_NAMES_IF_UNIQUE: [&str; 6] = ["sku", "docid", "documentid", "rowid", "reviewid", "articleid"];

/// Column names that mean the vector, best first.
const EMBEDDING_NAMES: [&str; 5] = ["embedding", "vector", "embeddings", "vectors", "emb"];

/// What the row number is called in files written by pandas and R. Such a column is left out: as an id it would make
/// two files overwrite each other's rows, as an attribute it says nothing about the text.
const ROW_NUMBER_NAMES: [&str; 3] = ["column_1", "Unnamed: 0", "__index_level_0__"];

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The document's id.
    Id,
    /// Its title.
    Title,
    /// Its text.
    Text,
    /// Its vector, which the row brings along.
    Embedding,
    /// An attribute; `None` until a value has shown its type.
    Attribute(Option<AttributeKind>),
    /// Left out.
    Ignored,
}

/// The roles of all columns known so far, and what to tell the user about them.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Roles by column.
    pub(super) roles: HashMap<Arc<str>, Role>,
    /// For the report; attributes are added here when they turn up.
    pub(super) fields: ResolvedFields,
    /// Remarks about guesses that may be wrong and columns that are left out.
    pub(super) remarks: Vec<String>,
}

struct Column<'a> {
    name: Arc<str>,
    values: Vec<(u64, &'a RawValue)>,
    kind: Option<AttributeKind>,
}

impl Column<'_> {
    fn is_called(&self, name: &str) -> bool {
        let plain = self.name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase);
        plain.eq(name.chars())
    }

    fn is_text(&self) -> bool {
        self.kind == Some(AttributeKind::String)
    }

    /// Values that repeat an earlier one.
    fn repeated(&self) -> usize {
        let mut seen = HashSet::new();
        self.values.iter().filter(|(_, value)| !seen.insert(render(value))).count()
    }

    fn is_unique(&self) -> bool {
        self.values.iter().all(|(_, value)| **value != RawValue::Missing) && self.repeated() == 0
    }

    /// Whether it is called as vectors are and holds such.
    fn holds_vectors(&self) -> bool {
        let mut present = self.values.iter().filter(|(_, value)| **value != RawValue::Missing).peekable();
        EMBEDDING_NAMES.iter().any(|name| self.is_called(name))
            && present.peek().is_some()
            && present.all(|(_, value)| RawVector::is_in(value))
    }

    /// Whether the values are the rows' own numbers, from 0 or 1.
    fn counts_rows(&self) -> bool {
        let starts_at = |first: i64| {
            self.values.iter().all(|(row, value)| match value {
                RawValue::Integer(v) => *v == *row as i64 - 1 + first,
                RawValue::Text(v) => v.parse() == Ok(*row as i64 - 1 + first),
                _ => false,
            })
        };
        !self.values.is_empty() && (starts_at(0) || starts_at(1))
    }

    fn mean_length(&self) -> f64 {
        let total: usize = self.values.iter().map(|(_, value)| render(value).chars().count()).sum();
        total as f64 / self.values.len().max(1) as f64
    }
}

/// The first rows of a source.
pub(super) struct Sample<'a> {
    /// The columns, where the source names them.
    pub(super) columns: Option<Vec<Arc<str>>>,
    /// The rows.
    pub(super) rows: Vec<&'a RawRow>,
}

impl Mapping {
    /// Finds the role of each column from its name and the first rows. `brings_vectors` says whether the collection takes
    /// its vectors from the rows. `source` is named in errors.
    pub(super) fn resolve(
        sample: &Sample<'_>,
        wanted: &FieldMapping,
        brings_vectors: bool,
        source: &Path,
    ) -> Result<Self, EngineError> {
        let columns = columns(sample);
        let named = |name: &Option<String>, param| match name {
            None => Ok(None),
            Some(name) => find(&columns, name, param).map(Some),
        };
        let named_text = named(&wanted.text, "text_field")?;
        let named_title = named(&wanted.title, "title_field")?;
        let named_id = named(&wanted.id, "id_field")?;
        let named_embedding = named(&wanted.embedding, "embedding_field")?;
        check_distinct([named_text, named_title, named_id, named_embedding], &columns)?;

        let named = [named_text, named_title, named_id, named_embedding];
        let mut taken: Vec<usize> = named.into_iter().flatten().collect();
        let free = |at: &usize| !taken.contains(at);
        let embedding =
            if brings_vectors { named_embedding.or_else(|| guess_embedding(&columns).filter(free)) } else { None };
        let useless: Vec<usize> = if brings_vectors {
            Vec::new()
        } else {
            (0..columns.len()).filter(|at| columns[*at].holds_vectors()).filter(free).collect()
        };
        taken.extend(embedding.iter().chain(&useless));
        let Some(text) = named_text.or_else(|| guess_text(&columns, &taken)) else {
            return Err(no_text(&columns, source));
        };
        taken.push(text);
        let id = named_id.or_else(|| guess_id(&columns, &taken));
        taken.extend(id);
        let title = named_title
            .or_else(|| own_title(&columns).filter(|at| !taken.contains(at)))
            .or_else(|| guess_title(&columns, &taken, text));
        taken.extend(title);

        let resolved = |at: Option<usize>, wanted: &Option<String>| {
            at.map(|at| ResolvedField { column: columns[at].name.to_string(), guessed: wanted.is_none() })
        };
        let mut fields = ResolvedFields {
            id: resolved(id, &wanted.id),
            title: resolved(title, &wanted.title),
            text: resolved(Some(text), &wanted.text),
            embedding: resolved(embedding, &wanted.embedding),
            ..ResolvedFields::default()
        };
        let mut roles = HashMap::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            let role = if at == text {
                Role::Text
            } else if Some(at) == title {
                Role::Title
            } else if Some(at) == id {
                Role::Id
            } else if Some(at) == embedding {
                Role::Embedding
            } else if useless.contains(&at) || ROW_NUMBER_NAMES.contains(&column.name.as_ref()) && column.counts_rows()
            {
                fields.ignored.push(column.name.to_string());
                Role::Ignored
            } else {
                if let Some(kind) = column.kind {
                    fields.attributes.push(AttributeField { name: column.name.to_string(), kind, misfits: 0 });
                }
                Role::Attribute(column.kind)
            };
            roles.insert(Arc::clone(&column.name), role);
        }
        if brings_vectors && embedding.is_none() {
            // Rows that come later may have it.
            roles.entry(Arc::from(EMBEDDING_NAMES[0])).or_insert(Role::Embedding);
        }
        let repeated = id.filter(|_| wanted.id.is_none()).and_then(|at| repeated_ids(&columns[at]));
        let unused = useless.iter().map(|at| unused_vectors(&columns[*at]));
        Ok(Self { roles, fields, remarks: repeated.into_iter().chain(unused).collect() })
    }
}

fn columns<'a>(sample: &Sample<'a>) -> Vec<Column<'a>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    let mut place = |columns: &mut Vec<Column<'a>>, name: &Arc<str>| {
        *places.entry(Arc::clone(name)).or_insert_with(|| {
            columns.push(Column { name: Arc::clone(name), values: Vec::new(), kind: None });
            columns.len() - 1
        })
    };
    for name in sample.columns.iter().flatten() {
        place(&mut columns, name);
    }
    for row in &sample.rows {
        for (name, value) in &row.cells {
            let at = place(&mut columns, name);
            columns[at].values.push((row.row, value));
        }
    }
    for column in &mut columns {
        column.kind = infer(column.values.iter().map(|(_, value)| *value));
    }
    columns
}

/// The column called `name`, exactly or, when that is not ambiguous, in another letter case.
fn find(columns: &[Column<'_>], name: &str, param: &'static str) -> Result<usize, EngineError> {
    if let Some(at) = columns.iter().position(|column| column.name.as_ref() == name) {
        return Ok(at);
    }
    let mut similar =
        columns.iter().enumerate().filter(|(_, column)| column.name.to_lowercase() == name.trim().to_lowercase());
    match (similar.next(), similar.next()) {
        (Some((at, _)), None) => Ok(at),
        _ => Err(EngineError::invalid(
            param,
            format!(
                "there is no column \"{}\" in the first rows; the columns are {}",
                excerpt(name, 40),
                list(columns)
            ),
        )),
    }
}

fn check_distinct(named: [Option<usize>; 4], columns: &[Column<'_>]) -> Result<(), EngineError> {
    let mut given: Vec<usize> = named.into_iter().flatten().collect();
    given.sort_unstable();
    match given.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(EngineError::invalid(
            "text_field",
            format!(
                "the column \"{}\" cannot be two of text, title, id and embedding at once",
                excerpt(&columns[pair[0]].name, 40)
            ),
        )),
    }
}

fn guess_text(columns: &[Column<'_>], taken: &[usize]) -> Option<usize> {
    let free = || columns.iter().enumerate().filter(|(at, _)| !taken.contains(at));
    let named = |filled: bool| {
        let usable = |column: &Column<'_>| if filled { column.is_text() } else { column.kind.is_none() };
        TEXT_NAMES.iter().find_map(|name| free().find(|(_, column)| column.is_called(name) && usable(column)))
    };
    // A text column without a value makes every row an error; another column in its place would hide that.
    let by_name = named(true).or_else(|| named(false));
    let other_role = |column: &Column<'_>| {
        ID_NAMES.iter().chain(&ID_NAMES_IF_UNIQUE).chain(&TITLE_NAMES).any(|name| column.is_called(name))
    };
    let longest = || {
        let candidates = free().filter(|(_, column)| column.is_text() && !other_role(column));
        candidates.max_by(|(_, a), (_, b)| a.mean_length().total_cmp(&b.mean_length()))
    };
    by_name.or_else(longest).map(|(at, _)| at)
}

/// The title of our own exports, which begin with these three columns: there it is the title although no row has one, and
/// no other column takes its place.
fn own_title(columns: &[Column<'_>]) -> Option<usize> {
    let first = columns.iter().take(3).map(|column| column.name.as_ref());
    first.eq(["id", "title", "text"]).then_some(1)
}

fn guess_title(columns: &[Column<'_>], taken: &[usize], text: usize) -> Option<usize> {
    let beside_description = columns[text].is_called("description");
    let names = TITLE_NAMES.iter().chain(NAMES_BESIDE_DESCRIPTION.iter().filter(|_| beside_description));
    let free = || columns.iter().enumerate().filter(|(at, column)| !taken.contains(at) && column.kind.is_some());
    names.into_iter().find_map(|name| free().find(|(_, column)| column.is_called(name))).map(|(at, _)| at)
}

fn guess_id(columns: &[Column<'_>], taken: &[usize]) -> Option<usize> {
    let free = || columns.iter().enumerate().filter(|(at, column)| !taken.contains(at) && column.kind.is_some());
    let certain = ID_NAMES.iter().find_map(|name| free().find(|(_, column)| column.is_called(name)));
    let likely = || {
        ID_NAMES_IF_UNIQUE
            .iter()
            .find_map(|name| free().find(|(_, column)| column.is_called(name) && column.is_unique()))
    };
    certain.or_else(likely).map(|(at, _)| at)
}

fn guess_embedding(columns: &[Column<'_>]) -> Option<usize> {
    let called = |name: &&str| columns.iter().position(|column| column.is_called(name));
    let filled = columns.iter().position(Column::holds_vectors);
    filled.or_else(|| EMBEDDING_NAMES.iter().find_map(called))
}

fn unused_vectors(column: &Column<'_>) -> String {
    format!(
        "the column \"{}\" holds vectors and is left out, since the collection's vectors are made here from the texts; ingest \
         into a collection for your own vectors to use them",
        excerpt(&column.name, 40)
    )
}

fn repeated_ids(column: &Column<'_>) -> Option<String> {
    let (repeated, rows) = (column.repeated(), column.values.len());
    (repeated > 0).then(|| {
        format!(
            "{repeated} of the first {rows} rows repeat an earlier value of the column \"{}\", which was taken as the id; \
             each replaces the row before it (choose another id column if that is wrong)",
            excerpt(&column.name, 40)
        )
    })
}

fn no_text(columns: &[Column<'_>], source: &Path) -> EngineError {
    let message = format!("no column holds text; name the text column; the columns are {}", list(columns));
    EngineError::BadFile { path: source.to_path_buf(), message }
}

fn list(columns: &[Column<'_>]) -> String {
    column_list(columns.iter().map(|column| column.name.as_ref()))
}
