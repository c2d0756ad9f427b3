//! Documents as columns: title, text, and every attribute with the type that holds all its values.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use anser_core::{AttributeValue, Attributes, CancelToken, Document};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::EngineError;
use crate::analysis::Subject;

/// Columns that come before the attributes in every table of documents.
const DOCUMENT_COLUMNS: [&str; 2] = ["title", "text"];

/// What stands between the texts of a list where they are one text.
const LIST_SEPARATOR: &str = "; ";

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Bool,
    Integer,
    /// Numbers of which at least one is no integer.
    Float,
    Time,
    /// Texts, and values of types that no other column holds together; lists of texts too, unless lists stay lists.
    Text,
    /// Lists of texts, where they stay lists.
    TextList,
}

impl ColumnKind {
    fn of(value: &AttributeValue, lists: bool) -> Self {
        match value {
            AttributeValue::Bool(_) => Self::Bool,
            AttributeValue::Integer(_) => Self::Integer,
            AttributeValue::Float(_) => Self::Float,
            AttributeValue::Time(_) => Self::Time,
            AttributeValue::StringList(_) if lists => Self::TextList,
            AttributeValue::String(_) | AttributeValue::StringList(_) => Self::Text,
        }
    }

    /// The type that holds values of both.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Integer, Self::Float) | (Self::Float, Self::Integer) => Self::Float,
            _ => Self::Text,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Text => DataType::Utf8,
            Self::TextList => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        }
    }
}

/// An attribute and the column it becomes.
#[derive(Debug, Clone, PartialEq)]
struct AttributeColumn {
    attribute: String,
    /// The attribute's name, with `attribute.` before it where another column has that name.
    column: String,
    kind: ColumnKind,
}

/// The columns `title` (text, may be missing), `text`, and one for each attribute that any document has: boolean, 64-bit
/// integer, 64-bit float, UTC time in microseconds, or text. A list of texts is one text, joined by `; `. An attribute
/// whose values have several types is a column of text. Where a document lacks an attribute, its value is missing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AttributeColumns {
    columns: Vec<AttributeColumn>,
}

impl AttributeColumns {
    /// Reads all documents once to find the attributes and their types. `reserved` are the names of the table's other
    /// columns; an attribute called like one of them, or `title` or `text`, becomes the column `attribute.NAME`.
    pub(crate) fn of(subject: &Subject, reserved: &[&str], cancel: &CancelToken) -> Result<Self, EngineError> {
        let mut kinds = AttributeKinds::default();
        for document in subject.documents()? {
            cancel.check()?;
            kinds.add(&document?.attributes);
        }
        Ok(kinds.columns(reserved))
    }

    fn named(kinds: &BTreeMap<String, ColumnKind>, reserved: &[&str]) -> Self {
        let mut used: HashSet<String> = reserved.iter().chain(&DOCUMENT_COLUMNS).map(|&name| name.to_owned()).collect();
        let one = |(attribute, kind): (&String, &ColumnKind)| {
            let mut column = attribute.clone();
            while !used.insert(column.clone()) {
                column.insert_str(0, "attribute.");
            }
            AttributeColumn { attribute: attribute.clone(), column, kind: *kind }
        };
        Self { columns: kinds.iter().map(one).collect() }
    }

    /// The Arrow fields, `title` and `text` first, then the attributes in order of name.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let fixed = DOCUMENT_COLUMNS.map(|name| Field::new(name, DataType::Utf8, name == "title"));
        let typed = self.columns.iter().map(|column| Field::new(&column.column, column.kind.data_type(), true));
        fixed.into_iter().chain(typed).collect()
    }

    /// The columns of some documents, in the order of [`AttributeColumns::fields`].
    pub(crate) fn arrays(&self, documents: &[Document]) -> Vec<ArrayRef> {
        let title: ArrayRef = Arc::new(documents.iter().map(|d| d.title.as_deref()).collect::<StringArray>());
        let text: ArrayRef = Arc::new(StringArray::from_iter_values(documents.iter().map(|d| &d.text)));
        [title, text].into_iter().chain(self.columns.iter().map(|column| column.array(documents))).collect()
    }
}

/// The types that the attributes of some documents have.
#[derive(Debug, Clone, Default)]
pub(crate) struct AttributeKinds {
    kinds: BTreeMap<String, ColumnKind>,
    lists: bool,
}

impl AttributeKinds {
    /// Lists of texts become columns of lists rather than of texts joined by `; `.
    pub(crate) fn with_lists() -> Self {
        Self { kinds: BTreeMap::new(), lists: true }
    }

    /// Adds what one document's attributes say about the types of columns.
    pub(crate) fn add(&mut self, attributes: &Attributes) {
        for (name, value) in attributes {
            let kind = ColumnKind::of(value, self.lists);
            match self.kinds.get_mut(name) {
                Some(known) => *known = known.join(kind),
                None => {
                    self.kinds.insert(name.clone(), kind);
                }
            }
        }
    }

