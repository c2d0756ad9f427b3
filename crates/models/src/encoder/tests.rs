//! Encoders written by the tests themselves, and read again.

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::*;
use crate::{FileSpec, ModelRole, ModelSpec, Pooling};

/// Small numbers that follow from a seed (xorshift), all exact in bf16.
fn numbers(seed: &mut u64, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            ((*seed % 255) as f32 - 127.0) / 128.0
        })
        .collect()
}

/// A small encoder of `family`.
pub(crate) fn example(family: EncoderFamily, seed: u64) -> Encoder {
    let config = EncoderConfig {
        family,
        hidden: 12,
        layers: 3,
        heads: 2,
        intermediate: 20,
        vocabulary: 17,
        positions: 11,
        first_position: if family == EncoderFamily::Roberta { 2 } else { 0 },
        epsilon: 1e-12,
        activation: Activation::Gelu,
    };
    let mut seed = seed.wrapping_mul(2_654_435_761) | 1;
    let (hidden, intermediate) = (config.hidden, config.intermediate);
    let mut dense = |outputs: usize, inputs: usize| Dense {
        weight: numbers(&mut seed, outputs * inputs),
        bias: numbers(&mut seed, outputs),
    };
    let products: Vec<[Dense; 6]> = (0..config.layers)
        .map(|_| {
            let square = [(); 4].map(|()| dense(hidden, hidden));
            let [query, key, value, output] = square;
            [query, key, value, output, dense(intermediate, hidden), dense(hidden, intermediate)]
        })
        .collect();
    let mut norm = || Norm { weight: numbers(&mut seed, hidden), bias: numbers(&mut seed, hidden) };
    let first = norm();
    let layers = products
        .into_iter()
        .map(|[query, key, value, attention_output, up, down]| EncoderLayer {
            query,
            key,
            value,
            attention_output,
            attention_norm: norm(),
            up,
            down,
            output_norm: norm(),
        })
        .collect();
    Encoder {
        tokens: numbers(&mut seed, config.vocabulary * hidden),
        positions: numbers(&mut seed, config.positions * hidden),
        token_type: if family == EncoderFamily::DistilBert { vec![0.0; hidden] } else { numbers(&mut seed, hidden) },
        norm: first,
        layers,
        config,
    }
}

pub(crate) const FAMILIES: [EncoderFamily; 3] =
    [EncoderFamily::Bert, EncoderFamily::DistilBert, EncoderFamily::Roberta];

/// The files of `folder` as a model.
pub(crate) fn model(folder: &Path, names: &[&str]) -> ModelFiles {
    let file = |name: &&str| FileSpec {
        name: (*name).to_owned(),
        bytes: 1,
        sha256: String::new(),
        hub_file: None,
        wheel_entry: None,
    };
    let spec = ModelSpec {
        name: "example".to_owned(),
        role: ModelRole::Embedder,
        description: String::new(),
        upstream: String::new(),
        licence: String::new(),
        platform: None,
        dimension: Some(12),
        dimensions: Vec::new(),
        max_tokens: Some(9),
        pooling: Some(Pooling::Mean),
        query_prefix: String::new(),
        passage_prefix: String::new(),
        hub: None,
        wheel: None,
        files: names.iter().map(file).collect(),
    };
    ModelFiles { spec, dir: folder.to_owned() }
}

/// Writes `encoder` into `folder` and gives back the model that lies there.
fn written(encoder: &Encoder, folder: &Path) -> ModelFiles {
    encoder.write_safetensors(&folder.join(SAFETENSORS)).unwrap();
    fs::write(folder.join(CONFIG), encoder.config.to_json().to_string()).unwrap();
    model(folder, &[SAFETENSORS, CONFIG])
}

/// The tensors of a file, if kept stored as `dtype` under a longer name.
fn rewrite(path: &Path, dtype: Dtype, prefix: &str, keep: &dyn Fn(&str) -> bool) {
    let whole = fs::read(path).unwrap();
    let mut stored = Vec::new();
    for (name, view) in SafeTensors::deserialize(&whole).unwrap().iter() {
        if !keep(name) {
            continue;
        }
        let values = view.data().as_chunks().0.iter().map(|four| f32::from_le_bytes(*four));
        let bytes: Vec<u8> = match dtype {
            Dtype::F16 => values.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
            Dtype::BF16 => values.flat_map(|v| bf16::from_f32(v).to_le_bytes()).collect(),
            _ => values.flat_map(f32::to_le_bytes).collect(),
        };
        stored.push((format!("{prefix}{name}"), view.shape().to_vec(), bytes));
    }
    let views = stored.iter().map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn every_family_comes_back_from_safetensors_in_every_float_format_and_under_every_prefix() {
    for family in FAMILIES {
        for (dtype, prefix) in [(Dtype::F32, ""), (Dtype::F16, "bert."), (Dtype::BF16, "0.auto_model.")] {
            let folder = tempfile::tempdir().unwrap();
            let encoder = example(family, 7);
            let files = written(&encoder, folder.path());
            rewrite(&folder.path().join(SAFETENSORS), dtype, prefix, &|_| true);
            assert_eq!(Encoder::read(&files).unwrap(), encoder, "{family:?} {dtype:?}");
        }
    }
}

#[test]
fn the_activation_and_the_epsilon_come_back_too() {
    for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
        let mut config = example(EncoderFamily::Bert, 1).config;
        config.activation = activation;
        config.epsilon = 1e-5;
        assert_eq!(EncoderConfig::parse(config.to_json().to_string().as_bytes()).unwrap(), config);
    }
}

#[test]
fn a_tensor_that_is_missing_or_of_another_shape_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = written(&example(EncoderFamily::Bert, 3), folder.path());
    let lacking = "encoder.layer.2.output.dense.bias";
    rewrite(&folder.path().join(SAFETENSORS), Dtype::F32, "", &|name| name != lacking);
    let error = Encoder::read(&files).unwrap_err();
    assert_eq!(error.kind(), anser_core::ErrorKind::Corrupt);
    assert!(error.to_string().contains(lacking), "{error}");

    let files = written(&example(EncoderFamily::Bert, 3), folder.path());
    let wide =
        fs::read_to_string(folder.path().join(CONFIG)).unwrap().replace("\"vocab_size\":17", "\"vocab_size\":18");
    fs::write(folder.path().join(CONFIG), wide).unwrap();
    let error = Encoder::read(&files).unwrap_err().to_string();
    assert!(error.contains("word_embeddings") && error.contains("[18, 12]"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_safetensors_file_is_read_or_refused(at in 0.0..1.0f64, with in any::<u8>(), cut in proptest::option::of(0.0..1.0f64)) {
        let folder = tempfile::tempdir().unwrap();
        let encoder = example(EncoderFamily::Bert, 5);
        let files = written(&encoder, folder.path());
        let path = folder.path().join(SAFETENSORS);
        let mut bytes = fs::read(&path).unwrap();
        // Damage to the header is the interesting kind.
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[(at * header as f64) as usize] = with;
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(read) = Encoder::read(&files) {
            prop_assert_eq!(read.tokens.len(), encoder.tokens.len());
        }
    }

    #[test]
    fn any_bytes_are_no_safetensors_file(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().unwrap();
        let files = written(&example(EncoderFamily::Bert, 5), folder.path());
        fs::write(folder.path().join(SAFETENSORS), bytes).unwrap();
        prop_assert!(Encoder::read(&files).is_err());
    }
}
