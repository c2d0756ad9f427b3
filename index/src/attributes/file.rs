//! Columns on disk, as an Arrow file with one row for each encoded piece. A cache like any other: whatever is missing,
//! damaged or older than the change sequence goes back is made anew.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Cursor, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::{AttributeKind, storage};
use arrow::array::{AsArray, Int64Array, LargeBinaryArray, LargeBinaryBuilder, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt32Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::block::Block;
use super::chunks::{ChunkBlock, Chunks};
use super::columns::Columns;
use super::packed::Packed;
use super::rows::{BLOCK_ROWS, RowBits, Rows};
use super::texts::Texts;
use super::values::{Part, Values};
use crate::{IndexError, Result};

/// Its name in the collection's folder.
const FILE: &str = "attributes.arrow";
/// Ends the name of a file that is being written.
const UNFINISHED: &str = ".new";
/// Layout of the file.
const FORMAT: &str = "1";
/// Begins the checksum in the footer; 16 hexadecimal digits follow.
const CHECKSUM: &[u8] = b"xxh3:";
/// No footer is longer.
const FOOTER_BYTES: usize = 1 << 16;
/// What a row of the file is: the keys of a block, or some chunks. All others are values of a type.
const KEYS: &str = "keys";
const CHUNKS: &str = "chunks";

/// The file of a collection.
#[derive(Debug)]
pub(super) struct ColumnFile {
    folder: PathBuf,
    /// The collection's random id.
    collection: String,
    /// The last change that the file reflects, or would if it could be written, as far as this process knows.
    seq: Mutex<Option<i64>>,
}

impl ColumnFile {
    pub(super) fn new(folder: &Path, collection: &str) -> Self {
        Self { folder: folder.to_path_buf(), collection: collection.to_owned(), seq: Mutex::default() }
    }

    /// The last change that the file reflects, or would if it could be written; `None` when this process neither wrote nor
    /// read it.
    pub(super) fn seq(&self) -> Option<i64> {
        *self.seq.lock()
    }

    /// The columns in the file; `None` when there is no file that can be used.
    pub(super) fn open(&self) -> Option<Columns> {
        let path = self.folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return None,
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e, "cannot read the columns of attributes; making them anew");
                return None;
            }
        };
        match decode(bytes, &self.collection) {
            Ok(columns) => {
                *self.seq.lock() = Some(columns.seq());
                Some(columns)
            }
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e, "the columns of attributes cannot be used; making them anew");
                None
            }
        }
    }

    /// Replaces the file so that a crash leaves either the old one or the new one, and nothing that stays.
    pub(super) fn write(&self, columns: &Columns) -> Result<()> {
        self.remove_leftovers();
        *self.seq.lock() = Some(columns.seq());
        let bytes = encode(columns, &self.collection)?;
        let path = self.folder.join(FILE);
        let unfinished = self.folder.join(format!("{FILE}.{}{UNFINISHED}", uuid::Uuid::now_v7()));
        // The folder is not created: if it is gone, so is the collection.
        let written = File::create_new(&unfinished)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&unfinished, &path))
            .map_err(IndexError::io("write", &path));
        if written.is_err() {
            // What cannot be removed now is removed by the next writer.
            let _ = fs::remove_file(&unfinished);
            return written;
        }
        storage::sync_folder(&self.folder)?;
        Ok(())
    }

    /// Removes the file, and with it the values of documents that were deleted since it was written.
    pub(super) fn remove(&self) -> Result<()> {
        *self.seq.lock() = None;
        self.remove_leftovers();
        let path = self.folder.join(FILE);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(IndexError::io("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// Removes what interrupted writers left. One that is still at work fails, and tries again later.
    pub(super) fn remove_leftovers(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let left = name.to_str().is_some_and(|name| name.starts_with(FILE) && name.ends_with(UNFINISHED));
            if left && let Err(e) = fs::remove_file(entry.path()) {
                tracing::debug!(path = %entry.path().display(), error = %e, "cannot remove an unfinished file yet");
            }
        }
    }
}

/// A row of the file. What each part holds depends on the kind.
#[derive(Debug, Default)]
struct Piece<'a> {
    block: u32,
    key: &'a str,
    kind: &'static str,
    scale: i64,
    low: i64,
    rows: Vec<u8>,
    texts: Vec<u8>,
    ends: Vec<u8>,
    codes: Vec<u8>,
}

