//! A block that is being written: the values of its rows as they come, read straight from the stored JSON.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use anser_core::AttributeKind;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::plan::order_key;
use super::rows::{RowBits, Rows};
use super::texts::kept;
use super::values::{Decoded, Part, Values};

/// The shortest text that is a time in RFC 3339.
const SHORTEST_TIME: usize = "2024-05-01T00:00:00Z".len();
/// The types whose values are kept as numbers, in the order of [`Column::numbers`].
const NUMERIC: [AttributeKind; 4] =
    [AttributeKind::Bool, AttributeKind::Integer, AttributeKind::Float, AttributeKind::Time];

/// The attributes of some rows.
#[derive(Debug, Default)]
pub(super) struct Draft {
    columns: Vec<Column>,
    places: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Column {
    key: Arc<str>,
    numbers: [Cells<i128>; 4],
    texts: Interned,
    text_cells: Cells<u32>,
    members: Interned,
    list_cells: Cells<Box<[u32]>>,
    /// The row and the type that came last.
    last: Option<(u16, AttributeKind)>,
}

/// Values with their rows.
#[derive(Debug)]
struct Cells<T> {
    rows: Vec<u16>,
    values: Vec<T>,
}

/// Different texts in the order in which they came.
#[derive(Debug, Default)]
struct Interned {
    forms: Vec<Box<[u8]>>,
    places: HashMap<Box<[u8]>, u32>,
}

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), values: Vec::new() }
    }
}

impl<T: Clone> Cells<T> {
    fn push(&mut self, row: u16, value: T) {
        self.rows.push(row);
        self.values.push(value);
    }

    fn pop(&mut self) {
        self.rows.pop();
        self.values.pop();
    }

    /// Puts the rows into order; each is there at most once.
    fn sort(&mut self) {
        if self.rows.is_sorted() {
            return;
        }
        let mut pairs: Vec<(u16, T)> = self.rows.drain(..).zip(self.values.drain(..)).collect();
        pairs.sort_by_key(|(row, _)| *row);
        (self.rows, self.values) = pairs.into_iter().unzip();
    }
}

impl Interned {
    fn place(&mut self, form: &[u8]) -> u32 {
        if let Some(place) = self.places.get(form) {
            return *place;
        }
        let place = self.forms.len() as u32;
        self.forms.push(form.into());
        self.places.insert(form.into(), place);
        place
    }
}

impl Draft {
    /// The values of `columns`, but of no row in `without`.
    pub(super) fn of_parts<'a>(
        columns: impl Iterator<Item = (&'a Arc<str>, &'a Vec<Part>)>,
        without: &RowBits,
    ) -> Self {
        let mut draft = Self::default();
        for (key, parts) in columns {
            let place = draft.column(key);
            let Some(column) = draft.columns.get_mut(place) else { continue };
            for part in parts {
                column.take_up(part, without);
            }
        }
        draft
    }

    /// Takes up the attributes of a row, which are stored as this JSON, and which has none yet.
    pub(super) fn push(&mut self, row: u16, json: &str) -> serde_json::Result<()> {
        let mut reader = serde_json::Deserializer::from_str(json);
        ObjectReader { draft: self, row }.deserialize(&mut reader)?;
        reader.end()
    }

    /// The columns, encoded, by name.
    pub(super) fn finish(self) -> BTreeMap<Arc<str>, Vec<Part>> {
        let mut made = BTreeMap::new();
        for mut column in self.columns {
            let key = Arc::clone(&column.key);
            let parts = column.parts();
            if !parts.is_empty() {
                made.insert(key, parts);
            }
        }
        made
    }

    /// Where the column called `key` is.
    fn column(&mut self, key: &str) -> usize {
        if let Some(place) = self.places.get(key) {
            return *place;
        }
        let key: Arc<str> = key.into();
        let place = self.columns.len();
        self.columns.push(Column::new(Arc::clone(&key)));
        self.places.insert(key, place);
        place
    }
}

impl Column {
    fn new(key: Arc<str>) -> Self {
        Self {
            key,
            numbers: Default::default(),
            texts: Interned::default(),
            text_cells: Cells::default(),
            members: Interned::default(),
            list_cells: Cells::default(),
            last: None,
        }
    }

    fn take_up(&mut self, part: &Part, without: &RowBits) {
        let rows = part.rows.to_vec();
        let kept = |row: &u16| !without.has(usize::from(*row));
        match part.values.decode() {
            Decoded::Numbers(numbers) => {
                let Some(at) = NUMERIC.iter().position(|kind| *kind == part.kind) else { return };
                let Some(cells) = self.numbers.get_mut(at) else { return };
                rows.into_iter().zip(numbers).filter(|(row, _)| kept(row)).for_each(|(row, n)| cells.push(row, n));
            }
            Decoded::Texts(texts, codes) => {
                let places: Vec<u32> = (0..texts.len()).map(|at| self.texts.place(texts.get(at))).collect();
                let place = |code: u64| places.get(code as usize).copied().unwrap_or(0);
                let cells = &mut self.text_cells;
                rows.into_iter().zip(codes).filter(|(row, _)| kept(row)).for_each(|(row, c)| cells.push(row, place(c)));
            }
            Decoded::Lists(texts, lists) => {
                let places: Vec<u32> = (0..texts.len()).map(|at| self.members.place(texts.get(at))).collect();
                let place = |code: &u64| places.get(*code as usize).copied().unwrap_or(0);
                for (row, list) in rows.into_iter().zip(lists).filter(|(row, _)| kept(row)) {
                    self.list_cells.push(row, list.iter().map(place).collect());
                }
            }
        }
    }

