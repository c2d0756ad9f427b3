//! The decoder in candle's tensors beside the one on our own kernels: the same logits, the same text.

use candle_core::DType;

use super::*;

/// Numbers and place of a decoder under test.
fn place(dtype: DType) -> Place {
    Place { name: Device::Cpu, device: candle_core::Device::Cpu, dtype }
}

fn on(place: Place) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    let mut base = BaseModel::open(&TinyModel::default().write(folder.path())).unwrap();
    let config = base.config().clone();
    let context_length = config.context.min(USUAL_CONTEXT);
    let model = DeviceModel::load(&mut base, place, context_length).unwrap();
    assert!(model.bytes() > 0);
    Decoder { config, compute: Compute::Device(Box::new(model)), context_length, prefixes: Vec::new() }
}

fn assert_near(a: &[f32], b: &[f32], most: f32) {
    assert_eq!(a.len(), b.len());
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= most, "{at}: {a} {b}");
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map(|(token, _)| token as u32).unwrap()
}

/// Logits after a prompt and after each of `count` greedy tokens, and those tokens.
fn greedy(
    decoder: &mut Decoder,
    prompt: &[u32],
    adapter: Option<&Arc<LoadedAdapter>>,
    count: usize,
) -> (Vec<f32>, Vec<u32>) {
    let (mut sequence, mut logits) = read(decoder, prompt, adapter);
    let (mut all, mut tokens) = (logits.clone(), Vec::new());
    for _ in 0..count {
        let token = likeliest(&logits);
        tokens.push(token);
        let piece = Piece { sequence: &mut sequence, tokens: &[token], adapter: adapter.map(Arc::as_ref) };
        logits = decoder.step(&mut [piece]).unwrap();
        all.extend(&logits);
    }
    (all, tokens)
}

fn agrees(place: &Place, most: f32) {
    let prompt: Vec<u32> = (0..300).map(|i| i * 31 % 250).collect();
    for adapter in [None, Some(adapter(1)), Some(adapter(2))] {
        let expected = greedy(&mut decoder(), &prompt, adapter.as_ref(), 12);
        let got = greedy(&mut on(place.clone()), &prompt, adapter.as_ref(), 12);
        assert_eq!(got.1, expected.1);
        assert_near(&got.0, &expected.0, most);
    }
}

#[test]
fn it_says_what_the_processor_says_with_and_without_adapters() {
    agrees(&place(DType::F32), 1e-3);
}

#[test]
fn sixteen_bits_stay_near_and_finite() {
    let prompt: Vec<u32> = (0..200).map(|i| i * 31 % 250).collect();
    let expected = read(&mut decoder(), &prompt, None).1;
    let spread = expected.iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
    for (dtype, most) in [(DType::BF16, 0.1), (DType::F16, 0.02)] {
        let got = read(&mut on(place(dtype)), &prompt, None).1;
        assert!(got.iter().all(|logit| logit.is_finite()));
        assert_near(&got, &expected, most * spread);
    }
}

#[test]
fn a_kept_prefix_is_not_changed_by_those_who_continue_it() {
    let instructions: Vec<u32> = (0..300).map(|i| i * 31 % 250).collect();
    let prompt =
        |tail: u32| -> Vec<u32> { instructions.iter().copied().chain((0..20).map(|i| (i * tail) % 250)).collect() };
    let mut kept = on(place(DType::F32));
    for tail in [3, 5, 7, 3, 11, 5] {
        let expected = greedy(&mut on(place(DType::F32)), &prompt(tail), None, 4);
        let got = greedy(&mut kept, &prompt(tail), None, 4);
        assert_eq!(got.1, expected.1, "{tail}");
        assert_near(&got.0, &expected.0, 1e-4);
    }
    assert!(kept.prefixes[0].state.is_some());
}

#[test]
fn sequences_read_together_are_what_they_are_alone() {
    let mut decoder = on(place(DType::F32));
    let adapters = [None, Some(adapter(1)), None, Some(adapter(2))];
    let prompts: Vec<Vec<u32>> = (1..=4).map(|k| (0..40 * k).map(|i| i * 13 % 200 + k).collect()).collect();
    let mut started: Vec<Sequence> = Vec::new();
    for (prompt, adapter) in prompts.iter().zip(&adapters) {
        started.push(read(&mut decoder, prompt, adapter.as_ref()).0);
    }
    let mut alone = Vec::new();
    for (sequence, adapter) in started.iter().zip(&adapters) {
        let mut sequence = sequence.clone();
        let piece = Piece { sequence: &mut sequence, tokens: &[5], adapter: adapter.as_deref() };
        alone.extend(decoder.step(&mut [piece]).unwrap());
    }
    let pieces = started.iter_mut().zip(&adapters);
    let mut pieces: Vec<Piece<'_>> =
        pieces.map(|(sequence, adapter)| Piece { sequence, tokens: &[5], adapter: adapter.as_deref() }).collect();
    assert_near(&decoder.step(&mut pieces).unwrap(), &alone, 1e-4);
}

#[test]
fn scores_and_errors_are_the_processors() {
    let tokens: Vec<u32> = (0..300).map(|i| i * 29 % 250).collect();
    let scores = |mut decoder: Decoder| {
        let mut reading = decoder.begin(tokens.clone(), 140, None);
        let mut scores = Vec::new();
        while !reading.is_done() {
            scores.extend(decoder.score(&mut reading, 139).unwrap());
        }
        scores
    };
    let (expected, got) = (scores(decoder()), scores(on(place(DType::F32))));
    assert_eq!(expected.len(), got.len());
    for ((expected, top), (got, likeliest)) in expected.iter().zip(&got) {
        assert!((expected - got).abs() < 1e-3 && top == likeliest);
    }
    let mut decoder = on(place(DType::F32));
    let mut reading = decoder.begin(vec![1, 999], 2, None);
    assert!(decoder.read(&mut reading).unwrap_err().to_string().contains("vocabulary"));
}

#[test]
fn a_gpu_says_what_the_processor_says() {
    let Some(mut place) = [Device::Cuda(0), Device::Metal].into_iter().find_map(|device| Place::open(device).ok())
    else {
        eprintln!("skipped: no GPU that this build can use");
        return;
    };
    place.dtype = DType::F32;
    agrees(&place, 1e-2);
}
