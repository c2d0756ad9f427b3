//! Choosing the next token from the decoder's logits.

use anser_core::GenerateOptions;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::GenerateError;

/// Tokens at the end of the prompt whose repetition is penalised; the whole output is.
const PROMPT_WINDOW: usize = 64;
/// Candidates that nucleus sampling sorts first; more are sorted only when these do not reach `top_p`.
const FIRST_CANDIDATES: usize = 128;

/// Chooses tokens as [`GenerateOptions`] says.
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f64,
    penalty: f32,
    random: ChaCha8Rng,
    /// Tokens to penalise, each once.
    seen: Vec<u32>,
    /// Tokens that are never penalised: control tokens, or a reply could not end after a prompt that contains ends.
    exempt: Vec<u32>,
}

impl Sampler {
    /// A sampler for a reply to `prompt`.
    pub(crate) fn new(options: &GenerateOptions, prompt: &[u32], exempt: Vec<u32>) -> Self {
        let random = options.seed.map_or_else(|| ChaCha8Rng::from_rng(&mut rand::rng()), ChaCha8Rng::seed_from_u64);
        let mut sampler = Self {
            temperature: options.temperature,
            top_p: options.top_p.into(),
            penalty: options.repetition_penalty,
            random,
            seen: Vec::new(),
            exempt,
        };
        for token in &prompt[prompt.len().saturating_sub(PROMPT_WINDOW)..] {
            sampler.note(*token);
        }
        sampler
    }

    /// Remembers `token` as seen.
    fn note(&mut self, token: u32) {
        if !self.seen.contains(&token) && !self.exempt.contains(&token) {
            self.seen.push(token);
        }
    }

    /// The next token; `logits` has one value for each token of the vocabulary and is overwritten.
    pub(crate) fn next(&mut self, logits: &mut [f32]) -> Result<u32, GenerateError> {
        self.penalise(logits);
        let token = if self.temperature == 0.0 { largest(logits) } else { self.draw(logits) }
            .ok_or_else(|| GenerateError::Model("the logits are not finite".to_owned()))?;
        self.note(token);
        Ok(token)
    }

    /// Repetition penalty of CTRL (Keskar et al. 2019): a seen token's logit moves away from being chosen by a factor.
    #[expect(clippy::float_cmp, reason = "exactly 1 is the documented way to switch the penalty off")]
    fn penalise(&self, logits: &mut [f32]) {
        if self.penalty == 1.0 {
            return;
        }
        for token in &self.seen {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = if *logit > 0.0 { *logit / self.penalty } else { *logit * self.penalty };
            }
        }
    }

    /// Draws from the smallest set of most probable tokens whose share reaches `top_p` (Holtzman et al. 2020).
    fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        let highest = logits[largest(logits)? as usize];
        let weight = |logit: f32| f64::from((logit - highest) / self.temperature).exp();
        let mut weighted: Vec<(f64, u32)> =
            logits.iter().zip(0..).map(|(logit, token)| (weight(*logit), token)).filter(|(w, _)| *w > 0.0).collect();
        let total: f64 = weighted.iter().map(|(weight, _)| weight).sum();
        let kept = if self.top_p < 1.0 { nucleus(&mut weighted, self.top_p * total) } else { weighted.len() };
        let candidates = &weighted[..kept];
        let mass: f64 = candidates.iter().map(|(weight, _)| weight).sum();
        let mut left = self.random.random::<f64>() * mass;
        for (weight, token) in candidates {
            left -= weight;
            if left < 0.0 {
                return Some(*token);
            }
        }
        candidates.last().map(|(_, token)| *token)
    }
}

/// Index of the largest value, the first of equals; `None` if no value is finite.
fn largest(logits: &[f32]) -> Option<u32> {
    let finite = logits.iter().zip(0_u32..).filter(|(logit, _)| logit.is_finite());
    finite.max_by(|(a, i), (b, j)| a.total_cmp(b).then(j.cmp(i))).map(|(_, token)| token)
}