    /// Makes room for the value of a row; a name that an object has twice has the value that came last.
    fn begin(&mut self, row: u16, kind: AttributeKind) {
        if let Some((last, before)) = self.last.replace((row, kind))
            && last == row
        {
            match before {
                AttributeKind::String => self.text_cells.pop(),
                AttributeKind::StringList => self.list_cells.pop(),
                numeric => {
                    let at = NUMERIC.iter().position(|kind| *kind == numeric);
                    if let Some(cells) = at.and_then(|at| self.numbers.get_mut(at)) {
                        cells.pop();
                    }
                }
            }
        }
    }

    fn number(&mut self, row: u16, kind: AttributeKind, value: i128) {
        self.begin(row, kind);
        if let Some(cells) = NUMERIC.iter().position(|of| *of == kind).and_then(|at| self.numbers.get_mut(at)) {
            cells.push(row, value);
        }
    }

    fn float(&mut self, row: u16, value: f64) {
        self.number(row, AttributeKind::Float, i128::from(order_key(value)));
    }

    fn text(&mut self, row: u16, text: &str) {
        if let Some(time) = time_of(text) {
            return self.number(row, AttributeKind::Time, time.unix_timestamp_nanos());
        }
        self.begin(row, AttributeKind::String);
        let place = self.texts.place(&kept(text));
        self.text_cells.push(row, place);
    }

    fn list(&mut self, row: u16, texts: &[u32]) {
        self.begin(row, AttributeKind::StringList);
        self.list_cells.push(row, texts.into());
    }

    fn parts(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        for (kind, cells) in NUMERIC.into_iter().zip(&mut self.numbers) {
            if !cells.rows.is_empty() {
                cells.sort();
                let (rows, values) = (Rows::new(&cells.rows), Values::of_numbers(kind, &cells.values));
                parts.push(Part { kind, rows, values });
            }
        }
        if !self.text_cells.rows.is_empty() {
            self.text_cells.sort();
            let values = Values::of_texts(&self.texts.forms, &self.text_cells.values);
            parts.push(Part { kind: AttributeKind::String, rows: Rows::new(&self.text_cells.rows), values });
        }
        if !self.list_cells.rows.is_empty() {
            self.list_cells.sort();
            let values = Values::of_lists(&self.members.forms, self.list_cells.values.iter().map(|list| &**list));
            parts.push(Part { kind: AttributeKind::StringList, rows: Rows::new(&self.list_cells.rows), values });
        }
        parts
    }
}

/// Text in RFC 3339 is a time, as it is in [`AttributeValue`](anser_core::AttributeValue).
fn time_of(text: &str) -> Option<OffsetDateTime> {
    let may_be = text.len() >= SHORTEST_TIME && text.starts_with(|c: char| c.is_ascii_digit());
    may_be.then(|| OffsetDateTime::parse(text, &Rfc3339).ok()).flatten()
}

/// Reads an object of attributes.
struct ObjectReader<'a> {
    draft: &'a mut Draft,
    row: u16,
}

/// Reads the name of an attribute.
struct KeyReader<'a>(&'a mut Draft);

/// Reads a value.
struct ValueReader<'a> {
    column: &'a mut Column,
    row: u16,
}

/// Reads a text of a list.
struct MemberReader<'a>(&'a mut Interned);

impl<'de> DeserializeSeed<'de> for ObjectReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of attributes")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(place) = map.next_key_seed(KeyReader(self.draft))? {
            match self.draft.columns.get_mut(place) {
                Some(column) => map.next_value_seed(ValueReader { column, row: self.row })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for KeyReader<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyReader<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<usize, E> {
        Ok(self.0.column(key))
    }
}

impl<'de> DeserializeSeed<'de> for ValueReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true, false or a list of texts")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.column.number(self.row, AttributeKind::Bool, i128::from(value));
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.column.number(self.row, AttributeKind::Integer, i128::from(value));
        Ok(())
    }

    /// Whole numbers above those of 64 bits with a sign are floats, as they are where documents are read.
    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.column.float(self.row, value);
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.column.text(self.row, text);
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut texts: S) -> Result<(), S::Error> {
        let mut places = Vec::new();
        while let Some(place) = texts.next_element_seed(MemberReader(&mut self.column.members))? {
            places.push(place);
        }
        self.column.list(self.row, &places);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for MemberReader<'_> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberReader<'_> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u32, E> {
        Ok(self.0.place(&kept(text)))
    }
}
