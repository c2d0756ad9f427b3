//! The engine against a plain 64-bit encoder, on every instruction set of the machine.

use anser_models::{Activation, Dense, EncoderConfig, EncoderFamily, EncoderLayer, Norm};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

const FORMATS: [NumberFormat; 3] = [NumberFormat::F32, NumberFormat::Bf16, NumberFormat::Int8];

/// A small encoder with random weights of the size that trained ones have.
fn example(family: EncoderFamily, seed: u64) -> Encoder {
    let config = EncoderConfig {
        family,
        hidden: 64,
        layers: 2,
        heads: 2,
        intermediate: 100,
        vocabulary: 50,
        positions: 90,
        first_position: if family == EncoderFamily::Roberta { 2 } else { 0 },
        epsilon: 1e-6,
        activation: if family == EncoderFamily::DistilBert { Activation::GeluTanh } else { Activation::Gelu },
    };
    let (hidden, intermediate) = (config.hidden, config.intermediate);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut numbers =
        |count: usize, size: f32| (0..count).map(|_| random.random_range(-size..size)).collect::<Vec<f32>>();
    let (tokens, positions) = (numbers(config.vocabulary * hidden, 1.0), numbers(config.positions * hidden, 0.5));
    let token_type = if family == EncoderFamily::DistilBert { vec![0.0; hidden] } else { numbers(hidden, 0.5) };
    let mut norm = || Norm {
        weight: numbers(hidden, 0.5).iter().map(|weight| 1.0 + weight).collect(),
        bias: numbers(hidden, 0.3),
    };
    let norms = (0..config.layers).map(|_| (norm(), norm())).collect::<Vec<_>>();
    let first_norm = norm();
    let mut dense = |n: usize, k: usize| Dense { weight: numbers(n * k, 0.2), bias: numbers(n, 0.2) };
    let layers = norms.into_iter().map(|(attention_norm, output_norm)| EncoderLayer {
        query: dense(hidden, hidden),
        key: dense(hidden, hidden),
        value: dense(hidden, hidden),
        attention_output: dense(hidden, hidden),
        attention_norm,
        up: dense(intermediate, hidden),
        down: dense(hidden, intermediate),
        output_norm,
    });
    let layers = layers.collect();
    Encoder { config, tokens, positions, token_type, norm: first_norm, layers }
}

/// Rows of numbers in `f64`.
type Table = Vec<Vec<f64>>;

fn product(x: &Table, dense: &Dense) -> Table {
    let row = |x: &Vec<f64>| {
        let sums = dense.weight.chunks_exact(x.len()).zip(&dense.bias);
        sums.map(|(w, &b)| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>() + f64::from(b)).collect()
    };
    x.iter().map(row).collect()
}

fn normalised(x: &Table, addend: &Table, norm: &Norm, epsilon: f32) -> Table {
    let row = |(x, addend): (&Vec<f64>, &Vec<f64>)| {
        let x = x.iter().zip(addend).map(|(x, addend)| x + addend).collect::<Vec<f64>>();
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
        let columns = x.iter().zip(&norm.weight).zip(&norm.bias);
        columns.map(|((x, &w), &b)| (x - mean) * scale * f64::from(w) + f64::from(b)).collect()
    };
    x.iter().zip(addend).map(row).collect()
}

/// ∫ of the normal density from 0 to x by Simpson's rule, times x: nothing that the kernels use.
fn activated(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::Gelu => {
            let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let parts = 200;
            let step = x / f64::from(parts);
            let inner = (1..parts).map(|i| density(step * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 });
            x * (0.5 + (density(0.0) + density(x) + inner.sum::<f64>()) * step / 3.0)
        }
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
    }
}

