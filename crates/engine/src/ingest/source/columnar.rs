//! Parquet and Arrow IPC: columns with a schema.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use anser_core::excerpt;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use time::OffsetDateTime;

use super::lines::too_long;
use super::{ByteSource, Extent, Piece, Placed, RawRow, RawValue, ReadFailure, RowSource};

/// Rows of a Parquet file that are decoded together.
const PARQUET_BATCH_ROWS: usize = 256;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Rows of a Parquet file, or of an Arrow IPC stream or file.
pub(in crate::ingest) struct ColumnarSource(Rows);

impl ColumnarSource {
    /// Opens a Parquet file; `limit` is the most bytes one row may take.
    pub(in crate::ingest) fn open_parquet(file: File, limit: usize) -> Result<Self, ReadFailure> {
        refuse_empty(&file)?;
        let damaged = |e: parquet::errors::ParquetError| {
            ReadFailure::Bad(format!("it is not a readable Parquet file: {}", excerpt(&e.to_string(), 200)))
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
        let total = u64::try_from(builder.metadata().file_metadata().num_rows()).ok();
        let schema = Arc::clone(builder.schema());
        let reader: ParquetRecordBatchReader = builder.with_batch_size(PARQUET_BATCH_ROWS).build().map_err(damaged)?;
        Ok(Self(Rows::new(&schema, Box::new(reader), total, limit)?))
    }

    /// Opens an Arrow IPC stream. A file in the IPC file format, which begins with `ARROW1`, has to be seekable.
    pub(in crate::ingest) fn open_arrow(mut file: File, limit: usize) -> Result<Self, ReadFailure> {
        refuse_empty(&file)?;
        let mut magic = [0u8; 6];
        let is_file_format = file.read_exact(&mut magic).is_ok() && &magic == b"ARROW1";
        file.seek(SeekFrom::Start(0))?;
        if !is_file_format {
            return Self::open_arrow_stream(Box::new(file), limit);
        }
        let reader = FileReader::try_new(BufReader::new(file), None).map_err(|e| damaged_arrow(&e))?;
        Ok(Self(Rows::new(&reader.schema(), Box::new(reader), None, limit)?))
    }

    fn open_arrow_stream(mut reader: ByteSource, limit: usize) -> Result<Self, ReadFailure> {
        let mut first = [0u8; 1];
        if reader.read(&mut first)? == 0 {
            return Err(ReadFailure::Bad("it is empty (0 bytes)".to_owned()));
        }
        let reader = BufReader::new(Cursor::new(first).chain(reader));
        let reader = StreamReader::try_new(reader, None).map_err(|e| damaged_arrow(&e))?;
        Ok(Self(Rows::new(&reader.schema(), Box::new(reader), None, limit)?))
    }
}

fn refuse_empty(file: &File) -> Result<(), ReadFailure> {
    if file.metadata()?.len() == 0 {
        return Err(ReadFailure::Bad("it is empty (0 bytes)".to_owned()));
    }
    Ok(())
}

fn damaged_arrow(error: &ArrowError) -> ReadFailure {
    ReadFailure::Bad(format!("it is not a readable Arrow stream: {}", excerpt(&error.to_string(), 200)))
}

impl RowSource for ColumnarSource {
    fn extent(&self) -> Extent {
        self.0.extent()
    }
    fn columns(&self) -> Option<Vec<Arc<str>>> {
        Some(self.0.columns.clone())
    }
    fn next_piece(&mut self) -> Result<Option<Placed>, ReadFailure> {
        self.0.next_piece()
    }
}

/// Walks record batches row by row.
struct Rows {
    batches: Batches,
    columns: Vec<Arc<str>>,
    current: Vec<Column>,
    length: usize,
    next: usize,
    row: u64,
    total: Option<u64>,
    limit: usize,
}

impl Rows {
    fn new(schema: &SchemaRef, batches: Batches, total: Option<u64>, limit: usize) -> Result<Self, ReadFailure> {
        let columns: Vec<Arc<str>> = schema.fields().iter().map(|field| Arc::from(field.name().as_str())).collect();
        let mut sorted = columns.clone();
        sorted.sort();
        if let Some(twice) = sorted.windows(2).find_map(|pair| (pair[0] == pair[1]).then_some(&pair[0])) {
            return Err(ReadFailure::Bad(format!(
                "its schema names the column \"{twice}\" more than once; rename one"
            )));
        }
        Ok(Self { batches, columns, current: Vec::new(), length: 0, next: 0, row: 0, total, limit })
    }

