//! Every family beside an independent implementation of it, alone and in padded batches, in every float type.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anser_core::ErrorKind;
use candle_core::{Device as CandleDevice, Tensor};
use candle_nn::{Module, VarBuilder, VarMap};
use candle_transformers::models::{bert, distilbert, jina_bert, modernbert, nomic_bert, qwen3, xlm_roberta};
use serde_json::{Value, json};

use super::*;

const CPU: CandleDevice = CandleDevice::Cpu;
const VOCABULARY: u32 = 90;

/// A family's name and the configuration of a small model of it.
fn families() -> Vec<(&'static str, Value)> {
    let sizes = json!({
        "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 48, "vocab_size": VOCABULARY,
        "max_position_embeddings": 66, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
        "position_embedding_type": "absolute",
    });
    let with = |more: Value| {
        let mut config = sizes.clone();
        for (name, value) in more.as_object().unwrap() {
            config[name] = value.clone();
        }
        config
    };
    vec![
        ("bert", with(json!({"model_type": "bert"}))),
        ("xlm-roberta", with(json!({"model_type": "xlm-roberta", "pad_token_id": 1, "type_vocab_size": 1}))),
        // The reference takes the approximation of GELU where the family has the exact one.
        (
            "distilbert",
            json!({
                "model_type": "distilbert", "dim": 32, "n_heads": 4, "n_layers": 3, "hidden_dim": 48, "activation": "relu",
                "vocab_size": VOCABULARY, "max_position_embeddings": 66, "initializer_range": 0.02, "pad_token_id": 0,
            }),
        ),
        (
            "modernbert",
            with(json!({
                "model_type": "modernbert", "layer_norm_eps": 1e-5, "global_attn_every_n_layers": 2, "local_attention": 6,
                "global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0,
            })),
        ),
        (
            "nomic_bert",
            json!({
                "model_type": "nomic_bert", "n_embd": 32, "n_head": 4, "n_layer": 3, "n_inner": 48, "n_positions": 66,
                "vocab_size": VOCABULARY, "type_vocab_size": 2, "layer_norm_epsilon": 1e-12, "rotary_emb_fraction": 1.0,
                "rotary_emb_base": 1000, "rotary_emb_interleaved": false, "activation_function": "swiglu", "prenorm": false,
            }),
        ),
        (
            "jina_bert",
            with(json!({"model_type": "bert", "position_embedding_type": "alibi", "num_attention_heads": 4})),
        ),
        (
            "qwen3",
            with(json!({
                "model_type": "qwen3", "head_dim": 12, "num_key_value_heads": 2, "attention_bias": false,
                "sliding_window": null, "max_window_layers": 3, "tie_word_embeddings": true, "rope_theta": 1e6,
                "rms_norm_eps": 1e-6, "use_sliding_window": false, "hidden_act": "silu",
            })),
        ),
    ]
}

/// States of one text behind the last layer, [tokens, hidden], by the reference.
fn reference(family: &str, config: &Value, vb: VarBuilder<'_>, ids: &[u32]) -> Tensor {
    let read = || config.clone();
    let ids = Tensor::new(ids, &CPU).unwrap().unsqueeze(0).unwrap();
    let (zeros, ones) = (ids.zeros_like().unwrap(), ids.ones_like().unwrap());
    let states = match family {
        "bert" => {
            let config: bert::Config = serde_json::from_value(read()).unwrap();
            bert::BertModel::load(vb, &config).unwrap().forward(&ids, &zeros, None)
        }
        "xlm-roberta" => {
            let config: xlm_roberta::Config = serde_json::from_value(read()).unwrap();
            let model = xlm_roberta::XLMRobertaModel::new(&config, vb).unwrap();
            model.forward(&ids, &ones, &zeros, None, None, None)
        }
        "distilbert" => {
            let config: distilbert::Config = serde_json::from_value(read()).unwrap();
            let mask = zeros.to_dtype(candle_core::DType::U8).unwrap();
            distilbert::DistilBertModel::load(vb, &config).unwrap().forward(&ids, &mask)
        }
        "modernbert" => {
            let config: modernbert::Config = serde_json::from_value(read()).unwrap();
            modernbert::ModernBert::load(vb, &config).unwrap().forward(&ids, &ones)
        }
        "nomic_bert" => {
            let config: nomic_bert::Config = serde_json::from_value(read()).unwrap();
            nomic_bert::NomicBertModel::load(vb, &config).unwrap().forward(&ids, None, None)
        }
        "jina_bert" => {
            let config: jina_bert::Config = serde_json::from_value(read()).unwrap();
            jina_bert::BertModel::new(vb, &config).unwrap().forward(&ids)
        }
        "qwen3" => {
            let config: qwen3::Config = serde_json::from_value(read()).unwrap();
            qwen3::Model::new(&config, vb).unwrap().forward(&ids, 0)
        }
        other => panic!("{other}"),
    };
    states.unwrap().squeeze(0).unwrap()
}

