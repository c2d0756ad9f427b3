use super::*;
use crate::adapter::{LoraAdapter, LoraPair};
use crate::tiny_model::TinyModel;

fn decoder() -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    let mut base = BaseModel::open(&TinyModel::default().write(folder.path())).unwrap();
    Decoder::load(&mut base, 2, Device::Cpu, None).unwrap()
}

fn read(decoder: &mut Decoder, prompt: &[u32], adapter: Option<&Arc<LoadedAdapter>>) -> (Sequence, Vec<f32>) {
    let mut reading = decoder.begin(prompt.to_vec(), prompt.len(), adapter.cloned());
    loop {
        if let Some(logits) = decoder.read(&mut reading).unwrap() {
            return (reading.into_sequence(), logits);
        }
    }
}

fn step(decoder: &Decoder, sequence: &mut Sequence, token: u32) -> Vec<f32> {
    decoder.step(&mut [Piece { sequence, tokens: &[token], adapter: None }]).unwrap()
}

fn logits(decoder: &mut Decoder, prompt: &[u32]) -> Vec<f32> {
    let (mut sequence, mut logits) = read(decoder, prompt, None);
    logits.extend(step(decoder, &mut sequence, 7));
    logits
}

/// An adapter on two projections; `seed` tells adapters apart.
fn adapter(seed: usize) -> Arc<LoadedAdapter> {
    let config = decoder().config;
    let value = |at: usize| ((at * 7919 + seed * 104_729) % 1009) as f32 / 1000.0 - 0.5;
    let pair = |inputs: usize, outputs: usize| LoraPair {
        a: (0..2 * inputs).map(value).collect(),
        b: (0..outputs * 2).map(|at| value(at + 17)).collect(),
        rank: 2,
        inputs,
        outputs,
        scale: 1.5,
    };
    let updates = [
        ("model.layers.0.self_attn.k_proj".to_owned(), pair(32, 16)),
        ("model.layers.1.mlp.down_proj".to_owned(), pair(64, 32)),
    ];
    let adapter = LoraAdapter { config: crate::AdapterConfig::default(), updates: updates.into() };
    adapter.check(&config).unwrap();
    Arc::new(LoadedAdapter::new(adapter, &config))
}

#[test]
fn a_kept_prefix_changes_no_bit_of_the_logits() {
    let instructions: Vec<u32> = (0..300).map(|i| i * 31 % 250).collect();
    let prompt =
        |tail: u32| -> Vec<u32> { instructions.iter().copied().chain((0..100).map(|i| (i * tail) % 250)).collect() };
    let mut kept = decoder();
    for tail in [3, 5, 7, 11] {
        assert_eq!(logits(&mut kept, &prompt(tail)), logits(&mut decoder(), &prompt(tail)), "{tail}");
    }
    let (tokens, sequence) = kept.prefixes[0].state.as_ref().unwrap();
    assert_eq!((tokens.as_slice(), sequence.length()), (&instructions[..256], 256));
    // The same prompt again, a prompt inside the prefix, and an unlike one.
    for other in [prompt(11), instructions[..256].to_vec(), instructions[..200].to_vec(), vec![9; 300]] {
        assert_eq!(logits(&mut kept, &other), logits(&mut decoder(), &other));
    }
}

#[test]
fn each_adapter_has_a_prefix_of_its_own_and_takes_it_along() {
    let prompt: Vec<u32> = (0..300).map(|i| i * 31 % 250).collect();
    let adapters = [None, Some(adapter(1)), Some(adapter(2))];
    let mut shared = decoder();
    for _ in 0..3 {
        for adapter in &adapters {
            let fresh = read(&mut decoder(), &prompt, adapter.as_ref()).1;
            assert_eq!(read(&mut shared, &prompt, adapter.as_ref()).1, fresh);
        }
    }
    assert_eq!(shared.prefixes.iter().filter(|prefix| prefix.state.is_some()).count(), 3);
    let [plain, first, second] = adapters.each_ref().map(|adapter| read(&mut shared, &prompt, adapter.as_ref()).1);
    assert!(plain != first && first != second && second != plain);
    drop(adapters);
    read(&mut shared, &prompt, None);
    assert_eq!(shared.prefixes.len(), 1);
}

#[test]
fn chunks_do_not_change_what_is_read() {
    let prompt: Vec<u32> = (0..200).map(|i| i * 17 % 250).collect();
    let mut decoder = decoder();
    let chunked = read(&mut decoder, &prompt, None).1;
    let mut sequence = Sequence::new(decoder.config.blocks);
    let single = prompt.iter().map(|token| step(&decoder, &mut sequence, *token)).last().unwrap();
    for (a, b) in chunked.iter().zip(&single) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
}

#[test]
fn sequences_that_are_read_together_do_not_touch_each_other() {
    let mut decoder = decoder();
    let adapters = [None, Some(adapter(1)), Some(adapter(2))];
    let prompts: Vec<Vec<u32>> = (1..=3).map(|k| (0..40 * k).map(|i| i * 13 % 200 + k).collect()).collect();
    let mut started: Vec<Sequence> = Vec::new();
    for (prompt, adapter) in prompts.iter().zip(&adapters) {
        started.push(read(&mut decoder, prompt, adapter.as_ref()).0);
    }
    let alone: Vec<f32> = started
        .iter()
        .zip(&adapters)
        .flat_map(|(sequence, adapter)| {
            let mut sequence = sequence.clone();
            decoder.step(&mut [Piece { sequence: &mut sequence, tokens: &[5], adapter: adapter.as_deref() }]).unwrap()
        })
        .collect();
    let mut pieces: Vec<Piece> = started
        .iter_mut()
        .zip(&adapters)
        .map(|(sequence, adapter)| Piece { sequence, tokens: &[5], adapter: adapter.as_deref() })
        .collect();
    assert_eq!(decoder.step(&mut pieces).unwrap(), alone);
}

#[test]
fn scores_are_the_log_probabilities_that_generation_would_see() {
    let mut decoder = decoder();
    let tokens: Vec<u32> = (0..300).map(|i| i * 29 % 250).collect();
    let first = 140;
    for _ in 0..2 {
        let mut reading = decoder.begin(tokens.clone(), first, None);
        let mut scores = Vec::new();
        while !reading.is_done() {
            scores.extend(decoder.score(&mut reading, first - 1).unwrap());
        }
        assert_eq!(scores.len(), tokens.len() - first);
        let (mut sequence, mut logits) = read(&mut self::decoder(), &tokens[..first], None);
        for ((score, likeliest), token) in scores.iter().zip(&tokens[first..]) {
            let (expected, top) = log_probability(&logits, *token);
            assert!((score - expected).abs() < 1e-3 && *likeliest == top, "{score} {expected}");
            logits = step(&decoder, &mut sequence, *token);
        }
        let total: f64 = (0..logits.len() as u32).map(|token| f64::from(log_probability(&logits, token).0).exp()).sum();
        assert!((total - 1.0).abs() < 1e-4, "{total}");
    }
}

#[test]
fn a_token_outside_the_vocabulary_and_one_past_the_context_are_errors() {
    let mut decoder = decoder();
    let mut reading = decoder.begin(vec![1, 999], 2, None);
    assert!(decoder.read(&mut reading).is_err());
    decoder.context_length = 4;
    let mut sequence = read(&mut decoder, &[1, 2, 3, 4], None).0;
    assert!(decoder.step(&mut [Piece { sequence: &mut sequence, tokens: &[1], adapter: None }]).is_err());
}

mod device;
