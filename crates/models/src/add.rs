//! Embedders by folder and by repository of the model hub: used as they are, or added to the user's catalogue.

use std::fs;
use std::path::Path;

use anser_core::Progress;
use anser_core::storage::check_name;

use crate::cache::{Lock, ModelFolder, scratch_folder};
use crate::encoder::is_read;
use crate::folder::{FURTHER, TOKENIZER, WEIGHTS, embedder_spec, file_spec};
use crate::hub::{HubFile, Revision};
use crate::sentence_transformers::{CONFIG, EmbedderFacts, LENGTH, MODULES, POOLING, PROMPTS, TOKENIZER_CONFIG};
use crate::wheel::check_entry_name;
use crate::{
    EmbedderSettings, FileSpec, HubSource, ModelFiles, ModelRole, ModelSpec, ModelStatus, ModelStore, ModelsError,
    user_catalogue,
};

/// Revision that is meant when none is named.
const DEFAULT_REVISION: &str = "main";
/// Longest file other than weights that is fetched, in bytes: the largest tokenizers have some tens of megabytes.
const LONGEST_SMALL: u64 = 256 << 20;
/// Where ONNX weights may lie in a repository, the best first.
const ONNX_PLACES: [&str; 2] = ["onnx/model.onnx", "model.onnx"];

/// A repository of the hub, and a branch, tag or commit of it.
#[derive(Debug, PartialEq, Eq)]
struct HubName<'a> {
    repo: &'a str,
    revision: Option<&'a str>,
}

impl<'a> HubName<'a> {
    /// `owner/name` or `owner/name@revision`, of plain parts only.
    fn parse(text: &'a str) -> Option<Self> {
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (text, None),
        };
        let (owner, name) = repo.split_once('/')?;
        let plain = |part: &str| check_name("hub", part).is_ok();
        (plain(owner) && plain(name) && revision.is_none_or(plain)).then_some(Self { repo, revision })
    }

    fn names(&self, hub: &HubSource) -> bool {
        hub.repo == self.repo && self.revision.is_none_or(|revision| hub.revision == revision)
    }
}

impl ModelStore {
    /// The embedder that `source` names: a model of the catalogue, a folder, or a repository of the model hub, which is
    /// added to the user's catalogue the first time.
    pub fn ensure_embedder(&self, source: &str, progress: &dyn Progress) -> Result<ModelFiles, ModelsError> {
        if self.catalogue().find(source).is_ok() {
            return self.ensure(source, progress);
        }
        let folder = Path::new(source);
        if folder.is_dir() {
            return ModelFiles::from_folder(source, folder, &EmbedderSettings::default());
        }
        let Some(hub) = HubName::parse(source) else { return Err(self.unknown(source)) };
        if let Some(spec) = self.catalogue().models().iter().find(|spec| is_from(spec, &hub)) {
            return self.ensure_model(spec, progress);
        }
        self.add(source, None, &EmbedderSettings::default(), progress)
    }

    /// What is there of the embedder that `source` names; never touches the network.
    pub fn embedder_status(&self, source: &str) -> Result<ModelStatus, ModelsError> {
        let hub = HubName::parse(source);
        let added = hub.and_then(|hub| self.catalogue().models().iter().find(|spec| is_from(spec, &hub)));
        let folder = Path::new(source);
        if self.find(source).is_ok() || !folder.is_dir() {
            return match added {
                Some(spec) => self.status(&spec.name),
                None if HubName::parse(source).is_some() => Ok(ModelStatus::Missing),
                None => self.status(source),
            };
        }
        match ModelFiles::from_folder(source, folder, &EmbedderSettings::default()) {
            Ok(files) => Ok(ModelStatus::Present { bytes: files.spec.total_bytes(), path: files.dir }),
            Err(error) => Ok(ModelStatus::Damaged { reason: error.to_string() }),
        }
    }

