//! Turns rows into documents.

use std::collections::HashMap;
use std::sync::Arc;

use anser_core::{AttributeKind, AttributeValue, Attributes, Document, DocumentId, excerpt};

use super::brought::RawVector;
use super::identity::{Occurrences, content_id};
use super::mapping::{Mapping, Role};
use super::source::{RawRow, RawValue, size};
use super::values::{Typed, coerce, kind_of_late_column, render};
use super::{AttributeField, ResolvedFields, RowError};

/// What values longer than this are cut to in messages, in characters.
const SHOWN_CHARACTERS: usize = 40;

/// Most attribute columns of one source.
const MAX_ATTRIBUTES: usize = 4096;
/// Longest title, in bytes: it is put before every chunk of its document and shown with every hit.
const MAX_TITLE_BYTES: usize = 32 << 10;

/// Applies a mapping to rows.
pub(super) struct RowReader {
    roles: HashMap<Arc<str>, Role>,
    fields: ResolvedFields,
    attribute_places: HashMap<String, usize>,
    occurrences: Occurrences,
    max_text_bytes: usize,
    /// Whether the user was told that there are too many columns.
    told_of_limit: bool,
}

impl RowReader {
    pub(super) fn new(mapping: Mapping, max_text_bytes: usize) -> Self {
        let attribute_places =
            mapping.fields.attributes.iter().enumerate().map(|(at, field)| (field.name.clone(), at)).collect();
        Self {
            roles: mapping.roles,
            fields: mapping.fields,
            attribute_places,
            occurrences: Occurrences::default(),
            max_text_bytes,
            told_of_limit: false,
        }
    }

    /// The fields with everything that the rows read so far have shown.
    pub(super) fn into_fields(self) -> ResolvedFields {
        self.fields
    }

    /// The column that vectors come from, where one was found.
    pub(super) fn embedding_column(&self) -> Option<&str> {
        self.fields.embedding.as_ref().map(|field| field.column.as_str())
    }

    /// The row's document, and the vector that it brings along where it does; `warn` is told of values that had to be left
    /// out.
    pub(super) fn document(
        &mut self,
        row: RawRow,
        warn: &mut dyn FnMut(RowError),
    ) -> Result<(Document, Option<RawVector>), RowError> {
        let place = (row.line, row.row);
        let reject = |field: Option<&str>, message: String| RowError {
            line: place.0,
            row: Some(place.1),
            field: field.map(str::to_owned),
            message,
        };
        let (mut id, mut title, mut text, mut vector) = (None, None, None, None);
        let mut cells = Vec::with_capacity(row.cells.len());
        for (name, value) in row.cells {
            match self.roles.get(&name) {
                Some(Role::Id) => id = Some(render(&value)),
                Some(Role::Title) => title = Some(render(&value).trim().to_owned()).filter(|title| !title.is_empty()),
                Some(Role::Text) => text = Some(render(&value)),
                Some(Role::Embedding) => vector = RawVector::of(value),
                Some(Role::Ignored) => {}
                Some(Role::Attribute(_)) | None => cells.push((name, value)),
            }
        }
        let text_field = self.fields.text.as_ref().map(|field| field.column.as_str());
        let text = text.unwrap_or_default();
        check_text(&text, self.max_text_bytes).map_err(|message| reject(text_field, message))?;
        if let Some(title) = title.as_ref().filter(|title| title.len() > MAX_TITLE_BYTES) {
            let field = self.fields.title.as_ref().map(|field| field.column.as_str());
            let message = format!(
                "the title has {} bytes, more than the {MAX_TITLE_BYTES} that are accepted; put long text into the text",
                title.len()
            );
            return Err(reject(field, message));
        }
        let id_field = self.fields.id.as_ref().map(|field| field.column.as_str());
        let id = match (id_field, id) {
            (None, _) => {
                let cells: Vec<_> = cells.iter().map(|(name, value)| (name.as_ref(), value)).collect();
                self.occurrences.distinguish(content_id(title.as_deref(), &text, &cells))
            }
            (Some(_), Some(id)) if !id.trim().is_empty() => id.trim().to_owned(),
            (Some(field), _) => return Err(reject(Some(field), "the id is missing".to_owned())),
        };
        let id = DocumentId::new(id).map_err(|error| reject(id_field, error.to_string()))?;

        let mut attributes = Attributes::new();
        for (name, value) in cells {
            if matches!(value, RawValue::Missing | RawValue::Numbers(_)) {
                continue;
            }
            let Some(kind) = self.attribute_kind(&name, &value) else {
                if !std::mem::replace(&mut self.told_of_limit, true) {
                    let message = format!("there are more than {MAX_ATTRIBUTES} columns; further ones are left out");
                    warn(reject(Some(&name), message));
                }
                continue;
            };
            match coerce(value.clone(), kind) {
                Typed::Value(value) => {
                    self.widen(&name, kind, &value);
                    attributes.insert(self.attribute_name(&name).to_owned(), value);
                }
                Typed::Absent => {}
                Typed::Misfit => {
                    self.count_misfit(&name);
                    let shown = excerpt(&render(&value), SHOWN_CHARACTERS);
                    let message = format!("\"{shown}\" is not {} and was left out", with_article(kind));
                    warn(reject(Some(&name), message));
                }
            }
        }
        Ok((Document { id, title, text, attributes }, vector))
    }