/// Writes a model with the tensors that the reference asks for, all random, and its configuration.
fn write_model(family: &str, config: &Value, folder: &Path) -> ModelFiles {
    let variables = VarMap::new();
    reference(family, config, VarBuilder::from_varmap(&variables, candle_core::DType::F32, &CPU), &[5, 6]);
    let variables = variables.data().lock().unwrap();
    let mut shapes: Vec<_> = variables.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
    shapes.sort();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let tensors: HashMap<String, Tensor> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let norm = shape.len() == 1 && name.ends_with("weight");
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let unit = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                    if norm { 1.0 + 0.3 * unit } else { 0.35 * unit }
                })
                .collect();
            (name, Tensor::from_vec(values, shape, &CPU).unwrap())
        })
        .collect();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    fs::write(folder.join(CONFIG), config.to_string()).unwrap();
    let file = |name: &str| json!({"name": name, "bytes": 1, "sha256": "0"});
    let spec = json!({
        "name": family, "role": "embedder", "description": "", "upstream": "", "licence": "MIT", "max_tokens": 64,
        "file": [file("model.safetensors"), file(CONFIG)],
    });
    ModelFiles { spec: serde_json::from_value(spec).unwrap(), dir: folder.to_owned() }
}

/// Texts of many lengths, without the padding tokens' ids.
fn texts() -> Vec<Input> {
    let length = |text: usize| 1 + text * 7 % 63;
    (0..40)
        .map(|text| Input {
            ids: (0..length(text)).map(|at| (2 + (at * 31 + text * 17) % (VOCABULARY as usize - 2)) as u32).collect(),
            text: String::new(),
        })
        .collect()
}

fn expected(states: &Tensor, pooling: Pooling) -> Vec<f32> {
    let vector = match pooling {
        Pooling::Cls => states.get(0),
        Pooling::Mean => states.mean(0),
        Pooling::LastToken => states.get(states.dim(0).unwrap() - 1),
    };
    vector.unwrap().to_vec1().unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn farthest(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, |most, value| if value.is_nan() { f32::NAN } else { value.max(most) })
}

#[test]
fn every_family_gives_the_vectors_of_the_reference_whatever_it_is_batched_with() {
    for (family, config) in families() {
        let folder = tempfile::tempdir().unwrap();
        let files = write_model(family, &config, folder.path());
        assert!(CandleBackend::supports(&files), "{family}");
        let bytes = fs::read(folder.path().join("model.safetensors")).unwrap();
        let vb = VarBuilder::from_buffered_safetensors(bytes, candle_core::DType::F32, &CPU).unwrap();
        let texts = texts();
        let states: Vec<Tensor> = texts.iter().map(|text| reference(family, &config, vb.clone(), &text.ids)).collect();
        for pooling in [Pooling::Cls, Pooling::Mean, Pooling::LastToken] {
            let backend = CandleBackend::load(&files, pooling, NumberFormat::F32, Device::Cpu).unwrap();
            assert_eq!(backend.name(), "candle f32");
            let vectors = backend.session(1).unwrap().run(&texts).unwrap();
            let expected: Vec<Vec<f32>> = states.iter().map(|states| expected(states, pooling)).collect();
            let distance = farthest(&vectors, &expected);
            assert!(distance < 1e-4, "{family} {pooling:?}: {distance}");
            // All in one padded batch, whatever their lengths.
            let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids.as_slice()).collect();
            let distance = farthest(&backend.encoder.vectors(&ids).unwrap(), &vectors);
            assert!(distance < 1e-5, "{family} {pooling:?}: {distance}");
        }
    }
}

#[test]
fn sixteen_bits_change_little_and_never_give_nan() {
    for (family, config) in families() {
        let folder = tempfile::tempdir().unwrap();
        let files = write_model(family, &config, folder.path());
        let texts = texts();
        let exact = CandleBackend::load(&files, Pooling::Mean, NumberFormat::F32, Device::Cpu).unwrap();
        let exact = exact.session(1).unwrap().run(&texts).unwrap();
        let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids.as_slice()).collect();
        for (dtype, least) in [(candle_core::DType::BF16, 0.995), (candle_core::DType::F16, 0.9995)] {
            let architecture = Architecture::read(&config.to_string()).unwrap();
            let paths = [folder.path().join("model.safetensors")];
            let weights = Weights::open(&paths, families::probe(architecture.family), dtype, &CPU).unwrap();
            let encoder = Encoder::load(architecture, &weights, Pooling::Mean, 64).unwrap();
            for (vector, exact) in encoder.vectors(&ids).unwrap().iter().zip(&exact) {
                let cosine = cosine(vector, exact);
                assert!(cosine > least, "{family} {dtype:?}: {cosine}");
            }
        }
    }
}