    fn extent(&self) -> Extent {
        Extent::Rows(self.total)
    }

    fn next_piece(&mut self) -> Result<Option<Placed>, ReadFailure> {
        while self.next >= self.length {
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let batch = batch.map_err(|e| {
                ReadFailure::Bad(format!("it is damaged after row {}: {}", self.row, excerpt(&e.to_string(), 200)))
            })?;
            self.current = batch.columns().iter().map(Column::new).collect();
            (self.length, self.next) = (batch.num_rows(), 0);
        }
        let at = self.next;
        self.next += 1;
        self.row += 1;
        let cells: Vec<_> =
            self.columns.iter().zip(&self.current).map(|(name, column)| (Arc::clone(name), column.value(at))).collect();
        let bytes: usize = cells.iter().map(|(_, value)| value_bytes(value)).sum();
        let piece = if bytes > self.limit {
            Piece::Rejected(too_long(None, Some(self.row), bytes as u64, self.limit))
        } else {
            Piece::Row(RawRow { line: None, row: self.row, cells })
        };
        Ok(Some(Placed { piece, position: self.row, bytes }))
    }
}

fn value_bytes(value: &RawValue) -> usize {
    match value {
        RawValue::Text(text) | RawValue::String(text) => text.len(),
        RawValue::List(items) => items.iter().map(String::len).sum(),
        RawValue::Numbers(numbers) => size_of_val(numbers.as_slice()),
        _ => 8,
    }
}

/// One column, cast to a type whose values are plain to read.
enum Column {
    Bool(ArrayRef),
    Integer(ArrayRef),
    Unsigned(ArrayRef),
    Float(ArrayRef),
    Text(ArrayRef),
    Time(ArrayRef, TimeUnit),
    List(ArrayRef),
    /// Lists of numbers: those of row `i` begin at `starts[i]` and end where those of the next begin.
    Numbers {
        lists: ArrayRef,
        values: ArrayRef,
        starts: Vec<usize>,
    },
    /// Values of a type that has no meaning as an attribute (bytes, structs, maps): left out.
    Unreadable,
}

impl Column {
    fn new(array: &ArrayRef) -> Self {
        use DataType as T;
        let to = |target: &DataType, make: fn(ArrayRef) -> Self| cast(array, target).map_or(Self::Unreadable, make);
        match array.data_type() {
            T::Boolean => Self::Bool(Arc::clone(array)),
            T::UInt64 => Self::Unsigned(Arc::clone(array)),
            kind if kind.is_floating() || kind.is_decimal() => to(&T::Float64, Self::Float),
            T::Utf8 | T::LargeUtf8 | T::Utf8View => to(&T::LargeUtf8, Self::Text),
            T::Timestamp(unit, _) => Self::Time(Arc::clone(array), *unit),
            T::Date32 | T::Date64 => {
                let unit = TimeUnit::Millisecond;
                cast(array, &T::Timestamp(unit, None)).map_or(Self::Unreadable, |array| Self::Time(array, unit))
            }
            T::Dictionary(_, values) => cast(array, values).map_or(Self::Unreadable, |plain| Self::new(&plain)),
            T::List(inner) | T::LargeList(inner) if is_text(inner.data_type()) => {
                to(&T::LargeList(Arc::new(inner.as_ref().clone().with_data_type(T::LargeUtf8))), Self::List)
            }
            T::List(_) | T::LargeList(_) | T::FixedSizeList(..) => Self::numbers(array).unwrap_or(Self::Unreadable),
            kind if kind.is_integer() => to(&T::Int64, Self::Integer),
            _ => Self::Unreadable,
        }
    }

