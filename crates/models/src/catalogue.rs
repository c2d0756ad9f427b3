//! The list of known models, read from one data file and checked.

use std::collections::HashSet;
use std::sync::LazyLock;

use anser_core::storage::check_name;
use serde::{Deserialize, Serialize};

use crate::ModelsError;
use crate::derived::Derivation;
use crate::wheel::check_entry_name;

/// The embedder used when none is named.
pub const DEFAULT_EMBEDDER: &str = "bge-small-en-v1.5";
/// The reranker used when none is named.
pub const DEFAULT_RERANKER: &str = "ms-marco-MiniLM-L-12-v2";
/// The chat model used when none is named.
pub const DEFAULT_CHAT: &str = "SmolLM2-135M-Instruct";

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelRole {
    /// Turns text into vectors.
    Embedder,
    /// Scores a passage against a query.
    Reranker,
    /// Continues a conversation.
    Chat,
    /// The ONNX Runtime library, which runs embedders and rerankers.
    Runtime,
}

/// How an embedder makes one vector of a text's token vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The vector of the first token.
    Cls,
    /// The mean over all tokens that are not padding.
    Mean,
    /// The vector of the last token that is not padding, as decoders used as embedders have it.
    LastToken,
}

/// What the ONNX graph of an embedder takes instead of token ids padded to one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphInputs {
    /// `tokens`, int32 [n], the ids of all texts one behind another, and `row_splits`, int64 [texts + 1], where each of them
    /// begins and the last one ends. The first output is a vector for each text, f32 [texts, dimension].
    Ragged,
}

/// A revision of a repository on the model hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSource {
    /// `owner/name`.
    pub repo: String,
    /// Commit, so that the bytes cannot change.
    pub revision: String,
}

/// A wheel in the package registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelSource {
    /// Package name.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// Size of the wheel, for the progress bar.
    pub bytes: u64,
    /// Python version whose wheel is taken, when they differ by version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// Platform tag of the wheel, when they differ by platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_tag: Option<String>,
}

impl WheelSource {
    /// Package and version as a person writes them.
    pub fn label(&self) -> String {
        format!("{} {}", self.package, self.version)
    }
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Name in the model's folder.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Path in the hub repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_file: Option<String>,
    /// Path in the wheel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wheel_entry: Option<String>,
    /// How it is made of another file, when no source carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<Derivation>,
}

/// A model, its files and where they come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Name by which it is asked for; also the name of its folder.
    pub name: String,
    /// What it is for.
    pub role: ModelRole,
    /// One line for a person.
    pub description: String,
    /// Who made it: repository of the original.
    pub upstream: String,
    /// SPDX name of its licence.
    pub licence: String,
    /// Operating system and processor it is for, as `linux-x86_64`; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Length of an embedder's vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<usize>,
    /// Lengths, below `dimension`, to which its vectors may be cut because it was trained so (Matryoshka representation
    /// learning, Kusupati et al. 2022); empty when only whole vectors mean anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<usize>,
    /// Most tokens it reads (for a chat model: prompt and output together).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// What an embedder's ONNX graph takes; `None` for token ids padded to one length, with a mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<GraphInputs>,
    /// How an embedder pools; `None` when its graph does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Put before a query that is embedded.
    #[serde(default)]
    pub query_prefix: String,
    /// Put before a passage that is embedded.
    #[serde(default)]
    pub passage_prefix: String,
    /// Where on the hub; used only when every file names its `hub_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubSource>,
    /// Which wheel carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wheel: Option<WheelSource>,
    /// Its files, the weights first.
    #[serde(rename = "file")]
    pub files: Vec<FileSpec>,
}

impl ModelSpec {
    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }
}

/// The known models of this platform.
#[derive(Debug, Clone)]
pub struct Catalogue {
    models: Vec<ModelSpec>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueFile {
    #[serde(default)]
    model: Vec<ModelSpec>,
}

impl Catalogue {
    /// The catalogue that comes with the program.
    #[expect(clippy::expect_used, reason = "the text is part of the program, and a test parses it for every platform")]
    pub fn builtin() -> &'static Self {
        static BUILTIN: LazyLock<Catalogue> = LazyLock::new(|| {
            Catalogue::from_toml(include_str!("catalogue.toml")).expect("the built-in catalogue is valid")
        });
        &BUILTIN
    }

    /// Reads a catalogue from TOML text and keeps the models of this platform. Fails with [`ModelsError::Catalogue`].
    pub fn from_toml(text: &str) -> Result<Self, ModelsError> {
        Self::for_platform(text, &this_platform())
    }