#[test]
fn weights_out_of_a_graph_give_the_vectors_of_the_safetensors() {
    for (family, config) in families().into_iter().take(3) {
        let folder = tempfile::tempdir().unwrap();
        let mut files = write_model(family, &config, folder.path());
        let vectors = |files: &ModelFiles| {
            let backend = CandleBackend::load(files, Pooling::Mean, NumberFormat::F32, Device::Cpu).unwrap();
            backend.session(1).unwrap().run(&texts()).unwrap()
        };
        let expected = vectors(&files);
        let encoder = anser_models::Encoder::read(&files).unwrap();
        let graph = encoder.to_onnx(Pooling::Mean, anser_models::GraphFormat::F32).unwrap();
        graph.write(&folder.path().join(GRAPH)).unwrap();
        fs::remove_file(folder.path().join("model.safetensors")).unwrap();
        files.spec.files[0].name = GRAPH.to_owned();
        assert!(CandleBackend::supports(&files), "{family}");
        let distance = farthest(&vectors(&files), &expected);
        assert!(distance < 1e-5, "{family}: {distance}");
    }
}

#[test]
fn long_texts_are_attended_to_in_blocks_of_queries() {
    let folder = tempfile::tempdir().unwrap();
    for (family, config) in families() {
        let files = write_model(family, &config, folder.path());
        let backend = CandleBackend::load(&files, Pooling::Mean, NumberFormat::F32, Device::Cpu).unwrap();
        let ids: Vec<u32> = texts().iter().flat_map(|text| text.ids.clone()).take(64).collect();
        let whole = backend.encoder.vectors(&[&ids]).unwrap();
        attention::in_blocks_of(7, || {
            let blocks = backend.encoder.vectors(&[&ids]).unwrap();
            assert!(farthest(&whole, &blocks) < 1e-5, "{family}");
        });
    }
}

#[test]
fn damaged_files_and_wrong_tokens_are_errors_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let (family, config) = families().remove(0);
    let files = write_model(family, &config, folder.path());
    let load = |config: &Value| {
        fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
        CandleBackend::load(&files, Pooling::Mean, NumberFormat::F32, Device::Cpu)
    };
    let backend = load(&config).ok().unwrap();
    assert!(backend.encoder.vectors(&[&[1, VOCABULARY]]).unwrap_err().to_string().contains("90"));
    assert!(backend.encoder.vectors(&[&[]]).is_err());
    assert!(backend.encoder.vectors(&[&[1; 65]]).unwrap_err().to_string().contains("64"));
    for (field, value, named) in [
        ("num_hidden_layers", 4, "layer.3"),
        ("vocab_size", 91, "word_embeddings"),
        ("intermediate_size", 64, "intermediate"),
        ("num_attention_heads", 5, "5 heads"),
    ] {
        let mut wrong = config.clone();
        wrong[field] = value.into();
        let error = load(&wrong).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
    assert!(load(&config).is_ok());
    let error = CandleBackend::load(&files, Pooling::Mean, NumberFormat::Int8, Device::Cpu).err().unwrap();
    assert!(error.to_string().contains("f32 or bf16"), "{error}");
    let weights = folder.path().join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        fs::write(&weights, &bytes[..length]).unwrap();
        assert!(load(&config).is_err(), "{length}");
    }
}

#[test]
fn a_gpu_gives_the_vectors_of_the_processor() {
    let Some(device) = [Device::Cuda(0), Device::Metal].into_iter().find(|device| device::open(*device).is_ok()) else {
        eprintln!("skipped: no GPU that this build can use");
        return;
    };
    for (family, config) in families() {
        let folder = tempfile::tempdir().unwrap();
        let files = write_model(family, &config, folder.path());
        let vectors = |format, device| {
            let backend = CandleBackend::load(&files, Pooling::Mean, format, device).unwrap();
            backend.session(1).unwrap().run(&texts()).unwrap()
        };
        let exact = vectors(NumberFormat::F32, Device::Cpu);
        let distance = farthest(&vectors(NumberFormat::F32, device), &exact);
        assert!(distance < 1e-3, "{family}: {distance}");
        for (vector, exact) in vectors(NumberFormat::Bf16, device).iter().zip(&exact) {
            let cosine = cosine(vector, exact);
            assert!(cosine > 0.99, "{family}: {cosine}");
        }
    }
}