/// Sorts the heaviest tokens to the front, equal weights by id, and returns how many of them reach `mass` together.
fn nucleus(weighted: &mut [(f64, u32)], mass: f64) -> usize {
    let heaviest_first = |a: &(f64, u32), b: &(f64, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    let mut sorted = FIRST_CANDIDATES.min(weighted.len());
    loop {
        if sorted < weighted.len() {
            weighted.select_nth_unstable_by(sorted, heaviest_first);
        }
        weighted[..sorted].sort_unstable_by(heaviest_first);
        let mut reached = 0.0;
        for (count, (weight, _)) in weighted[..sorted].iter().enumerate() {
            reached += weight;
            if reached >= mass {
                return count + 1;
            }
        }
        if sorted == weighted.len() {
            return sorted;
        }
        sorted = (sorted * 4).min(weighted.len());
    }
}

/// Refuses options outside their range.
pub(crate) fn check_options(options: &GenerateOptions) -> Result<(), GenerateError> {
    let refuse = |option, reason: String| Err(GenerateError::Option { option, reason });
    if !(0.0..=2.0).contains(&options.temperature) {
        return refuse("temperature", format!("must be between 0 and 2, not {}", options.temperature));
    }
    if !(options.top_p > 0.0 && options.top_p <= 1.0) {
        return refuse("top_p", format!("must be above 0 and at most 1, not {}", options.top_p));
    }
    if !(0.1..=10.0).contains(&options.repetition_penalty) {
        return refuse("repetition_penalty", format!("must be between 0.1 and 10, not {}", options.repetition_penalty));
    }
    if options.max_tokens == Some(0) {
        return refuse("max_tokens", "must be at least 1".to_owned());
    }
    if options.stop.iter().any(String::is_empty) {
        return refuse("stop", "must not contain an empty text".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(options: &GenerateOptions) -> Sampler {
        Sampler::new(options, &[], Vec::new())
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let mut greedy = sampler(&GenerateOptions::default());
        assert_eq!(greedy.next(&mut [0.0, 3.0, -1.0, 3.0]).unwrap(), 1);
        assert_eq!(greedy.next(&mut [f32::NAN, -3.0, f32::NEG_INFINITY]).unwrap(), 1);
        assert_eq!(greedy.next(&mut [f32::NAN]).unwrap_err().kind(), anser_core::ErrorKind::Internal);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let options = GenerateOptions { temperature: 1.0, seed: Some(7), ..GenerateOptions::default() };
        let mut drawn = sampler(&options);
        let mut counts = [0_usize; 3];
        for _ in 0..4000 {
            let token = drawn.next(&mut [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()]).unwrap();
            counts[token as usize] += 1;
        }
        for (count, share) in counts.iter().zip([0.5, 0.3, 0.2]) {
            assert!((*count as f64 / 4000.0 - share).abs() < 0.03, "{counts:?}");
        }
    }

    #[test]
    fn the_nucleus_leaves_the_tail_out() {
        let options = GenerateOptions { temperature: 1.0, top_p: 0.75, seed: Some(1), ..GenerateOptions::default() };
        let mut drawn = sampler(&options);
        let logits = [0.2_f32.ln(), 0.5_f32.ln(), 0.3_f32.ln()];
        let tokens: Vec<u32> = (0..300).map(|_| drawn.next(&mut logits.clone()).unwrap()).collect();
        assert!(tokens.contains(&1) && tokens.contains(&2) && !tokens.contains(&0));
    }

    #[test]
    fn the_nucleus_grows_past_the_first_candidates() {
        let mut flat: Vec<(f64, u32)> = (0..1000).map(|token| (1.0, token)).collect();
        assert_eq!(nucleus(&mut flat, 900.0), 900);
        assert_eq!(flat[899], (1.0, 899));
        assert_eq!(nucleus(&mut flat, 2000.0), 1000);
    }

    #[test]
    fn a_seed_decides_every_draw() {
        let draw = |seed| -> Vec<u32> {
            let options = GenerateOptions { temperature: 1.5, seed, ..GenerateOptions::default() };
            let mut drawn = sampler(&options);
            (0..50).map(|_| drawn.next(&mut [0.0; 64]).unwrap()).collect()
        };
        assert_eq!(draw(Some(3)), draw(Some(3)));
        assert_ne!(draw(Some(3)), draw(Some(4)));
        assert_ne!(draw(None), draw(None));
    }

    #[test]
    fn repetition_is_penalised_except_for_control_tokens() {
        let options = GenerateOptions { repetition_penalty: 2.0, ..GenerateOptions::default() };
        let mut penalised = Sampler::new(&options, &[0, 1], vec![1]);
        let mut logits = [4.0, 3.0, 1.9, -1.0];
        assert_eq!(penalised.next(&mut logits).unwrap(), 1);
        assert_eq!(logits.map(f32::to_bits), [2.0, 3.0, 1.9, -1.0_f32].map(f32::to_bits));
        let mut negative = [-1.0, f32::NEG_INFINITY, -1.5, f32::NEG_INFINITY];
        assert_eq!(penalised.next(&mut negative).unwrap(), 2);
    }

    #[test]
    fn options_out_of_range_are_named() {
        let fine = GenerateOptions::default();
        assert!(check_options(&fine).is_ok());
        let wrong = [
            (GenerateOptions { temperature: f32::NAN, ..fine.clone() }, "temperature"),
            (GenerateOptions { temperature: -0.1, ..fine.clone() }, "temperature"),
            (GenerateOptions { top_p: 0.0, ..fine.clone() }, "top_p"),
            (GenerateOptions { repetition_penalty: 0.0, ..fine.clone() }, "repetition_penalty"),
            (GenerateOptions { max_tokens: Some(0), ..fine.clone() }, "max_tokens"),
            (GenerateOptions { stop: vec![String::new()], ..fine }, "stop"),
        ];
        for (options, name) in wrong {
            let error = anser_core::Error::from(check_options(&options).unwrap_err());
            assert_eq!((error.kind(), error.param()), (anser_core::ErrorKind::InvalidInput, Some(name)));
        }
    }
}