    /// A column of lists of numbers, such as vectors; `None` for lists of anything else.
    fn numbers(lists: &ArrayRef) -> Option<Self> {
        let (values, starts): (&ArrayRef, Vec<usize>) = match lists.data_type() {
            DataType::List(_) => {
                let list = lists.as_list::<i32>();
                (list.values(), list.value_offsets().iter().map(|&at| at as usize).collect())
            }
            DataType::LargeList(_) => {
                let list = lists.as_list::<i64>();
                (list.values(), list.value_offsets().iter().map(|&at| at as usize).collect())
            }
            _ => {
                let list = lists.as_fixed_size_list();
                let length = list.value_length() as usize;
                (list.values(), (0..=list.len()).map(|at| at * length).collect())
            }
        };
        if !values.data_type().is_numeric() {
            return None;
        }
        let values = cast(values, &DataType::Float32).ok()?;
        Some(Self::Numbers { lists: Arc::clone(lists), values, starts })
    }

    fn value(&self, at: usize) -> RawValue {
        let (Self::Bool(array)
        | Self::Integer(array)
        | Self::Unsigned(array)
        | Self::Float(array)
        | Self::Text(array)
        | Self::Time(array, _)
        | Self::List(array)
        | Self::Numbers { lists: array, .. }) = self
        else {
            return RawValue::Missing;
        };
        if array.is_null(at) {
            return RawValue::Missing;
        }
        match self {
            Self::Bool(array) => RawValue::Bool(array.as_boolean().value(at)),
            Self::Integer(array) => RawValue::Integer(array.as_primitive::<Int64Type>().value(at)),
            Self::Unsigned(array) => {
                let value = array.as_primitive::<UInt64Type>().value(at);
                i64::try_from(value).map_or_else(|_| RawValue::String(value.to_string()), RawValue::Integer)
            }
            Self::Float(array) => match array.as_primitive::<Float64Type>().value(at) {
                value if value.is_finite() => RawValue::Float(value),
                _ => RawValue::Missing,
            },
            Self::Text(array) => match array.as_string::<i64>().value(at) {
                "" => RawValue::Missing,
                text => RawValue::String(text.to_owned()),
            },
            Self::Time(array, unit) => time_value(array, *unit, at).map_or(RawValue::Missing, RawValue::Time),
            Self::List(array) => {
                let items = array.as_list::<i64>().value(at);
                let items: Vec<String> = items.as_string::<i64>().iter().flatten().map(str::to_owned).collect();
                if items.is_empty() { RawValue::Missing } else { RawValue::List(items) }
            }
            Self::Numbers { values, starts, .. } => {
                let values = values.as_primitive::<Float32Type>();
                let number = |at: usize| if values.is_null(at) { f32::NAN } else { values.value(at) };
                RawValue::Numbers((starts[at]..starts[at + 1]).map(number).collect())
            }
            Self::Unreadable => RawValue::Missing,
        }
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Instants without a time zone are read as UTC; `None` when the instant is out of range.
fn time_value(array: &ArrayRef, unit: TimeUnit, at: usize) -> Option<OffsetDateTime> {
    let (value, nanoseconds) = match unit {
        TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().value(at), 1_000_000_000),
        TimeUnit::Millisecond => (array.as_primitive::<TimestampMillisecondType>().value(at), 1_000_000),
        TimeUnit::Microsecond => (array.as_primitive::<TimestampMicrosecondType>().value(at), 1_000),
        TimeUnit::Nanosecond => (array.as_primitive::<TimestampNanosecondType>().value(at), 1),
    };
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(value) * nanoseconds).ok()
}

/// Copies `reader` into a temporary file: formats that are read from the end need one.
pub(in crate::ingest) fn spool(mut reader: ByteSource) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut reader, &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}
