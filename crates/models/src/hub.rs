//! Fetching one file from the model hub, in bounded time.
//!
//! `hf-hub` knows the hub's addresses, its environment variables and where its token lies; the bytes come through an
//! HTTP client of ours, because its own has no time limits and trusts only a built-in list of certificate authorities.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anser_core::{Progress, ProgressUnit};
use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Cache, Repo, RepoType};
use serde::Deserialize;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use crate::verify::copy_verified;
use crate::{FileSpec, HubSource, ModelsError};

/// Longest wait for a name to resolve.
const RESOLVE: Duration = Duration::from_secs(3);
/// Longest wait for a connection, encryption included.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for the reply to begin.
const RESPONSE: Duration = Duration::from_secs(10);
/// Longest silence within the reply.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest part of a connection's error that is shown.
const MAX_DETAIL_CHARS: usize = 160;

/// Longest description of a repository that is read, in bytes.
const LONGEST_ANSWER: u64 = 16 << 20;

/// Hubs that could not be reached, with the reason: one failed attempt is enough for the life of the process.
static UNREACHABLE: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

/// A client for one hub.
pub(crate) struct Hub {
    endpoint: Option<String>,
    cache: Cache,
}

impl Hub {
    /// The hub at `endpoint`, or where the environment says (`HF_ENDPOINT`), or the public one. `scratch` stands in for
    /// the hub's own cache folder on a machine without a home folder; nothing is written there.
    pub(crate) fn new(endpoint: Option<&str>, scratch: &Path) -> Self {
        let endpoint = endpoint.map(str::to_owned).or_else(|| std::env::var("HF_ENDPOINT").ok());
        // `Cache::from_env` panics when neither variable nor home folder exists.
        let has_home = std::env::var_os("HF_HOME").is_some() || std::env::home_dir().is_some_and(|h| h.is_absolute());
        let cache = if has_home { Cache::from_env() } else { Cache::new(scratch.join("hub")) };
        Self { endpoint, cache }
    }