    /// Adds the embedder in a folder (whose files are copied) or in a repository of the hub (`owner/name` or
    /// `owner/name@revision`) to the user's catalogue, under `name` or its own. What its files do not say comes from
    /// `settings`.
    pub fn add(
        &self,
        source: &str,
        name: Option<&str>,
        settings: &EmbedderSettings,
        progress: &dyn Progress,
    ) -> Result<ModelFiles, ModelsError> {
        let folder = Path::new(source);
        let is_folder = folder.is_dir();
        let hub = HubName::parse(source);
        let own = match &hub {
            Some(hub) if !is_folder => hub.repo.rsplit('/').next().map(str::to_owned),
            _ => fs::canonicalize(folder).ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned())),
        };
        let name = name.map(str::to_owned).or(own).ok_or_else(|| self.unknown(source))?;
        check_name("model", &name)?;
        if user_catalogue::is_reserved(&name) {
            return Err(ModelsError::NameTaken { name });
        }
        let cache = self.cache()?;
        fs::create_dir_all(&cache).map_err(ModelsError::io("create the model cache", &cache))?;
        let _lock = Lock::acquire(&cache, &name, progress)?;
        if self.catalogue().models().iter().any(|spec| spec.name.eq_ignore_ascii_case(&name))
            || user_catalogue::read(&cache)?.find(&name).is_ok()
        {
            return Err(ModelsError::NameTaken { name });
        }
        let scratch = scratch_folder(&cache, &name)?;
        let spec = if is_folder {
            copied(&name, folder, settings, scratch.path())?
        } else {
            let hub = hub.ok_or_else(|| self.unknown(source))?;
            if self.options().offline {
                return Err(ModelsError::OfflineHub { repo: source.to_owned() });
            }
            self.downloaded(&name, &hub, settings, scratch.path(), progress)?
        };
        let place = ModelFolder::new(&cache, &spec);
        for file in &spec.files {
            place.adopt(file, &scratch.path().join(&file.name))?;
        }
        user_catalogue::add(&cache, &spec)?;
        let dir = place.dir;
        Ok(ModelFiles { spec, dir })
    }

    fn unknown(&self, source: &str) -> ModelsError {
        let embedders = self.catalogue().models().iter().filter(|spec| spec.role == ModelRole::Embedder);
        ModelsError::UnknownEmbedder {
            source_name: source.chars().take(200).flat_map(char::escape_default).collect(),
            known: embedders.map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", "),
        }
    }

    /// Fetches what an embedder needs of a repository into `scratch` and describes it.
    fn downloaded(
        &self,
        name: &str,
        hub: &HubName<'_>,
        settings: &EmbedderSettings,
        scratch: &Path,
        progress: &dyn Progress,
    ) -> Result<ModelSpec, ModelsError> {
        let client = self.hub(scratch);
        let revision = client.revision(hub.repo, hub.revision.unwrap_or(DEFAULT_REVISION))?;
        let source = HubSource { repo: hub.repo.to_owned(), revision: revision.sha.clone() };
        for file in [CONFIG, TOKENIZER, MODULES, LENGTH, PROMPTS].into_iter().chain(FURTHER).chain([POOLING]) {
            let Some(found) = sibling(&revision, file).filter(|_| file != FURTHER[2]) else { continue };
            let target = scratch.join(file);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(ModelsError::io("create the folder", parent))?;
            }
            client.fetch_first(&source, file, &target, found.size.unwrap_or(LONGEST_SMALL).min(LONGEST_SMALL))?;
        }
        let lacking = |file: &str| ModelsError::Hub {
            file: format!("{}/{file}", hub.repo),
            reason: "the repository has no such file, without which it is no embedder".to_owned(),
        };
        for file in [CONFIG, TOKENIZER] {
            if !scratch.join(file).is_file() {
                return Err(lacking(file));
            }
        }
        let facts = EmbedderFacts::read(scratch, settings)?;
        let mut files = Vec::new();
        for (file, place) in weights(&revision, is_read(&scratch.join(CONFIG))) {
            let found = sibling(&revision, &place).ok_or_else(|| lacking(&place))?;
            files.push(fetch_weights(&client, &source, found, &file, scratch, progress)?);
        }
        if files.is_empty() {
            return Err(lacking(&WEIGHTS.join(" or ")));
        }
        for file in [TOKENIZER, CONFIG, TOKENIZER_CONFIG, FURTHER[1]] {
            if scratch.join(file).is_file() {
                files.push(FileSpec { hub_file: Some(file.to_owned()), ..file_spec(scratch, file)? });
            }
        }
        Ok(ModelSpec { hub: Some(source), ..embedder_spec(name, hub.repo, facts, files) })
    }
}

