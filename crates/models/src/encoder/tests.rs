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
        derived: None,
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
        graph: None,
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

/// Writes `encoder` as a graph into `folder` and gives back the model that lies there.
fn written_as_graph(encoder: &Encoder, format: GraphFormat, folder: &Path) -> ModelFiles {
    encoder.to_onnx(Pooling::Mean, format).unwrap().write(&folder.join(ONNX)).unwrap();
    fs::write(folder.join(CONFIG), encoder.config.to_json().to_string()).unwrap();
    model(folder, &[ONNX, CONFIG])
}

#[test]
fn every_family_comes_back_from_a_graph() {
    for family in FAMILIES {
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            let folder = tempfile::tempdir().unwrap();
            let mut encoder = example(family, 11);
            encoder.config.activation = activation;
            let files = written_as_graph(&encoder, GraphFormat::F32, folder.path());
            assert_eq!(Encoder::read(&files).unwrap(), encoder, "{family:?}");
        }
    }
}

/// Gives every constant a name that says nothing, except that bytes and their scales keep together.
fn nameless(model: &mut crate::onnx::ModelProto) {
    let graph = model.graph_mut();
    let mut names = std::collections::HashMap::new();
    for tensor in &mut graph.initializer {
        let (stem, end) = ["_quantized", "_scale"]
            .iter()
            .find_map(|end| tensor.name.strip_suffix(end).map(|stem| (stem.to_owned(), *end)))
            .unwrap_or((tensor.name.clone(), ""));
        let number = names.len();
        let new = names.entry(stem).or_insert_with(|| format!("onnx::tensor_{number}"));
        let new = format!("{new}{end}");
        for name in graph.node.iter_mut().flat_map(|node| &mut node.input).filter(|name| **name == tensor.name) {
            name.clone_from(&new);
        }
        tensor.name = new;
    }
}

#[test]
fn a_graph_without_names_is_read_by_where_its_nodes_stand() {
    for (family, format) in
        [(EncoderFamily::DistilBert, GraphFormat::F32), (EncoderFamily::DistilBert, GraphFormat::Int8)]
    {
        let folder = tempfile::tempdir().unwrap();
        let encoder = example(family, 17);
        let files = written_as_graph(&encoder, format, folder.path());
        let named = Encoder::read(&files).unwrap();
        let mut model = encoder.to_onnx(Pooling::Mean, format).unwrap();
        nameless(&mut model);
        assert!(!model.graph_mut().initializer.iter().any(|tensor| tensor.name.contains("layer")));
        model.write(&folder.path().join(ONNX)).unwrap();
        assert_eq!(Encoder::read(&files).unwrap(), named, "{family:?} {format:?}");
    }
}

#[test]
fn biases_that_a_graph_holds_once_do_not_mix_up_the_products() {
    // Exporters keep equal biases once, with a copy under the name of each other one.
    let folder = tempfile::tempdir().unwrap();
    let mut encoder = example(EncoderFamily::Bert, 19);
    let zeros = vec![0.0; encoder.config.hidden];
    for layer in &mut encoder.layers {
        for dense in [&mut layer.query, &mut layer.key, &mut layer.value] {
            dense.bias.clone_from(&zeros);
        }
    }
    let files = written_as_graph(&encoder, GraphFormat::F32, folder.path());
    let mut model = encoder.to_onnx(Pooling::Mean, GraphFormat::F32).unwrap();
    let graph = model.graph_mut();
    let kept = "encoder.layer.0.attention.self.query.bias";
    let copies: Vec<String> = graph
        .initializer
        .iter()
        .filter(|tensor| tensor.name != kept && tensor.to_f32().is_ok_and(|values| values == zeros))
        .map(|tensor| tensor.name.clone())
        .collect();
    assert_eq!(copies.len(), 3 * encoder.layers.len() - 1);
    graph.initializer.retain(|tensor| !copies.contains(&tensor.name));
    for copy in copies {
        graph.node.insert(0, crate::onnx::NodeProto::new("Identity", &[kept], &[&copy]));
    }
    model.write(&folder.path().join(ONNX)).unwrap();
    assert_eq!(Encoder::read(&files).unwrap(), encoder);
}