    /// Downloads `file` to the new file `target`, verified.
    pub(crate) fn fetch(
        &self,
        source: &HubSource,
        file: &FileSpec,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ModelsError> {
        let hub_file = file.hub_file.as_deref().unwrap_or_default();
        let label = format!("{}/{hub_file}", source.repo);
        let failed = |reason: String| ModelsError::Hub { file: label.clone(), reason };
        let url = self.url(source, hub_file).map_err(&failed)?;
        let response = self.get(&url, &label)?;
        progress.start(&format!("Downloading {label}"), Some(file.bytes), ProgressUnit::Bytes);
        let mut body = response.into_body().into_reader();
        let received = copy_verified(&mut body, target, file, &|e| failed(e.to_string()), &|done| progress.set(done));
        progress.finish();
        received?.accept(file, &format!("the model hub ({label})"))
    }

    /// What the hub says of a revision: its commit and its files.
    pub(crate) fn revision(&self, repo: &str, revision: &str) -> Result<Revision, ModelsError> {
        let label = format!("{repo}@{revision}");
        let failed = |reason: String| ModelsError::Hub { file: label.clone(), reason };
        let source = HubSource { repo: repo.to_owned(), revision: revision.to_owned() };
        let sample = self.url(&source, "x").map_err(&failed)?;
        let endpoint = sample.split(&format!("/{repo}/resolve/")).next().unwrap_or_default();
        let url = format!("{endpoint}/api/models/{repo}/revision/{revision}?blobs=true");
        let mut text = Vec::new();
        let mut body = self.get(&url, &label)?.into_body().into_reader().take(LONGEST_ANSWER);
        body.read_to_end(&mut text).map_err(|e| failed(e.to_string()))?;
        let found: Revision =
            serde_json::from_slice(&text).map_err(|e| failed(format!("its description cannot be read ({e})")))?;
        if anser_core::storage::check_name("revision", &found.sha).is_err() {
            return Err(failed("it names a commit that is none".to_owned()));
        }
        Ok(found)
    }

    /// Downloads a file whose hash nobody has said yet into the new file `target`; at most `most` bytes.
    pub(crate) fn fetch_first(
        &self,
        source: &HubSource,
        hub_file: &str,
        target: &Path,
        most: u64,
    ) -> Result<(), ModelsError> {
        let label = format!("{}/{hub_file}", source.repo);
        let failed = |reason: String| ModelsError::Hub { file: label.clone(), reason };
        let url = self.url(source, hub_file).map_err(&failed)?;
        let mut body = self.get(&url, &label)?.into_body().into_reader().take(most + 1);
        let mut file = File::create_new(target).map_err(ModelsError::io("create", target))?;
        let received = std::io::copy(&mut body, &mut file).map_err(|e| failed(e.to_string()))?;
        if received > most {
            return Err(failed(format!("it has more than the {most} bytes that were announced")));
        }
        file.sync_all().map_err(ModelsError::io("sync", target))
    }

    /// The answer at `url`, unless the hub was found out of reach before.
    fn get(&self, url: &str, label: &str) -> Result<ureq::http::Response<ureq::Body>, ModelsError> {
        let failed = |reason: String| ModelsError::Hub { file: label.to_owned(), reason };
        let key = self.endpoint.clone().unwrap_or_default();
        if let Some(reason) = UNREACHABLE.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Err(failed(reason.clone()));
        }
        let mut request = agent().get(url);
        if let Some(token) = self.cache.token() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|e| {
            if is_unreachable(&e) {
                // Certificate errors list every name of the certificate.
                let detail: String = e.to_string().chars().take(MAX_DETAIL_CHARS).collect();
                let reason = format!("it could not be reached ({detail})");
                UNREACHABLE.lock().unwrap_or_else(PoisonError::into_inner).insert(key, reason.clone());
                return failed(reason);
            }
            failed(e.to_string())
        })
    }

    fn url(&self, source: &HubSource, hub_file: &str) -> Result<String, String> {
        let mut builder = ApiBuilder::from_cache(self.cache.clone()).with_progress(false);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        let api = builder.build().map_err(|e| e.to_string())?;
        Ok(api.repo(Repo::with_revision(source.repo.clone(), RepoType::Model, source.revision.clone())).url(hub_file))
    }
}

/// A commit of a repository and its files, as the hub describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Revision {
    /// The commit.
    pub(crate) sha: String,
    /// Its files.
    #[serde(default)]
    pub(crate) siblings: Vec<HubFile>,
}

/// A file of a repository.
#[derive(Debug, Deserialize)]
pub(crate) struct HubFile {
    /// Its path.
    pub(crate) rfilename: String,
    /// Its size.
    pub(crate) size: Option<u64>,
    /// Where it is kept as a large file, its hash.
    pub(crate) lfs: Option<LargeFile>,
}

/// A file kept by its hash.
#[derive(Debug, Deserialize)]
pub(crate) struct LargeFile {
    pub(crate) sha256: String,
}

fn agent() -> Agent {
    // The operating system's certificate authorities, so that a company's own are trusted as well.
    let tls = TlsConfig::builder().provider(TlsProvider::Rustls).root_certs(RootCerts::PlatformVerifier).build();
    Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("anser/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(RESOLVE))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(RESPONSE))
        .timeout_per_read(Some(SILENCE))
        .build()
        .into()
}

/// Whether the hub as a whole is out of reach, rather than one file not there.
fn is_unreachable(error: &ureq::Error) -> bool {
    !matches!(error, ureq::Error::StatusCode(_) | ureq::Error::BadUri(_) | ureq::Error::Http(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_address_holds_repository_and_revision() {
        let hub = Hub::new(Some("http://127.0.0.1:9/"), Path::new("."));
        let source = HubSource { repo: "a/b".to_owned(), revision: "c0ffee".to_owned() };
        assert_eq!(hub.url(&source, "x/y.gguf").unwrap(), "http://127.0.0.1:9/a/b/resolve/c0ffee/x/y.gguf");
    }
}
