//! A model that is there: its folder and what identifies it.

use std::fmt::Write as _;
use std::path::PathBuf;

use anser_core::storage::sha256_hex;

use crate::{ModelSpec, ModelsError, Pooling};

/// The files of a model on disk, verified against the catalogue or supplied by the user.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// What the model is. For a user's own files, their real sizes and hashes stand in place of the catalogue's.
    pub spec: ModelSpec,
    /// The folder that holds exactly the files of `spec`.
    pub dir: PathBuf,
}

impl ModelFiles {
    /// Where the file called `file` lies, or [`ModelsError::NoSuchFile`] when the model has none of that name.
    pub fn path(&self, file: &str) -> Result<PathBuf, ModelsError> {
        if self.spec.files.iter().any(|f| f.name == file) {
            return Ok(self.dir.join(file));
        }
        Err(ModelsError::NoSuchFile {
            model: self.spec.name.clone(),
            file: file.to_owned(),
            known: self.spec.files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// SHA-256 over everything that decides the model's output: file hashes, pooling, prefixes and dimension. Vectors
    /// made under one fingerprint cannot be compared with those made under another.
    pub fn fingerprint(&self) -> String {
        let mut files: Vec<_> = self.spec.files.iter().map(|f| (f.name.as_str(), f.sha256.as_str())).collect();
        files.sort_unstable();
        // Lengths stand before free text, so no two different specifications write the same line.
        let mut text = String::from("anser model 1\n");
        for (name, sha256) in files {
            let _ = writeln!(text, "file {}:{name} {sha256}", name.len());
        }
        let pooling = match self.spec.pooling {
            None => "none",
            Some(Pooling::Cls) => "cls",
            Some(Pooling::Mean) => "mean",
            Some(Pooling::LastToken) => "last_token",
        };
        let _ = writeln!(text, "pooling {pooling}");
        let _ = writeln!(text, "query {}:{}", self.spec.query_prefix.len(), self.spec.query_prefix);
        let _ = writeln!(text, "passage {}:{}", self.spec.passage_prefix.len(), self.spec.passage_prefix);
        let _ = writeln!(text, "dimension {}", self.spec.dimension.unwrap_or(0));
        sha256_hex(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, DEFAULT_EMBEDDER};

    #[test]
    fn fingerprint_changes_with_what_changes_the_output_and_nothing_else() {
        let spec = Catalogue::builtin().find(DEFAULT_EMBEDDER).unwrap().clone();
        let files = ModelFiles { spec, dir: PathBuf::from("a") };
        let base = files.fingerprint();
        assert_eq!(base.len(), 64);
        let with = |change: &dyn Fn(&mut ModelSpec)| {
            let mut other = files.clone();
            change(&mut other.spec);
            other.fingerprint()
        };
        assert_ne!(base, with(&|s| s.pooling = Some(Pooling::Mean)));
        assert_ne!(base, with(&|s| s.dimension = Some(383)));
        assert_ne!(base, with(&|s| s.query_prefix.push(' ')));
        assert_ne!(base, with(&|s| s.passage_prefix.push_str("passage: ")));
        assert_ne!(base, with(&|s| s.files[0].sha256.replace_range(0..1, "0")));
        assert_eq!(base, with(&|s| s.description.clear()));
        assert_eq!(base, with(&|s| s.files.reverse()));
        assert_eq!(base, ModelFiles { dir: PathBuf::from("b"), ..files.clone() }.fingerprint());
    }

    #[test]
    fn path_knows_the_model_s_files_only() {
        let spec = Catalogue::builtin().find(DEFAULT_EMBEDDER).unwrap().clone();
        let files = ModelFiles { spec, dir: PathBuf::from("a") };
        assert_eq!(files.path("model.onnx").unwrap(), PathBuf::from("a").join("model.onnx"));
        let message = files.path("../secret").unwrap_err().to_string();
        assert!(message.contains("tokenizer.json"), "{message}");
    }
}
