//! Is it text, and is it UTF-8? Looks at the first bytes of a source and says in one sentence why it cannot be read.

use std::io::{Cursor, Read};

use super::{ByteSource, ReadFailure};

/// How many bytes are looked at before reading begins.
const PREFIX_BYTES: usize = 8 << 10;

/// A source of UTF-8 text whose byte-order mark has been removed.
pub(super) struct TextStream {
    /// Everything after the mark.
    pub(super) reader: ByteSource,
    /// Bytes of the mark: 0 or 3.
    pub(super) skipped: u64,
    /// The first bytes after the mark, which `reader` gives again.
    pub(super) prefix: Vec<u8>,
}

/// Opens `reader` as text; empty sources, UTF-16 and binary files are refused.
pub(super) fn open_text(mut reader: ByteSource) -> Result<TextStream, ReadFailure> {
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    reader.by_ref().take(PREFIX_BYTES as u64).read_to_end(&mut prefix)?;
    if prefix.is_empty() {
        return Err(ReadFailure::Bad("it is empty (0 bytes)".to_owned()));
    }
    if let Some(reason) = not_text(&prefix) {
        return Err(ReadFailure::Bad(reason));
    }
    let skipped = if prefix.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    prefix.drain(..skipped);
    if prefix.iter().all(u8::is_ascii_whitespace) && prefix.len() + skipped < PREFIX_BYTES {
        return Err(ReadFailure::Bad("it holds nothing but white space".to_owned()));
    }
    let reader: ByteSource = Box::new(Cursor::new(prefix.clone()).chain(reader));
    Ok(TextStream { reader, skipped: skipped as u64, prefix })
}

/// Why bytes that begin with `prefix` are not UTF-8 text, if that can be told.
fn not_text(prefix: &[u8]) -> Option<String> {
    if prefix.starts_with(b"\xFF\xFE") || prefix.starts_with(b"\xFE\xFF") {
        return Some("it is encoded as UTF-16; save it as UTF-8 and try again".to_owned());
    }
    let known: [(&[u8], &str); 7] = [
        (b"PK\x03\x04", "a ZIP archive or an office document; export it as CSV or plain text"),
        (b"\x1F\x8B", "compressed with gzip; unpack it"),
        (b"\x28\xB5\x2F\xFD", "compressed with zstd; unpack it"),
        (b"PAR1", "a Parquet file; choose the format parquet"),
        (b"ARROW1", "an Arrow file; choose the format arrow"),
        (b"%PDF-", "a PDF; export it as plain text"),
        (b"SQLite format 3\0", "an SQLite database; export it as CSV"),
    ];
    if let Some((_, what)) = known.iter().find(|(magic, _)| prefix.starts_with(magic)) {
        return Some(format!("it is not text but {what} and try again"));
    }
    prefix.contains(&0).then(|| {
        "it is not UTF-8 text (there are zero bytes in it); if it is text in another encoding, save it as UTF-8 and \
         try again"
            .to_owned()
    })
}

/// `bytes` as text, or, from 0, the line within them that holds the first bytes that are not UTF-8.
pub(super) fn utf8(bytes: Vec<u8>) -> Result<String, u64> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        good.split(|b| *b == b'\n').count() as u64 - 1
    })
}

/// What a row error says about bytes that are not UTF-8.
pub(super) const NOT_UTF8: &str = "not valid UTF-8; save the file as UTF-8 and ingest it again";