/// Whether the model came from this repository.
fn is_from(spec: &ModelSpec, hub: &HubName<'_>) -> bool {
    let original = hub.revision.is_none() && spec.upstream == hub.repo;
    spec.role == ModelRole::Embedder && (original || spec.hub.as_ref().is_some_and(|source| hub.names(source)))
}

fn sibling<'a>(revision: &'a Revision, file: &str) -> Option<&'a HubFile> {
    revision.siblings.iter().find(|found| found.rfilename == file && check_entry_name(file).is_ok())
}

/// The files of weights to fetch, as (name in the folder, path in the repository): safetensors where we can run them,
/// else an ONNX graph with what lies beside it.
fn weights(revision: &Revision, runs_here: bool) -> Vec<(String, String)> {
    let safetensors = WEIGHTS[0].to_owned();
    let has_safetensors = sibling(revision, &safetensors).is_some();
    let graph = ONNX_PLACES.into_iter().find(|place| sibling(revision, place).is_some());
    match graph {
        Some(graph) if !(has_safetensors && runs_here) => {
            let mut all = vec![(WEIGHTS[1].to_owned(), graph.to_owned())];
            let data = format!("{graph}_data");
            if sibling(revision, &data).is_some() {
                all.push((FURTHER[2].to_owned(), data));
            }
            all
        }
        _ if has_safetensors => vec![(safetensors.clone(), safetensors)],
        _ => Vec::new(),
    }
}

/// Fetches one file of weights under the hash that the hub states, if it states one.
fn fetch_weights(
    client: &crate::hub::Hub,
    source: &HubSource,
    found: &HubFile,
    name: &str,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<FileSpec, ModelsError> {
    let target = scratch.join(name);
    let hub_file = Some(found.rfilename.clone());
    let stated = found.lfs.as_ref().zip(found.size);
    if let Some((large, bytes)) = stated {
        let sha256 = large.sha256.to_ascii_lowercase();
        let file = FileSpec { name: name.to_owned(), bytes, sha256, hub_file, wheel_entry: None, derived: None };
        client.fetch(source, &file, &target, progress)?;
        return Ok(file);
    }
    client.fetch_first(source, &found.rfilename, &target, found.size.unwrap_or(u64::MAX - 1))?;
    Ok(FileSpec { hub_file, ..file_spec(scratch, name)? })
}

/// Copies the files of the embedder in `folder` to `scratch` and describes them there.
fn copied(name: &str, folder: &Path, settings: &EmbedderSettings, scratch: &Path) -> Result<ModelSpec, ModelsError> {
    // Described where they lie first, so that nothing is copied of what is no embedder.
    let described = ModelFiles::from_folder(name, folder, settings)?.spec;
    let mut files = Vec::new();
    for file in &described.files {
        let (from, to) = (folder.join(&file.name), scratch.join(&file.name));
        fs::copy(&from, &to).map_err(ModelsError::io("copy", &from))?;
        files.push(file_spec(scratch, &file.name)?);
    }
    Ok(ModelSpec { files, ..described })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_name_has_two_plain_parts_and_perhaps_a_revision() {
        let of = |repo, revision| Some(HubName { repo, revision });
        assert_eq!(HubName::parse("BAAI/bge-small-en"), of("BAAI/bge-small-en", None));
        assert_eq!(HubName::parse("a/b@c0ffee"), of("a/b", Some("c0ffee")));
        for text in
            ["a", "a/b/c", "/a", "a/", "../a", "a/..", "a/b@", "a/b@../x", "a b/c", "a/b?c", "https://a/b", "~/m"]
        {
            assert_eq!(HubName::parse(text), None, "{text}");
        }
    }
}
