//! Markdown and plain text: one file is one document.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anser_core::{Attributes, Document, DocumentId};
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::encoding::{NOT_UTF8, open_text, utf8};
use super::lines::size;
use super::{ByteSource, Extent, Piece, Placed, ReadFailure, RowSource};
use crate::ingest::{FileFormat, RowError};

/// One text to read.
struct ProseFile {
    /// The document's id, unless it is to be derived from the text.
    id: Option<String>,
    markdown: bool,
    content: Content,
}

enum Content {
    File(PathBuf),
    Open(ByteSource),
}

/// Documents that are files of their own.
pub(in crate::ingest) struct ProseSource {
    files: std::vec::IntoIter<ProseFile>,
    total: u64,
    read: u64,
    limit: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A single text of so many bytes, if known; when it is bad, that is a failure.
    Single(Option<u64>),
    /// A folder, which keeps its good files when one is bad.
    Folder,
}

impl ProseSource {
    /// The text that `reader` gives; its id is `id`, or derived from the text.
    pub(in crate::ingest) fn single(
        reader: ByteSource,
        total: Option<u64>,
        id: Option<String>,
        format: FileFormat,
        limit: usize,
    ) -> Self {
        let markdown = format == FileFormat::Markdown;
        let files = vec![ProseFile { id, markdown, content: Content::Open(reader) }];
        Self { files: files.into_iter(), total: 1, read: 0, limit, kind: Kind::Single(total) }
    }

    /// Files below `folder`, as [`prose_files`] found them; their ids are their paths relative to it.
    pub(in crate::ingest) fn folder(folder: &Path, files: Vec<PathBuf>, limit: usize) -> Self {
        let files: Vec<ProseFile> = files
            .into_iter()
            .map(|path| {
                let relative = path.strip_prefix(folder).unwrap_or(&path);
                let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
                let markdown = FileFormat::from_path(&path) == Some(FileFormat::Markdown);
                ProseFile { id: Some(parts.join("/")), markdown, content: Content::File(path) }
            })
            .collect();
        Self { total: files.len() as u64, files: files.into_iter(), read: 0, limit, kind: Kind::Folder }
    }
}

impl RowSource for ProseSource {
    fn extent(&self) -> Extent {
        match self.kind {
            Kind::Single(bytes) => Extent::Bytes(bytes),
            Kind::Folder => Extent::Rows(Some(self.total)),
        }
    }

    fn next_piece(&mut self) -> Result<Option<Placed>, ReadFailure> {
        let Some(file) = self.files.next() else { return Ok(None) };
        self.read += 1;
        let (id, markdown) = (file.id, file.markdown);
        let reader = match file.content {
            Content::Open(reader) => Ok(reader),
            Content::File(path) => File::open(path).map(|file| Box::new(file) as ByteSource),
        };
        let read = reader.map_err(ReadFailure::Io).and_then(|reader| read_text(reader, self.limit));
        let folder = self.kind == Kind::Folder;
        let named = if folder { id.clone() } else { None };
        let reject =
            |line, message| Piece::Rejected(RowError { line, row: Some(self.read), field: named.clone(), message });
        let piece = match read {
            Ok(Ok(text)) => match document(id, text, markdown) {
                Ok(document) => Piece::Document { document, row: self.read, markdown },
                Err(error) => reject(None, error.to_string()),
            },
            Ok(Err(line)) if folder => reject(Some(line), NOT_UTF8.to_owned()),
            Ok(Err(line)) => return Err(ReadFailure::Bad(format!("line {line} is {NOT_UTF8}"))),
            Err(failure) if !folder => return Err(failure),
            Err(ReadFailure::Bad(message)) => reject(None, message),
            Err(ReadFailure::Io(error)) => reject(None, format!("cannot be read: {error}")),
        };
        let bytes = if let Piece::Document { document, .. } = &piece { document.text.len() } else { 0 };
        let position = match self.kind {
            Kind::Single(total) => total.unwrap_or(bytes as u64),
            Kind::Folder => self.read,
        };
        Ok(Some(Placed { piece, position, bytes }))
    }
}

/// The whole text, or the line that is not UTF-8.
fn read_text(reader: ByteSource, limit: usize) -> Result<Result<String, u64>, ReadFailure> {
    let mut bytes = Vec::new();
    open_text(reader)?.reader.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(ReadFailure::Bad(format!(
            "the text is longer than the limit of {}; split it into several files",
            size(limit as u64)
        )));
    }
    Ok(utf8(bytes).map_err(|line| line + 1))
}

fn document(id: Option<String>, text: String, markdown: bool) -> anser_core::Result<Document> {
    let title = if markdown { first_heading(&text) } else { None };
    let id = match id {
        Some(id) => DocumentId::new(id)?,
        None => DocumentId::new(super::super::identity::content_id(title.as_deref(), &text, &[]))?,
    };
    Ok(Document { id, title, text, attributes: Attributes::new() })
}

/// The text of a Markdown document's first heading, without its markup.
fn first_heading(text: &str) -> Option<String> {
    let mut heading: Option<String> = None;
    for event in Parser::new(text) {
        match (&mut heading, event) {
            (None, Event::Start(Tag::Heading { .. })) => heading = Some(String::new()),
            (Some(title), Event::End(TagEnd::Heading(_))) if title.trim().is_empty() => heading = None,
            (Some(_), Event::End(TagEnd::Heading(_))) => break,
            (Some(title), Event::Text(part) | Event::Code(part)) => title.push_str(&part),
            (Some(title), Event::SoftBreak | Event::HardBreak) => title.push(' '),
            _ => {}
        }
    }
    heading.map(|title| title.trim().to_owned()).filter(|title| !title.is_empty())
}

/// Every Markdown and text file below `folder`, in the order of their paths. Hidden files and folders, and links to
/// folders, are passed over.
pub(in crate::ingest) fn prose_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if FileFormat::from_path(&path).is_some_and(FileFormat::is_prose) && path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_heading_is_the_title_without_its_markup() {
        let text = "Preface.\n\n```\n# not a heading\n```\n\n## The *old* `tea` kettle\n\n# Later\n";
        assert_eq!(first_heading(text).as_deref(), Some("The old tea kettle"));
        assert_eq!(first_heading("Title\n=====\n\ntext").as_deref(), Some("Title"));
        assert_eq!(first_heading("#\n\nno heading text"), None);
    }
}