fn attention(query: &Table, key: &Table, value: &Table, heads: usize) -> Table {
    let width = query[0].len() / heads;
    let mut out = vec![vec![0.0; query[0].len()]; query.len()];
    for head in 0..heads {
        let part = |row: &Vec<f64>| row[head * width..(head + 1) * width].to_vec();
        for (query, out) in query.iter().map(part).zip(&mut out) {
            let dot = |key: Vec<f64>| query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>();
            let weights = key.iter().map(part).map(|key| (dot(key) / (width as f64).sqrt()).exp()).collect::<Vec<_>>();
            let sum = weights.iter().sum::<f64>();
            for (value, weight) in value.iter().map(part).zip(weights) {
                let out = &mut out[head * width..(head + 1) * width];
                out.iter_mut().zip(value).for_each(|(out, value)| *out += weight / sum * value);
            }
        }
    }
    out
}

/// The pooled vector of one text.
fn exact(encoder: &Encoder, pooling: Pooling, ids: &[u32]) -> Vec<f64> {
    let config = &encoder.config;
    let hidden = config.hidden;
    let row =
        |table: &[f32], row: usize| table[row * hidden..(row + 1) * hidden].iter().map(|&x| f64::from(x)).collect();
    let tokens: Table = ids.iter().map(|&id| row(&encoder.tokens, id as usize)).collect();
    let positions = (0..ids.len()).map(|index| {
        let position: Vec<f64> = row(&encoder.positions, config.first_position + index);
        position.iter().zip(&encoder.token_type).map(|(x, &kind)| x + f64::from(kind)).collect()
    });
    let mut x = normalised(&tokens, &positions.collect(), &encoder.norm, config.epsilon);
    for layer in &encoder.layers {
        let [query, key, value] = [&layer.query, &layer.key, &layer.value].map(|dense| product(&x, dense));
        let attended = attention(&query, &key, &value, config.heads);
        x = normalised(&x, &product(&attended, &layer.attention_output), &layer.attention_norm, config.epsilon);
        let mut wide = product(&x, &layer.up);
        wide.iter_mut().flatten().for_each(|x| *x = activated(*x, config.activation));
        x = normalised(&x, &product(&wide, &layer.down), &layer.output_norm, config.epsilon);
    }
    match pooling {
        Pooling::Cls => x.swap_remove(0),
        Pooling::LastToken => x.pop().unwrap(),
        Pooling::Mean => {
            (0..hidden).map(|column| x.iter().map(|row| row[column]).sum::<f64>() / x.len() as f64).collect()
        }
    }
}

fn texts(seed: u64) -> Vec<Input> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let lengths = [3, 1, 17, 64, 33, 88, 2];
    let text = |length| Input { ids: (0..length).map(|_| random.random_range(0..50)).collect(), text: String::new() };
    lengths.map(text).into()
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let dot = a.iter().zip(b).map(|(&a, b)| f64::from(a) * b).sum::<f64>();
    let norms = a.iter().map(|&a| f64::from(a).powi(2)).sum::<f64>() * b.iter().map(|b| b * b).sum::<f64>();
    dot / norms.sqrt()
}

fn run(
    encoder: &Encoder,
    pooling: Pooling,
    (format, set): (NumberFormat, InstructionSet),
    batch: &[Input],
) -> Vec<Vec<f32>> {
    let backend = NativeBackend::new(encoder.clone(), pooling, format, set).unwrap();
    backend.session(1).unwrap().run(batch).unwrap()
}

#[test]
fn every_family_pooling_and_format_gives_the_vectors_of_the_exact_encoder() {
    let cases = [
        (EncoderFamily::Bert, Pooling::Mean),
        (EncoderFamily::DistilBert, Pooling::LastToken),
        (EncoderFamily::Roberta, Pooling::Cls),
    ];
    for (seed, (family, pooling)) in cases.into_iter().enumerate() {
        let encoder = example(family, seed as u64);
        let texts = texts(7);
        let wanted = texts.iter().map(|text| exact(&encoder, pooling, &text.ids)).collect::<Vec<_>>();
        for set in InstructionSet::available() {
            for format in FORMATS {
                let vectors = run(&encoder, pooling, (format, set), &texts);
                for (vector, wanted) in vectors.iter().zip(&wanted) {
                    let what = format!("{family:?}, {pooling:?}, {format:?} on {}", set.name());
                    let worst = match format {
                        NumberFormat::F32 => {
                            let error = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs();
                            let worst = vector.iter().zip(wanted).map(error).fold(0.0, f64::max);
                            assert!(worst < 1e-5, "{what}: {worst}");
                            1e-10
                        }
                        NumberFormat::Bf16 => 2e-4,
                        NumberFormat::Int8 => 2e-3,
                    };
                    let cosine = cosine(vector, wanted);
                    assert!(1.0 - cosine < worst, "{what}: cosine {cosine}");
                }
            }
        }
    }
}

