//! Which file formats can be ingested, and how one is recognised.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A format that documents can be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// A header line and one row per record, separated by commas (or, when the header holds none, by `;`, tab or `|`).
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// One JSON object on each line.
    Jsonl,
    /// An array of JSON objects, alone or as a member of one object.
    Json,
    /// One document with headings.
    Markdown,
    /// One document of plain text.
    Text,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow IPC, the streaming format (a file in the IPC file format is read too).
    ArrowStream,
}

impl FileFormat {
    /// Every format.
    pub const ALL: [Self; 8] =
        [Self::Csv, Self::Tsv, Self::Jsonl, Self::Json, Self::Markdown, Self::Text, Self::Parquet, Self::ArrowStream];

    /// The format that a file's extension stands for.
    pub fn from_path(path: &Path) -> Option<Self> {
        Self::from_name(path.extension()?.to_str()?)
    }

    /// The format of a name or file extension such as `csv`, `ndjson`, `md`; letter case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "csv" => Self::Csv,
            "tsv" | "tab" => Self::Tsv,
            "jsonl" | "ndjson" => Self::Jsonl,
            "json" => Self::Json,
            "md" | "markdown" => Self::Markdown,
            "txt" | "text" => Self::Text,
            "parquet" | "pq" => Self::Parquet,
            "arrow" | "arrows" | "arrow_stream" | "ipc" | "feather" => Self::ArrowStream,
            _ => return None,
        })
    }

    /// The format of an HTTP `Content-Type`, whose parameters are ignored.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Some(match essence.as_str() {
            "text/csv" | "application/csv" => Self::Csv,
            "text/tab-separated-values" => Self::Tsv,
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/json-lines" => Self::Jsonl,
            "application/json" => Self::Json,
            "text/markdown" => Self::Markdown,
            "text/plain" => Self::Text,
            "application/vnd.apache.parquet" => Self::Parquet,
            "application/vnd.apache.arrow.stream" | "application/vnd.apache.arrow.file" => Self::ArrowStream,
            _ => return None,
        })
    }

    /// The name that [`FileFormat::from_name`] understands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Markdown => "markdown",
            Self::Text => "text",
            Self::Parquet => "parquet",
            Self::ArrowStream => "arrow",
        }
    }

    /// Whether a whole file is one document, without rows and columns.
    pub fn is_prose(self) -> bool {
        matches!(self, Self::Markdown | Self::Text)
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_format() {
        for format in FileFormat::ALL {
            assert_eq!(FileFormat::from_name(format.name()), Some(format));
        }
    }

    #[test]
    fn extensions_and_content_types_are_recognised() {
        assert_eq!(FileFormat::from_path(Path::new("a/b.NDJSON")), Some(FileFormat::Jsonl));
        assert_eq!(FileFormat::from_path(Path::new("reviews")), None);
        assert_eq!(FileFormat::from_path(Path::new("sheet.xlsx")), None);
        assert_eq!(FileFormat::from_content_type("Text/CSV; charset=utf-8"), Some(FileFormat::Csv));
        assert_eq!(FileFormat::from_content_type("image/png"), None);
    }
}