    /// The columns that these become in a table with `reserved` columns, see [`AttributeColumns::of`].
    pub(crate) fn columns(&self, reserved: &[&str]) -> AttributeColumns {
        AttributeColumns::named(&self.kinds, reserved)
    }
}

impl AttributeColumn {
    fn array(&self, documents: &[Document]) -> ArrayRef {
        let values = documents.iter().map(|document| document.attributes.get(&self.attribute));
        match self.kind {
            ColumnKind::Bool => Arc::new(
                values
                    .map(|v| if let Some(AttributeValue::Bool(v)) = v { Some(*v) } else { None })
                    .collect::<BooleanArray>(),
            ),
            ColumnKind::Integer => Arc::new(
                values
                    .map(|v| if let Some(AttributeValue::Integer(v)) = v { Some(*v) } else { None })
                    .collect::<Int64Array>(),
            ),
            ColumnKind::Float => Arc::new(values.map(|v| v.and_then(number)).collect::<Float64Array>()),
            ColumnKind::Time => Arc::new(
                values.map(|v| v.and_then(microseconds)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"),
            ),
            ColumnKind::Text => Arc::new(values.map(|v| v.map(text)).collect::<StringArray>()),
            ColumnKind::TextList => {
                let mut lists = ListBuilder::new(StringBuilder::new());
                for value in values {
                    match value {
                        Some(AttributeValue::StringList(texts)) => lists.append_value(texts.iter().map(Some)),
                        _ => lists.append_null(),
                    }
                }
                Arc::new(lists.finish())
            }
        }
    }
}

/// The value as a number, if it is one.
pub(crate) fn number(value: &AttributeValue) -> Option<f64> {
    match value {
        AttributeValue::Integer(v) => Some(*v as f64),
        AttributeValue::Float(v) => Some(*v),
        _ => None,
    }
}

/// Microseconds since 1970 of a time.
fn microseconds(value: &AttributeValue) -> Option<i64> {
    match value {
        AttributeValue::Time(time) => i64::try_from(time.unix_timestamp_nanos().div_euclid(1000)).ok(),
        _ => None,
    }
}

fn text(value: &AttributeValue) -> String {
    match value {
        AttributeValue::StringList(texts) => texts.join(LIST_SEPARATOR),
        other => other.display(),
    }
}

#[cfg(test)]
mod tests {
    use anser_core::DocumentId;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};

    use super::*;

    fn documents() -> Vec<Document> {
        [
            r#"{"score": 4, "price": 2, "text": "en", "mixed": 1, "tags": ["a", "b"]}"#,
            r#"{"score": 5, "price": 2.5, "mixed": "one", "seen": true, "date": "2024-05-01T00:00:00Z"}"#,
        ]
        .into_iter()
        .enumerate()
        .map(|(at, json)| Document {
            id: DocumentId::new(at.to_string()).unwrap(),
            title: (at == 1).then(|| "Title".to_owned()),
            text: format!("text {at}"),
            attributes: serde_json::from_str(json).unwrap(),
        })
        .collect()
    }

    fn columns() -> AttributeColumns {
        let mut kinds = AttributeKinds::default();
        for document in &documents() {
            kinds.add(&document.attributes);
        }
        kinds.columns(&["id", "score"])
    }

    #[test]
    fn every_attribute_is_a_column_of_the_type_that_holds_its_values() {
        let fields: Vec<(String, DataType)> =
            columns().fields().into_iter().map(|f| (f.name().clone(), f.data_type().clone())).collect();
        let expected = [
            ("title", DataType::Utf8),
            ("text", DataType::Utf8),
            ("date", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            ("mixed", DataType::Utf8),
            ("price", DataType::Float64),
            ("attribute.score", DataType::Int64),
            ("seen", DataType::Boolean),
            ("tags", DataType::Utf8),
            ("attribute.text", DataType::Utf8),
        ];
        assert_eq!(fields, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }

    #[test]
    fn arrays_hold_the_values_and_leave_out_what_is_missing() {
        let arrays = columns().arrays(&documents());
        let text = |at: usize, row: usize| {
            let column = arrays[at].as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        assert_eq!([text(0, 0), text(0, 1)], [None, Some("Title".to_owned())]);
        assert_eq!([text(3, 0), text(3, 1)], [Some("1".to_owned()), Some("one".to_owned())]);
        assert_eq!([text(7, 0), text(7, 1)], [Some("a; b".to_owned()), None]);
        assert_eq!(text(8, 0).as_deref(), Some("en"));
        assert_eq!(arrays[4].as_primitive::<Float64Type>().values().to_vec(), [2.0, 2.5]);
        assert_eq!(arrays[5].as_primitive::<Int64Type>().values().to_vec(), [4, 5]);
        assert_eq!(arrays[2].as_primitive::<TimestampMicrosecondType>().value(1), 1_714_521_600_000_000);
        assert!(arrays[2].is_null(0) && arrays[6].as_boolean().value(1));
    }
}