    /// What the attribute of a column is called. Our own JSON form keeps attributes in a member of that name, which is
    /// no part of theirs, unless a column beside it has the shorter name already.
    fn attribute_name<'a>(&self, column: &'a str) -> &'a str {
        column.strip_prefix("attributes.").filter(|name| !self.roles.contains_key(*name)).unwrap_or(column)
    }

    /// The type of an attribute column, decided by `value` when nothing was known of it.
    fn attribute_kind(&mut self, name: &Arc<str>, value: &RawValue) -> Option<AttributeKind> {
        if let Some(Role::Attribute(Some(kind))) = self.roles.get(name) {
            return Some(*kind);
        }
        let kind = kind_of_late_column(value)?;
        if self.fields.attributes.len() >= MAX_ATTRIBUTES {
            return None;
        }
        self.roles.insert(Arc::clone(name), Role::Attribute(Some(kind)));
        self.attribute_places.insert(name.to_string(), self.fields.attributes.len());
        self.fields.attributes.push(AttributeField { name: name.to_string(), kind, misfits: 0 });
        Some(kind)
    }

    /// A fraction in a column of integers makes it a column of numbers.
    fn widen(&mut self, name: &Arc<str>, kind: AttributeKind, value: &AttributeValue) {
        if kind == AttributeKind::Integer && value.kind() == AttributeKind::Float {
            self.roles.insert(Arc::clone(name), Role::Attribute(Some(AttributeKind::Float)));
            if let Some(field) = self.attribute_field(name) {
                field.kind = AttributeKind::Float;
            }
        }
    }

    fn count_misfit(&mut self, name: &str) {
        if let Some(field) = self.attribute_field(name) {
            field.misfits += 1;
        }
    }

    fn attribute_field(&mut self, name: &str) -> Option<&mut AttributeField> {
        self.attribute_places.get(name).and_then(|at| self.fields.attributes.get_mut(*at))
    }
}

/// Whether `text` can be a document's text.
pub(super) fn check_text(text: &str, max_bytes: usize) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the text is missing".to_owned());
    }
    if text.len() > max_bytes {
        let (found, limit) = (size(text.len() as u64), size(max_bytes as u64));
        return Err(format!("the text has {found}, more than the limit of {limit}; split it into several rows"));
    }
    Ok(())
}

fn with_article(kind: AttributeKind) -> &'static str {
    match kind {
        AttributeKind::Bool => "true or false",
        AttributeKind::Integer | AttributeKind::Float => "a number",
        AttributeKind::Time => "a time",
        AttributeKind::String => "a text",
        AttributeKind::StringList => "a list of texts",
    }
}