#[test]
fn bytes_come_back_as_near_as_their_scales_allow() {
    for family in FAMILIES {
        let folder = tempfile::tempdir().unwrap();
        let encoder = example(family, 13);
        let files = written_as_graph(&encoder, GraphFormat::Int8, folder.path());
        let read = Encoder::read(&files).unwrap();
        let near =
            |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.5 / 127.0);
        assert!(near(&read.tokens, &encoder.tokens) && read.tokens != encoder.tokens, "{family:?}");
        for (ours, theirs) in read.layers.iter().zip(&encoder.layers) {
            for (ours, theirs) in [
                (&ours.query, &theirs.query),
                (&ours.key, &theirs.key),
                (&ours.value, &theirs.value),
                (&ours.attention_output, &theirs.attention_output),
                (&ours.up, &theirs.up),
                (&ours.down, &theirs.down),
            ] {
                assert!(near(&ours.weight, &theirs.weight) && ours.bias == theirs.bias, "{family:?}");
            }
        }
        // What was quantised once is quantised again without loss.
        let again = written_as_graph(&read, GraphFormat::Int8, folder.path());
        assert!(near(&Encoder::read(&again).unwrap().tokens, &read.tokens));
    }
}

#[test]
fn a_graph_s_values_have_one_maker_each_and_stand_after_what_they_read() {
    for (family, pooling) in FAMILIES.into_iter().zip([Pooling::Cls, Pooling::Mean, Pooling::Cls]) {
        for format in [GraphFormat::F32, GraphFormat::Int8] {
            let mut model = example(family, 1).to_onnx(pooling, format).unwrap();
            let graph = model.graph_mut();
            let mut known: std::collections::HashSet<String> =
                graph.initializer.iter().map(|t| t.name.clone()).collect();
            assert_eq!(known.len(), graph.initializer.len());
            let mut read = std::collections::HashSet::new();
            known.extend(graph.input.iter().map(|input| input.name.clone()));
            for node in &graph.node {
                for input in &node.input {
                    assert!(known.contains(input), "{} reads {input} before it is made", node.name);
                    read.insert(input.clone());
                }
                for output in &node.output {
                    assert!(known.insert(output.clone()), "{output} is made twice");
                }
            }
            assert!(graph.output.iter().all(|output| known.contains(&output.name)));
            assert!(graph.initializer.iter().all(|tensor| read.contains(&tensor.name)), "a constant is never read");
        }
    }
    assert!(example(EncoderFamily::Bert, 1).to_onnx(Pooling::LastToken, GraphFormat::F32).is_err());
}

#[test]
fn a_config_that_claims_more_than_the_files_hold_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let encoder = example(EncoderFamily::Bert, 2);
    let files = written_as_graph(&encoder, GraphFormat::F32, folder.path());
    let huge = EncoderConfig { layers: usize::MAX, ..encoder.config };
    fs::write(folder.path().join(CONFIG), huge.to_json().to_string()).unwrap();
    let error = Encoder::read(&files).unwrap_err().to_string();
    assert!(error.contains("more than the model's files can hold"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_graph_is_read_or_refused(places in proptest::collection::vec((0.0..1.0f64, any::<u8>()), 1..6), int8 in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let encoder = example(EncoderFamily::Bert, 5);
        let format = if int8 { GraphFormat::Int8 } else { GraphFormat::F32 };
        let files = written_as_graph(&encoder, format, folder.path());
        let path = folder.path().join(ONNX);
        let mut bytes = fs::read(&path).unwrap();
        for (at, with) in places {
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] = with;
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(read) = Encoder::read(&files) {
            prop_assert_eq!(read.tokens.len(), encoder.tokens.len());
        }
    }

    #[test]
    fn nodes_in_disorder_are_read_or_refused(swaps in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..3usize), 1..20)) {
        let folder = tempfile::tempdir().unwrap();
        let encoder = example(EncoderFamily::Bert, 5);
        let files = written_as_graph(&encoder, GraphFormat::Int8, folder.path());
        let mut model = encoder.to_onnx(Pooling::Mean, GraphFormat::Int8).unwrap();
        let graph = model.graph_mut();
        for (a, b, what) in swaps {
            let (a, b) = (a.index(graph.node.len()), b.index(graph.node.len()));
            match what {
                0 => graph.node[a].input = graph.node[b].input.clone(),
                1 => graph.node[a].output = graph.node[b].output.clone(),
                _ => graph.node[a].op_type = graph.node[b].op_type.clone(),
            }
        }
        model.write(&folder.path().join(ONNX)).unwrap();
        let _ = Encoder::read(&files);
    }
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