fn schema(metadata: HashMap<String, String>) -> Arc<Schema> {
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    let binary = |name: &str| field(name, DataType::LargeBinary);
    let fields = vec![
        field("block", DataType::UInt32),
        field("key", DataType::Utf8),
        field("kind", DataType::Utf8),
        field("scale", DataType::Int64),
        field("low", DataType::Int64),
        binary("rows"),
        binary("texts"),
        binary("ends"),
        binary("codes"),
    ];
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

fn encode(columns: &Columns, collection: &str) -> Result<Vec<u8>> {
    let mut pieces = Vec::new();
    for (at, block) in columns.blocks().iter().enumerate() {
        let block_number = at as u32;
        pieces.push(Piece {
            block: block_number,
            kind: KEYS,
            low: block.low,
            rows: block.live.words().iter().flat_map(|word| word.to_le_bytes()).collect(),
            codes: to_bytes(&block.offsets),
            ..Piece::default()
        });
        for (key, parts) in &block.columns {
            pieces.extend(parts.iter().map(|part| Piece { block: block_number, key, ..piece(part) }));
        }
    }
    for block in columns.chunks().blocks() {
        let (low, offsets, first_row, rows) = block.parts();
        pieces.push(Piece {
            kind: CHUNKS,
            low: low as i64,
            scale: first_row as i64,
            codes: to_bytes(offsets),
            ends: to_bytes(rows),
            ..Piece::default()
        });
    }
    let metadata =
        [("format", FORMAT.to_owned()), ("collection", collection.to_owned()), ("seq", columns.seq().to_string())];
    let schema = schema(metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let failed = |e: ArrowError| IndexError::internal(format!("columns of attributes cannot be written: {e}"));
    let mut writer = FileWriter::try_new(Vec::new(), &schema).map_err(failed)?;
    writer.write(&batch(&schema, &pieces).map_err(failed)?).map_err(failed)?;
    drop(pieces);
    writer.write_metadata("checksum", format!("{}{}", String::from_utf8_lossy(CHECKSUM), "0".repeat(16)));
    let mut bytes = writer.into_inner().map_err(failed)?;
    let sum = format!("{:016x}", xxh3_64(&bytes));
    let place = checksum_place(&bytes).ok_or_else(|| IndexError::internal("a file of columns has no checksum"))?;
    if let Some(digits) = bytes.get_mut(place) {
        digits.copy_from_slice(sum.as_bytes());
    }
    Ok(bytes)
}

/// Where the digits of the checksum are.
fn checksum_place(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let footer = bytes.len().saturating_sub(FOOTER_BYTES);
    let at = bytes.get(footer..)?.windows(CHECKSUM.len()).rposition(|window| window == CHECKSUM)?;
    let start = footer + at + CHECKSUM.len();
    (start + 16 <= bytes.len()).then_some(start..start + 16)
}

fn batch(schema: &Arc<Schema>, pieces: &[Piece<'_>]) -> std::result::Result<RecordBatch, ArrowError> {
    let binary = |of: for<'a> fn(&'a Piece<'_>) -> &'a Vec<u8>| {
        let bytes = pieces.iter().map(|piece| of(piece).len()).sum();
        let mut builder = LargeBinaryBuilder::with_capacity(pieces.len(), bytes);
        for piece in pieces {
            builder.append_value(of(piece));
        }
        Arc::new(builder.finish())
    };
    RecordBatch::try_new(
        Arc::clone(schema),
        vec![
            Arc::new(UInt32Array::from_iter_values(pieces.iter().map(|piece| piece.block))),
            Arc::new(StringArray::from_iter_values(pieces.iter().map(|piece| piece.key))),
            Arc::new(StringArray::from_iter_values(pieces.iter().map(|piece| piece.kind))),
            Arc::new(Int64Array::from_iter_values(pieces.iter().map(|piece| piece.scale))),
            Arc::new(Int64Array::from_iter_values(pieces.iter().map(|piece| piece.low))),
            binary(|piece| &piece.rows),
            binary(|piece| &piece.texts),
            binary(|piece| &piece.ends),
            binary(|piece| &piece.codes),
        ],
    )
}

/// The names of types in the file. Numbers that are kept by rank have the same names, but no scale.
const KINDS: [(AttributeKind, &str); 6] = [
    (AttributeKind::Bool, "bool"),
    (AttributeKind::Integer, "integer"),
    (AttributeKind::Float, "float"),
    (AttributeKind::Time, "time"),
    (AttributeKind::String, "string"),
    (AttributeKind::StringList, "string_list"),
];

fn piece(part: &Part) -> Piece<'static> {
    let kind = KINDS.iter().find(|(kind, _)| *kind == part.kind).map_or("", |(_, name)| name);
    let made = Piece { kind, rows: rows_to_bytes(&part.rows), ..Piece::default() };
    match &part.values {
        Values::Offsets { scale, low, codes } => Piece { scale: *scale, low: *low, codes: to_bytes(codes), ..made },
        Values::Ranked { sorted, codes } => Piece {
            texts: sorted.iter().flat_map(|number| number.to_le_bytes()).collect(),
            codes: to_bytes(codes),
            ..made
        },
        Values::Texts { sorted, codes } => {
            let (bytes, ends) = sorted.parts();
            Piece { texts: bytes.to_vec(), ends: to_bytes(ends), codes: to_bytes(codes), ..made }
        }
        Values::Lists { sorted, ends: runs, codes } => {
            let (bytes, ends) = sorted.parts();
            let mut both = to_bytes(ends);
            let low = both.len() as i64;
            both.extend(to_bytes(runs));
            Piece { low, texts: bytes.to_vec(), ends: both, codes: to_bytes(codes), ..made }
        }
    }
}

/// The part that a piece holds; `None` where it holds none.
fn part(piece: &Piece<'_>) -> Option<Part> {
    let (kind, _) = KINDS.iter().find(|(_, name)| *name == piece.kind)?;
    let codes = from_bytes(&piece.codes)?;
    let values = match kind {
        AttributeKind::String => {
            Values::Texts { sorted: Texts::from_parts(&piece.texts, from_bytes(&piece.ends)?)?, codes }
        }
        AttributeKind::StringList => {
            let (ends, runs) = piece.ends.split_at_checked(usize::try_from(piece.low).ok()?)?;
            Values::Lists {
                sorted: Texts::from_parts(&piece.texts, from_bytes(ends)?)?,
                ends: from_bytes(runs)?,
                codes,
            }
        }
        _ if piece.scale > 0 => Values::Offsets { scale: piece.scale, low: piece.low, codes },
        _ => {
            let (numbers, rest) = piece.texts.as_chunks::<16>();
            let sorted: Box<[i128]> = numbers.iter().map(|bytes| i128::from_le_bytes(*bytes)).collect();
            (rest.is_empty() && sorted.is_sorted()).then_some(Values::Ranked { sorted, codes })?
        }
    };
    let rows = rows_from_bytes(&piece.rows)?;
    let count = match &values {
        Values::Offsets { codes, .. } | Values::Ranked { codes, .. } | Values::Texts { codes, .. } => codes.len(),
        Values::Lists { ends, .. } => ends.len(),
    };
    (count == rows.len()).then_some(Part { kind: *kind, rows, values })
}

fn decode(mut bytes: Vec<u8>, collection: &str) -> Result<Columns> {
    let wrong = |reason: &str| IndexError::corrupt("columns of attributes", reason);
    let place = checksum_place(&bytes).ok_or_else(|| wrong("they have no checksum"))?;
    let digits = bytes.get_mut(place).ok_or_else(|| wrong("they have no checksum"))?;
    let stored = digits.to_vec();
    digits.fill(b'0');
    if format!("{:016x}", xxh3_64(&bytes)).as_bytes() != stored {
        return Err(wrong("their checksum is another"));
    }
    let unread = |e: ArrowError| IndexError::corrupt("columns of attributes", e);
    let reader = FileReader::try_new(Cursor::new(bytes), None).map_err(unread)?;
    let schema = reader.schema();
    let told = |name: &str| schema.metadata().get(name).map_or("", String::as_str);
    if told("format") != FORMAT {
        return Err(wrong("they have another format"));
    }
    if told("collection") != collection {
        return Err(wrong("they belong to another collection"));
    }
    let seq: i64 = told("seq").parse().map_err(|_| wrong("they do not say how new they are"))?;
    if schema.fields() != self::schema(HashMap::new()).fields() {
        return Err(wrong("they have other columns"));
    }
    let mut read = Vec::new();
    for batch in reader {
        take_up(&batch.map_err(unread)?, &mut read).ok_or_else(|| wrong("a piece of them cannot be read"))?;
    }
    let mut chunks = Vec::new();
    let mut blocks: BTreeMap<u32, Block> = BTreeMap::new();
    for piece in read {
        match piece {
            Read::Chunks(block) => chunks.push(block),
            Read::Keys(at, block) => drop(blocks.insert(at, block)),
            Read::Values(at, key, part) => {
                let block = blocks.get_mut(&at).ok_or_else(|| wrong("a block of them has no keys"))?;
                block.columns.entry(key.into()).or_default().push(part);
            }
        }
    }
    let blocks: Vec<Block> = blocks.into_values().collect();
    let (_, full) = blocks.split_last().map_or((None, &[][..]), |(last, full)| (Some(last), full));
    if full.iter().any(|block| block.rows() != BLOCK_ROWS) || !blocks.is_sorted_by(|a, b| a.last_key() < b.low) {
        return Err(wrong("their blocks do not follow each other"));
    }
    let chunks = Chunks::from_blocks(chunks).ok_or_else(|| wrong("their chunks do not follow each other"))?;
    Ok(Columns::new(seq, blocks, chunks))
}

/// What a row of the file is.
enum Read {
    Keys(u32, Block),
    Values(u32, String, Part),
    Chunks(ChunkBlock),
}

fn take_up(batch: &RecordBatch, read: &mut Vec<Read>) -> Option<()> {
    let numbers = |at: usize| batch.column(at).as_primitive_opt::<Int64Type>();
    let texts = |at: usize| batch.column(at).as_string_opt::<i32>();
    let binary = |at: usize| -> Option<&LargeBinaryArray> { batch.column(at).as_binary_opt::<i64>() };
    let blocks = batch.column(0).as_primitive_opt::<UInt32Type>()?;
    let (keys, kinds, scales, lows) = (texts(1)?, texts(2)?, numbers(3)?, numbers(4)?);
    let (rows, forms, ends, codes) = (binary(5)?, binary(6)?, binary(7)?, binary(8)?);
    for at in 0..blocks.len() {
        let kind = kinds.value(at);
        let known = KINDS.iter().map(|(_, name)| *name).chain([KEYS, CHUNKS]).find(|name| *name == kind)?;
        let piece = Piece {
            block: blocks.value(at),
            key: keys.value(at),
            kind: known,
            scale: scales.value(at),
            low: lows.value(at),
            rows: rows.value(at).to_vec(),
            texts: forms.value(at).to_vec(),
            ends: ends.value(at).to_vec(),
            codes: codes.value(at).to_vec(),
        };
        read.push(match known {
            KEYS => Read::Keys(piece.block, keys_of(&piece)?),
            CHUNKS => Read::Chunks(ChunkBlock::from_parts(
                piece.low as u64,
                from_bytes(&piece.codes)?,
                piece.scale as u64,
                from_bytes(&piece.ends)?,
            )?),
            _ => Read::Values(piece.block, piece.key.to_owned(), part(&piece)?),
        });
    }
    Some(())
}

fn keys_of(piece: &Piece<'_>) -> Option<Block> {
    let offsets = from_bytes(&piece.codes)?;
    let codes = offsets.unpack();
    let (words, _) = piece.rows.as_chunks::<8>();
    let live = RowBits::from_words(words.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())?;
    let fits = (1..=BLOCK_ROWS).contains(&codes.len()) && codes.is_sorted_by(|a, b| a < b);
    fits.then_some(Block { low: piece.low, offsets, live, columns: BTreeMap::new() })
}

/// A letter for the width, the count in eight bytes, and the codes, all with the lowest byte first.
fn to_bytes(packed: &Packed) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + packed.bytes());
    bytes.push(match packed {
        Packed::Zeros(_) => b'z',
        Packed::Bits(..) => b'b',
        Packed::Bytes(_) => b'1',
        Packed::Shorts(_) => b'2',
        Packed::Words(_) => b'4',
        Packed::Longs(_) => b'8',
    });
    bytes.extend_from_slice(&(packed.len() as u64).to_le_bytes());
    match packed {
        Packed::Zeros(_) => {}
        Packed::Bytes(codes) => bytes.extend_from_slice(codes),
        Packed::Shorts(codes) => bytes.extend(codes.iter().flat_map(|code| code.to_le_bytes())),
        Packed::Words(codes) => bytes.extend(codes.iter().flat_map(|code| code.to_le_bytes())),
        Packed::Bits(_, codes) | Packed::Longs(codes) => bytes.extend(codes.iter().flat_map(|code| code.to_le_bytes())),
    }
    bytes
}

