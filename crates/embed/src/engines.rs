//! The ways in which a model can be run here, as far as the caller leaves them open.

use std::sync::Arc;

use anser_models::{ModelFiles, Pooling};

use crate::backend::Backend;
use crate::candle::CandleBackend;
use crate::choose::Candidate;
use crate::native::NativeBackend;
use crate::onnx::OnnxBackend;
use crate::options::{Engine, NumberFormat};
use crate::ragged::RaggedBackend;
use crate::source::ModelSource;
use crate::{EmbedError, EmbedOptions, RuntimeLibrary};

/// Formats in which candle multiplies, the most exact first.
const CANDLE_FORMATS: [NumberFormat; 2] = [NumberFormat::F32, NumberFormat::Bf16];

/// A model and what its engines are made from.
#[derive(Clone, Copy)]
pub(crate) struct Engines<'a> {
    pub(crate) files: &'a ModelFiles,
    pub(crate) source: &'a ModelSource,
    /// How states of tokens become a vector; `None` when a graph of ragged inputs does that itself.
    pub(crate) pooling: Option<Pooling>,
    pub(crate) runtime: &'a dyn RuntimeLibrary,
    pub(crate) options: &'a EmbedOptions,
}

/// Which engines can run a model on the device asked for.
#[derive(Debug, Clone, Copy)]
struct Possible {
    /// With the pooling that it has to do.
    native: Option<Pooling>,
    graph: bool,
    /// With the pooling that it has to do.
    candle: Option<Pooling>,
}

impl<'a> Engines<'a> {
    /// Every way to run the model that `options` allow, the most exact first.
    ///
    /// The ONNX Runtime library is not fetched only to be measured: where another engine runs the model too, ONNX Runtime
    /// takes part when its library is here or it is asked for. candle takes part on GPUs, and on processors when nothing
    /// else runs the model or it is asked for.
    pub(crate) fn candidates(self) -> Result<Vec<Candidate<'a>>, EmbedError> {
        let possible = self.possible();
        let asks = |engine: Engine| self.options.engine == Some(engine);
        let open = self.options.engine.is_none();
        let mut candidates = Vec::new();
        if let Some(pooling) = possible.native.filter(|_| open || asks(Engine::Native)) {
            candidates.extend(self.formats(&NumberFormat::ALL).map(|format| self.native(pooling, format)));
        }
        let measured = open && (possible.native.is_none() || self.runtime.is_here());
        // A graph is run in the format in which it was written.
        if possible.graph && self.options.format.is_none() && (measured || asks(Engine::Onnx)) {
            candidates.push(self.onnx());
        }
        if let Some(pooling) = possible.candle.filter(|_| asks(Engine::Candle) || open && candidates.is_empty()) {
            candidates.extend(self.formats(&CANDLE_FORMATS).map(|format| self.candle(pooling, format)));
        }
        if candidates.is_empty() { Err(self.none(possible)) } else { Ok(candidates) }
    }

    fn possible(self) -> Possible {
        let on_processor = self.options.device.is_cpu();
        Possible {
            native: self.pooling.filter(|_| on_processor && NativeBackend::supports(self.files)),
            graph: on_processor && self.source.has_graph(),
            candle: self.pooling.filter(|_| CandleBackend::supports(self.files)),
        }
    }

    /// Those of `formats` that may be used.
    fn formats(self, formats: &'static [NumberFormat]) -> impl Iterator<Item = NumberFormat> {
        let asked = self.options.format;
        formats.iter().copied().filter(move |format| asked.is_none_or(|asked| asked == *format))
    }

    fn native(self, pooling: Pooling, format: NumberFormat) -> Candidate<'a> {
        let files = self.files;
        let load = move || Ok(Arc::new(NativeBackend::load(files, pooling, format)?) as Arc<dyn Backend>);
        Candidate { name: format!("{} {format}", Engine::Native), load: Box::new(load) }
    }

    fn onnx(self) -> Candidate<'a> {
        let Self { files, source, pooling, runtime, .. } = self;
        let load = move || {
            let library = runtime.obtain()?;
            Ok(match pooling {
                Some(pooling) => Arc::new(OnnxBackend::load(source, pooling, &library)?) as Arc<dyn Backend>,
                None => Arc::new(RaggedBackend::load(files, &library)?),
            })
        };
        Candidate { name: Engine::Onnx.to_string(), load: Box::new(load) }
    }

    fn candle(self, pooling: Pooling, format: NumberFormat) -> Candidate<'a> {
        let Self { files, options, .. } = self;
        let load =
            move || Ok(Arc::new(CandleBackend::load(files, pooling, format, options.device)?) as Arc<dyn Backend>);
        Candidate { name: CandleBackend::title(format, options.device), load: Box::new(load) }
    }

    /// Why nothing is left, and what to do.
    fn none(self, possible: Possible) -> EmbedError {
        let options = self.options;
        let ways: Vec<&str> = [
            (possible.native.is_some(), "the native engine (f32, bf16 or int8)"),
            (possible.graph, "ONNX Runtime (leave the format out: the file decides it)"),
            (possible.candle.is_some(), "candle (f32 or bf16)"),
        ]
        .into_iter()
        .filter_map(|(possible, way)| possible.then_some(way))
        .collect();
        let reason = match ways.as_slice() {
            [] if options.device.is_cpu() => "no engine of this program reads its files; convert the model".to_owned(),
            [] => "no engine of this program runs it there; choose the device cpu".to_owned(),
            ways => format!("use {}", ways.join(" or ")),
        };
        EmbedError::NoEngine { model: self.files.spec.name.clone(), wanted: options.wanted(), reason }
    }
}
