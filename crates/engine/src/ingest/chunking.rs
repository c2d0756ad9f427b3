//! Cuts texts into chunks that the embedder reads whole, at the borders of headings, paragraphs and sentences.

use anser_core::{ByteSpan, Embedder, Error, ErrorKind, Result};
use text_splitter::{ChunkConfig, MarkdownSplitter, TextSplitter, TryChunkSizer};

use super::IngestOptions;

/// Tokens of a model's input that are left for special tokens and a model's own prefix.
const RESERVED_TOKENS: usize = 8;

/// No chunk holds more bytes than this for each of its tokens. Tokenisers call a "word" of hundreds of characters one
/// unknown token; without this bound an encoded image would become one huge chunk.
const MAX_BYTES_PER_TOKEN: usize = 12;

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkSpan {
    /// Where it lies in the text; never empty, no white space at its ends.
    pub(super) span: ByteSpan,
    /// Its length in the embedder's tokens.
    pub(super) tokens: usize,
}

/// Measures text in the embedder's tokens.
#[derive(Clone, Copy)]
struct TokenSizer<'a>(&'a dyn Embedder);

impl TryChunkSizer for TokenSizer<'_> {
    type Error = Error;
    fn try_size(&self, chunk: &str) -> Result<usize> {
        Ok(self.0.count_tokens(chunk)?.max(chunk.len().div_ceil(MAX_BYTES_PER_TOKEN)))
    }
}

/// Cuts texts for one embedder.
pub(super) struct Chunker<'a> {
    embedder: &'a dyn Embedder,
    capacity: usize,
    plain: TextSplitter<TokenSizer<'a>>,
    markdown: MarkdownSplitter<TokenSizer<'a>>,
}

impl<'a> Chunker<'a> {
    /// Chunks of at most `options.chunk_tokens`, but no more than three quarters of what the embedder reads: the rest
    /// is for titles.
    pub(super) fn new(embedder: &'a dyn Embedder, options: &IngestOptions) -> Result<Self> {
        let readable = embedder.info().max_tokens.saturating_sub(RESERVED_TOKENS);
        let capacity = options.chunk_tokens.min(readable / 4 * 3).max(1);
        let overlap = options.chunk_overlap.min(capacity / 2);
        let config = || {
            ChunkConfig::new(capacity).with_sizer(TokenSizer(embedder)).with_overlap(overlap).map_err(|e| {
                Error::new(ErrorKind::Internal, format!("chunks of {capacity} tokens cannot be cut: {e}"))
                    .with_source(e)
            })
        };
        let (plain, markdown) = (TextSplitter::new(config()?), MarkdownSplitter::new(config()?));
        Ok(Self { embedder, capacity, plain, markdown })
    }

    /// The chunks of `text`, in order; at least one unless the text is blank.
    pub(super) fn split(&self, text: &str, markdown: bool) -> Result<Vec<ChunkSpan>> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Ok(Vec::new());
        }
        let start = text.len() - text.trim_start().len();
        let whole = ByteSpan { start, end: start + trimmed.len() };
        // Most rows are short: one count decides, and the splitter is not asked.
        if trimmed.len() <= self.capacity * MAX_BYTES_PER_TOKEN {
            let tokens = self.embedder.count_tokens(trimmed)?;
            if tokens <= self.capacity {
                return Ok(vec![ChunkSpan { span: whole, tokens }]);
            }
        }
        let spans = if markdown {
            self.markdown.try_chunk_indices(text).map(|found| found.map(spanned)).collect::<Result<Vec<_>>>()?
        } else {
            self.plain.try_chunk_indices(text).map(|found| found.map(spanned)).collect::<Result<Vec<_>>>()?
        };
        let spans = if spans.is_empty() { vec![whole] } else { spans };
        spans
            .into_iter()
            .map(|span| {
                let tokens = self.embedder.count_tokens(span.slice(text).unwrap_or_default())?;
                Ok(ChunkSpan { span, tokens })
            })
            .collect()
    }

    /// What is embedded for a chunk of so many tokens.
    pub(super) fn passage(&self, title: Option<&str>, chunk: &str, chunk_tokens: usize) -> Result<String> {
        passage(self.embedder, title, chunk, chunk_tokens)
    }
}

/// What is embedded for a chunk: the document's title, cut to what the embedder can still read, and the text, which has so
/// many of the embedder's tokens.
pub(crate) fn passage(
    embedder: &dyn Embedder,
    title: Option<&str>,
    chunk: &str,
    chunk_tokens: usize,
) -> Result<String> {
    let room = embedder.info().max_tokens.saturating_sub(RESERVED_TOKENS + chunk_tokens);
    match title.map(|title| fit(embedder, title, room)).transpose()? {
        Some(title) if !title.is_empty() => Ok(format!("{title}\n\n{chunk}")),
        _ => Ok(chunk.to_owned()),
    }
}

/// The longest beginning of `title` found to take at most `room` tokens.
fn fit<'t>(embedder: &dyn Embedder, title: &'t str, room: usize) -> Result<&'t str> {
    // A title of many bytes per token is cut before it is counted, so that a huge one costs nothing.
    let mut title = &title[..title.floor_char_boundary(room.saturating_mul(MAX_BYTES_PER_TOKEN))];
    loop {
        let tokens = embedder.count_tokens(title)?;
        if tokens <= room {
            return Ok(title.trim());
        }
        let shorter = (title.len() * room / tokens).min(title.len() - 1);
        title = &title[..title.floor_char_boundary(shorter)];
    }
}

fn spanned((start, chunk): (usize, &str)) -> ByteSpan {
    ByteSpan { start, end: start + chunk.len() }
}