    /// Reads a catalogue in the form that [`Self::to_json`] writes.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, ModelsError> {
        let file = serde_json::from_slice(text).map_err(|e| ModelsError::Catalogue(e.to_string()))?;
        Self::checked(file, &this_platform())
    }

    /// The text of a catalogue of these models.
    pub(crate) fn to_json(models: &[ModelSpec]) -> Result<Vec<u8>, ModelsError> {
        let file = CatalogueFile { model: models.to_vec() };
        serde_json::to_vec_pretty(&file).map_err(|e| ModelsError::Catalogue(e.to_string()))
    }

    /// The same with the models of `other` behind; of two with one name the first stays.
    pub(crate) fn extended(mut self, other: &Self) -> Self {
        for model in &other.models {
            if self.models.iter().all(|known| !known.name.eq_ignore_ascii_case(&model.name)) {
                self.models.push(model.clone());
            }
        }
        self
    }

    fn for_platform(text: &str, platform: &str) -> Result<Self, ModelsError> {
        let file: CatalogueFile =
            toml::from_str(text).map_err(|e| ModelsError::Catalogue(e.to_string().trim().to_owned()))?;
        Self::checked(file, platform)
    }

    fn checked(file: CatalogueFile, platform: &str) -> Result<Self, ModelsError> {
        let mut models = Vec::new();
        let mut names = HashSet::new();
        for model in file.model {
            check_model(&model).map_err(|wrong| {
                let shown: String = model.name.chars().take(70).flat_map(char::escape_default).collect();
                ModelsError::Catalogue(format!("the model \"{shown}\" {wrong}"))
            })?;
            if model.platform.as_ref().is_some_and(|p| p != platform) {
                continue;
            }
            // Folder names may be compared without regard to case on some systems.
            if !names.insert(model.name.to_lowercase()) {
                return Err(ModelsError::Catalogue(format!("the model \"{}\" appears twice", model.name)));
            }
            models.push(model);
        }
        Ok(Self { models })
    }

    /// All models of this platform, in the file's order.
    pub fn models(&self) -> &[ModelSpec] {
        &self.models
    }

    /// The model called `name`, or [`ModelsError::UnknownModel`].
    pub fn find(&self, name: &str) -> Result<&ModelSpec, ModelsError> {
        self.models.iter().find(|m| m.name == name).ok_or_else(|| ModelsError::UnknownModel {
            name: name.chars().take(70).flat_map(char::escape_default).collect(),
            known: self.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The ONNX Runtime library for this platform, or [`ModelsError::NoRuntime`].
    pub fn runtime(&self) -> Result<&ModelSpec, ModelsError> {
        self.models
            .iter()
            .find(|m| m.role == ModelRole::Runtime)
            .ok_or_else(|| ModelsError::NoRuntime { platform: this_platform() })
    }
}

/// Operating system and processor in the catalogue's words.
fn this_platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

fn check_model(model: &ModelSpec) -> Result<(), String> {
    check_name("model", &model.name).map_err(|_| "has a name that cannot be a folder's".to_owned())?;
    if model.files.is_empty() {
        return Err("lists no file".to_owned());
    }
    if model.role == ModelRole::Embedder {
        let pooled = model.pooling.is_some() || model.graph.is_some();
        let complete = model.dimension.is_some_and(|d| d > 0) && pooled;
        if !complete || model.max_tokens.is_none_or(|t| t == 0) {
            return Err("is an embedder and needs dimension, max_tokens and pooling".to_owned());
        }
        if model.dimensions.iter().any(|cut| *cut == 0 || model.dimension.is_some_and(|whole| *cut >= whole)) {
            return Err("lists a length among its dimensions that is not between 0 and its dimension".to_owned());
        }
    }
    if let Some(hub) = &model.hub {
        let plain = |part: &str| check_name("hub", part).is_ok();
        if hub.repo.split('/').count() != 2 || !hub.repo.split('/').all(plain) || !plain(&hub.revision) {
            return Err("has a hub repository or revision that is not plain".to_owned());
        }
    }
    if let Some(wheel) = &model.wheel {
        let parts = [Some(&wheel.package), Some(&wheel.version), wheel.python.as_ref(), wheel.platform_tag.as_ref()];
        // Plain names cannot be mistaken for options or addresses by pip.
        if !parts.into_iter().flatten().all(|part| check_name("wheel", part).is_ok()) {
            return Err("has a wheel whose package, version or tag is not plain".to_owned());
        }
    }
    let mut names = HashSet::new();
    for file in &model.files {
        check_file(model, file).map_err(|wrong| format!("has a file {:?} that {wrong}", file.name))?;
        if !names.insert(file.name.to_lowercase()) {
            return Err(format!("lists the file {:?} twice", file.name));
        }
    }
    Ok(())
}

fn check_file(model: &ModelSpec, file: &FileSpec) -> Result<(), &'static str> {
    if check_name("file", &file.name).is_err() {
        return Err("is not a plain file name");
    }
    if file.bytes == 0 {
        return Err("has no bytes");
    }
    if file.sha256.len() != 64 || !file.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("has no SHA-256 of 64 lower-case hexadecimal digits");
    }
    if model.hub.is_none() && file.hub_file.is_some() {
        return Err("names a hub file, but the model no hub repository");
    }
    if let Some(derivation) = &file.derived {
        return check_derivation(model, file, derivation);
    }
    if model.wheel.is_some() != file.wheel_entry.is_some() {
        return Err("names a wheel entry without a wheel, or a wheel without the entry");
    }
    for path in [&file.hub_file, &file.wheel_entry].into_iter().flatten() {
        check_entry_name(path)?;
    }
    Ok(())
}