fn from_bytes(bytes: &[u8]) -> Option<Packed> {
    let (width, rest) = bytes.split_first()?;
    let (count, rest) = rest.split_first_chunk::<8>()?;
    let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
    let longs = || rest.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect::<Box<[u64]>>();
    let (packed, size) = match width {
        b'z' => (Packed::Zeros(count), 0),
        b'b' => (Packed::Bits(count, longs()), count.div_ceil(64).checked_mul(8)?),
        b'1' => (Packed::Bytes(rest.into()), count),
        b'2' => {
            let codes = rest.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
            (Packed::Shorts(codes.collect()), count.checked_mul(2)?)
        }
        b'4' => {
            let codes = rest.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
            (Packed::Words(codes.collect()), count.checked_mul(4)?)
        }
        b'8' => (Packed::Longs(longs()), count.checked_mul(8)?),
        _ => return None,
    };
    (rest.len() == size).then_some(packed)
}

/// A letter for the kind of set, and its rows or their count.
fn rows_to_bytes(rows: &Rows) -> Vec<u8> {
    match rows {
        Rows::First(count) => [&b"a"[..], &(*count as u64).to_le_bytes()].concat(),
        Rows::Few(list) => b"f".iter().copied().chain(list.iter().flat_map(|row| row.to_le_bytes())).collect(),
        Rows::Many(set) => b"m".iter().copied().chain(set.words().iter().flat_map(|word| word.to_le_bytes())).collect(),
    }
}

fn rows_from_bytes(bytes: &[u8]) -> Option<Rows> {
    let (kind, rest) = bytes.split_first()?;
    match kind {
        b'a' => {
            let count = usize::try_from(u64::from_le_bytes(*rest.first_chunk::<8>()?)).ok()?;
            (count <= BLOCK_ROWS).then_some(Rows::First(count))
        }
        b'f' => {
            let list: Box<[u16]> = rest.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect();
            let fits =
                list.is_sorted_by(|a, b| a < b) && list.last().is_none_or(|last| usize::from(*last) < BLOCK_ROWS);
            fits.then_some(Rows::Few(list))
        }
        b'm' => {
            let words = rest.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
            RowBits::from_words(words).map(Rows::Many)
        }
        _ => None,
    }
}
