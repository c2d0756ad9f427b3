//! Fine-tuning from upload to answer, with a trainer that counts steps instead of training.

#![expect(clippy::unwrap_used, reason = "what the tests share is made outside of test functions")]

mod create;
mod files;
mod kill;
mod run;
mod served;
mod trainer;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anser_core::storage::DataDir;
use anser_core::{
    CancelToken, ChatMessage, Embedder, Error, FinishReason, GenerateOptions, Generation, GenerationTimings, Generator,
    GeneratorInfo, Prompt, Reranker, Result, TokenScores, TokenUsage, Trainer,
};
use anser_engine::{
    Engine, EngineError, EngineOptions, FilePurpose, FineTuningJob, FineTuningRequest, FineTuningStatus, JobEvent,
    ModelLoader, PageRequest, ServedModels, StoredFile, TunedModel,
};
use parking_lot::Mutex;
use tempfile::TempDir;

use trainer::FakeTrainer;

/// Name of the base model.
pub(super) const BASE: &str = "tiny-chat";

/// Name of a base model that the engine was not started with.
pub(super) const OTHER_BASE: &str = "org/other:chat";

/// Good training data: twelve lines.
pub(super) fn examples() -> String {
    let line = |i: usize| {
        format!(
            "{{\"messages\":[{{\"role\":\"user\",\"content\":\"q{i}\"}},{{\"role\":\"assistant\",\"content\":\"a{i}\"}}]}}\n"
        )
    };
    (0..12).map(line).collect()
}

/// Says its own name.
pub(super) struct Named {
    info: GeneratorInfo,
    bytes: u64,
}

impl Named {
    pub(super) fn load(model: &str, bytes: u64) -> Arc<dyn Generator> {
        Arc::new(Self { info: GeneratorInfo { model: model.to_owned(), context_length: 512 }, bytes })
    }
}

impl Generator for Named {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(text.split_whitespace().count())
    }

    fn count_prompt_tokens(&self, messages: &[ChatMessage]) -> Result<usize> {
        Ok(messages.iter().map(|m| m.content.split_whitespace().count()).sum())
    }

    fn generate(
        &self,
        _: Prompt<'_>,
        _: &GenerateOptions,
        _: &CancelToken,
        on_delta: &mut dyn FnMut(&str),
    ) -> Result<Generation> {
        on_delta(&self.info.model);
        let timings = GenerationTimings::default();
        let text = self.info.model.clone();
        Ok(Generation { text, finish_reason: FinishReason::Stop, usage: TokenUsage::default(), timings })
    }

    fn score(&self, _: Prompt<'_>, _: &str, _: &CancelToken) -> Result<TokenScores> {
        Ok(TokenScores::default())
    }

    fn memory_bytes(&self) -> u64 {
        self.bytes
    }
}

/// Loads models whose memory is told by the test, and remembers which tuned ones it was asked for.
#[derive(Clone, Default)]
pub(super) struct Loader(Arc<LoaderState>);

#[derive(Default)]
pub(super) struct LoaderState {
    pub(super) loads: Mutex<Vec<String>>,
    pub(super) slow: Mutex<Duration>,
    pub(super) broken: Mutex<bool>,
}

/// Memory of every tuned model.
pub(super) const TUNED_BYTES: u64 = 1000;

impl ModelLoader for Loader {
    fn embedder_name(&self) -> &'static str {
        "none"
    }
    fn reranker_name(&self) -> Option<&str> {
        None
    }
    fn generator_name(&self) -> &'static str {
        BASE
    }
    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        Err(Error::not_found("no embedder"))
    }
    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Err(Error::not_found("no reranker"))
    }
    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Ok(Named::load(BASE, 0))
    }
    fn other_base(&self, name: &str) -> Result<Arc<dyn Generator>> {
        self.0.loads.lock().push(name.to_owned());
        Ok(Named::load(name, TUNED_BYTES))
    }
    fn trainable(&self) -> Vec<String> {
        vec![BASE.to_owned(), OTHER_BASE.to_owned()]
    }
    fn tuned(&self, model: &TunedModel) -> Result<Arc<dyn Generator>> {
        assert!(model.folder.join("adapter_config.json").exists() || model.folder.join("config.json").exists());
        if *self.0.broken.lock() {
            return Err(Error::new(anser_core::ErrorKind::Corrupt, "the adapter is damaged"));
        }
        std::thread::sleep(*self.0.slow.lock());
        self.0.loads.lock().push(model.id.clone());
        Ok(Named::load(&model.id, TUNED_BYTES))
    }
}

/// An engine on a folder of its own.
pub(super) struct Bench {
    pub(super) folder: TempDir,
    pub(super) engine: Arc<Engine>,
    pub(super) trainer: Arc<FakeTrainer>,
    pub(super) loader: Loader,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (trainer, loader) = (Arc::<FakeTrainer>::default(), Loader::default());
        let engine = open(folder.path(), &trainer, &loader).unwrap();
        Self { folder, engine, trainer, loader }
    }

    /// The same data folder as another process sees it.
    pub(super) fn other_process(&self) -> Arc<Engine> {
        open(self.folder.path(), &self.trainer, &self.loader).unwrap()
    }

    pub(super) fn upload(&self, text: &str) -> StoredFile {
        upload(&self.engine, text).unwrap()
    }

    /// A job over good data.
    pub(super) fn job(&self, change: impl FnOnce(&mut FineTuningRequest)) -> FineTuningJob {
        let file = self.upload(&examples());
        let mut request =
            FineTuningRequest { model: BASE.into(), training_file: file.id, ..FineTuningRequest::default() };
        change(&mut request);
        self.engine.create_fine_tuning_job(&request).unwrap()
    }

    /// Runs everything that waits.
    pub(super) fn run(&self) {
        while self.engine.run_next_job().unwrap().is_some() {}
    }

    /// A tuned model.
    pub(super) fn tuned(&self) -> String {
        let job = self.job(|_| {});
        self.run();
        self.engine.fine_tuning_job(&job.id).unwrap().fine_tuned_model.unwrap()
    }

    pub(super) fn status(&self, id: &str) -> FineTuningStatus {
        self.engine.fine_tuning_job(id).unwrap().status
    }

    pub(super) fn events(&self, id: &str) -> Vec<JobEvent> {
        let page = PageRequest { ascending: true, ..PageRequest::all() };
        self.engine.fine_tuning_events(id, &page).unwrap().items
    }

    pub(super) fn control(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("control.sqlite")).unwrap()
    }

    /// Names below a folder of the data folder.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.folder.path().join(folder)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

pub(super) fn open(
    folder: &Path,
    trainer: &Arc<FakeTrainer>,
    loader: &Loader,
) -> std::result::Result<Arc<Engine>, EngineError> {
    let data = DataDir::open(folder).unwrap();
    let options = EngineOptions { max_file_bytes: 4000, tuned_memory_bytes: 2500, ..EngineOptions::default() };
    let trainer = Arc::clone(trainer) as Arc<dyn Trainer>;
    Engine::open(&data, ServedModels::new(loader.clone()), Some(trainer), options).map(Arc::new)
}

pub(super) fn upload(engine: &Engine, text: &str) -> std::result::Result<StoredFile, EngineError> {
    let mut upload = engine.begin_upload("train.jsonl", FilePurpose::FineTune, None)?;
    upload.write_all(text.as_bytes()).unwrap();
    upload.finish()
}