#[test]
fn a_text_has_the_same_vector_whatever_runs_with_it() {
    let encoder = example(EncoderFamily::Bert, 3);
    let texts = texts(8);
    for set in InstructionSet::available() {
        for format in FORMATS {
            let together = run(&encoder, Pooling::Mean, (format, set), &texts);
            let backend = NativeBackend::new(encoder.clone(), Pooling::Mean, format, set).unwrap();
            let mut session = backend.session(1).unwrap();
            for (index, text) in texts.iter().enumerate().rev() {
                let alone = session.run(std::slice::from_ref(text)).unwrap();
                assert_eq!(alone[0], together[index], "text {index} in {format:?} on {}", set.name());
            }
            let backwards = texts.iter().rev().cloned().collect::<Vec<_>>();
            let backwards = session.run(&backwards).unwrap();
            assert!(backwards.iter().rev().eq(&together), "{format:?} on {}", set.name());
        }
    }
}

#[test]
fn what_the_network_does_not_know_is_refused_in_words() {
    let encoder = example(EncoderFamily::Roberta, 4);
    let backend = NativeBackend::new(encoder, Pooling::Mean, NumberFormat::F32, InstructionSet::best()).unwrap();
    let mut session = backend.session(1).unwrap();
    let mut refused = |ids: Vec<u32>| session.run(&[Input { ids, text: String::new() }]).unwrap_err();
    let message = refused(vec![0, 50]);
    assert!(message.contains("the id 50") && message.contains("50 tokens"), "{message}");
    assert!(refused(vec![u32::MAX]).contains("4294967295"));
    let message = refused(vec![1; 89]);
    assert!(message.contains("89 tokens") && message.contains("positions for 88"), "{message}");
    assert!(refused(Vec::new()).contains("no tokens"));
    assert!(session.run(&[Input { ids: vec![1; 88], text: String::new() }]).is_ok(), "it goes on after a failure");
    assert!(session.run(&[]).unwrap().is_empty());
}

#[test]
fn weights_that_are_no_numbers_never_panic() {
    for garbage in [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE] {
        let mut encoder = example(EncoderFamily::Bert, 5);
        for layer in &mut encoder.layers {
            layer.query.weight.fill(garbage);
            layer.up.weight[7] = garbage;
            layer.output_norm.bias.fill(garbage);
        }
        encoder.tokens[64..128].fill(garbage);
        for set in InstructionSet::available() {
            for format in FORMATS {
                assert_eq!(run(&encoder, Pooling::Mean, (format, set), &texts(9)).len(), 7);
            }
        }
    }
}

#[test]
fn shapes_that_pairs_do_not_fit_are_left_to_f32() {
    let mut encoder = example(EncoderFamily::Bert, 6);
    encoder.config.heads = 3;
    let error = NativeBackend::new(encoder, Pooling::Mean, NumberFormat::F32, InstructionSet::best()).unwrap_err();
    assert!(error.contains("3 heads"), "{error}");
    let mut encoder = example(EncoderFamily::Bert, 6);
    encoder.config.intermediate = 99;
    let error = NativeBackend::new(encoder, Pooling::Mean, NumberFormat::Bf16, InstructionSet::best()).unwrap_err();
    assert!(error.contains("99"), "{error}");
}