fn check_derivation(model: &ModelSpec, file: &FileSpec, derivation: &Derivation) -> Result<(), &'static str> {
    if file.hub_file.is_some() || file.wheel_entry.is_some() {
        return Err("is made of another one and has a source as well");
    }
    // A file that is made of a made one would depend on the order of the list.
    if !model.files.iter().any(|other| other.name == derivation.from && other.derived.is_none()) {
        return Err("is made of one that the model does not list among those it gets");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TINY: &str = r#"
[[model]]
name = "tiny"
role = "chat"
description = "d"
upstream = "u/u"
licence = "MIT"
wheel = { package = "p", version = "1", bytes = 3 }
[[model.file]]
name = "a.bin"
bytes = 3
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
wheel_entry = "p/a.bin"
"#;

    #[test]
    fn builtin_is_valid_everywhere_and_has_the_defaults() {
        for platform in ["linux-x86_64", "linux-aarch64", "macos-aarch64", "windows-x86_64", "windows-aarch64"] {
            let catalogue = Catalogue::for_platform(include_str!("catalogue.toml"), platform).unwrap();
            assert_eq!(catalogue.find(DEFAULT_EMBEDDER).unwrap().dimension, Some(384));
            assert_eq!(catalogue.find(DEFAULT_RERANKER).unwrap().role, ModelRole::Reranker);
            assert_eq!(catalogue.find(DEFAULT_CHAT).unwrap().max_tokens, Some(8192));
            assert_eq!(catalogue.runtime().unwrap().platform.as_deref(), Some(platform));
        }
        let other = Catalogue::for_platform(include_str!("catalogue.toml"), "plan9-mips").unwrap();
        assert!(matches!(other.runtime(), Err(ModelsError::NoRuntime { .. })));
    }

    #[test]
    fn unknown_name_lists_the_known_ones() {
        let message = Catalogue::builtin().find("bge-large").unwrap_err().to_string();
        assert!(message.contains("bge-large") && message.contains(DEFAULT_EMBEDDER), "{message}");
    }

    #[test]
    fn refuses_what_could_lead_astray() {
        assert_eq!(Catalogue::from_toml(TINY).unwrap().models().len(), 1);
        let twice = TINY.repeat(2);
        for (from, to, expected) in [
            ("name = \"tiny\"", "name = \"../tiny\"", "folder"),
            ("name = \"a.bin\"", "name = \"../a.bin\"", "plain file name"),
            ("p/a.bin", "p/../../a.bin", "climbs"),
            ("p/a.bin", "/etc/a.bin", "absolute"),
            ("package = \"p\"", "package = \"--index-url=x\"", "plain"),
            ("bytes = 3\nsha", "bytes = 0\nsha", "no bytes"),
            ("ba78", "BA78", "SHA-256"),
            ("wheel_entry = \"p/a.bin\"", "", "wheel"),
            ("role = \"chat\"", "role = \"embedder\"", "dimension"),
            ("licence", "license", "license"),
            (
                "wheel_entry = \"p/a.bin\"",
                "derived = { from = \"a.bin\", step = \"cut_sentence_piece\" }",
                "does not list",
            ),
            (
                "wheel_entry",
                "derived = { from = \"a.bin\", step = \"cut_sentence_piece\" }\nwheel_entry",
                "source as well",
            ),
            (TINY, twice.as_str(), "twice"),
        ] {
            let text = TINY.replace(from, to);
            assert_ne!(text, TINY, "{from} is not in the text");
            let message = Catalogue::from_toml(&text).unwrap_err().to_string();
            assert!(message.contains(expected), "{to}: {message}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,200}") {
            let _ = Catalogue::from_toml(&text);
        }

        #[test]
        fn any_damage_parses_or_is_refused(at in 0..TINY.len(), with in "\\PC{0,4}") {
            let mut text = TINY.to_owned();
            text.replace_range(at..=at, &with);
            if let Ok(catalogue) = Catalogue::from_toml(&text) {
                for model in catalogue.models() {
                    prop_assert!(check_name("model", &model.name).is_ok());
                    prop_assert!(model.files.iter().all(|f| !f.name.contains(['/', '\\']) && f.name != ".."));
                }
            }
        }
    }
}
