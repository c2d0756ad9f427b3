//! Texts of chosen lengths in tokens, made of a corpus' words in the corpus' order.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::task::Lengths;
use crate::corpus;
use crate::error::BenchError;
use crate::workload::Corpus;

/// Tokens that a model adds to each text, at its beginning and end.
pub(crate) const SPECIAL: usize = 2;
/// Fewest tokens of a text: one word.
const SHORTEST: usize = SPECIAL + 1;

/// A corpus as words with their numbers of tokens.
pub(crate) struct Words {
    /// The words of each text.
    texts: Vec<Vec<(String, usize)>>,
    max_tokens: usize,
}

/// What was made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) texts: Vec<String>,
    /// Tokens of each text, special ones included.
    pub(crate) tokens: Vec<usize>,
}

impl Drawn {
    pub(crate) fn mean_tokens(&self) -> f64 {
        self.tokens.iter().sum::<usize>() as f64 / self.tokens.len().max(1) as f64
    }
}

impl Words {
    /// Cuts the corpus into words; `count` says how many tokens one has by itself. Texts of a model whose tokens never span
    /// words have the sum of their words' tokens.
    pub(crate) fn read(
        corpus: &Corpus,
        max_tokens: usize,
        count: impl Fn(&str) -> anser_core::Result<usize>,
    ) -> Result<Self, BenchError> {
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut texts = Vec::new();
        for text in corpus::all_texts(corpus)? {
            let mut words = Vec::new();
            for word in text.split_whitespace() {
                let tokens = match known.get(word) {
                    Some(tokens) => *tokens,
                    None => *known.entry(word.to_owned()).or_insert(count(word)?),
                };
                words.push((word.to_owned(), tokens));
            }
            texts.push(words);
        }
        Ok(Self { texts, max_tokens })
    }

    /// So many texts; the same seed gives the same ones.
    pub(crate) fn draw(&self, lengths: Lengths, count: usize, seed: u64) -> Drawn {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let wanted = self.lengths(lengths);
        let mut tokens: Vec<usize> = Vec::with_capacity(count);
        while tokens.len() < count {
            let mut order = wanted.clone();
            order.shuffle(&mut rng);
            tokens.extend(order.into_iter().take(count - tokens.len()));
        }
        let mut stream = Stream { words: self, order: Vec::new(), rng };
        let texts = tokens.iter_mut().map(|tokens| stream.text(tokens)).collect();
        Drawn { texts, tokens }
    }

    /// A length for each text of the corpus: its own, stretched until the mean is right.
    fn lengths(&self, lengths: Lengths) -> Vec<usize> {
        let mean = match lengths {
            Lengths::Each(tokens) => return vec![tokens.get().clamp(SHORTEST, self.max_tokens)],
            Lengths::Mean(tokens) => tokens.get() as f64,
        };
        let own: Vec<f64> =
            self.texts.iter().map(|words| words.iter().map(|(_, tokens)| tokens).sum::<usize>() as f64).collect();
        let stretched = |factor: f64| -> Vec<usize> {
            let bounded =
                |length: &f64| ((length * factor).round() as usize + SPECIAL).clamp(SHORTEST, self.max_tokens);
            own.iter().map(bounded).collect()
        };
        // What bounds cut off has to be made up for by the others.
        let mut factor = 1.0;
        for _ in 0..30 {
            let made = stretched(factor);
            factor *= mean / (made.iter().sum::<usize>() as f64 / made.len().max(1) as f64);
        }
        stretched(factor)
    }
}

/// The corpus' words without end, its texts in a new order each time.
struct Stream<'a> {
    words: &'a Words,
    /// What comes next, last first.
    order: Vec<&'a (String, usize)>,
    rng: ChaCha8Rng,
}

impl Stream<'_> {
    /// A text of so many tokens; a word that does not fit is left out. The number is corrected where no word fits.
    fn text(&mut self, tokens: &mut usize) -> String {
        let mut text = String::new();
        let (mut missing, mut refused) = (tokens.saturating_sub(SPECIAL), 0);
        while missing > 0 && refused < 1000 {
            let Some((word, cost)) = self.next() else { break };
            if (1..=missing).contains(cost) {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(word);
                missing -= cost;
            } else {
                refused += 1;
            }
        }
        *tokens -= missing;
        text
    }

    fn next(&mut self) -> Option<&(String, usize)> {
        if self.order.is_empty() {
            let mut texts: Vec<_> = self.words.texts.iter().collect();
            texts.shuffle(&mut self.rng);
            self.order = texts.into_iter().flatten().collect();
            self.order.reverse();
        }
        self.order.pop()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn words() -> Words {
        let corpus = Corpus { file: "examples/data/reviews.csv".into(), column: "text".into() };
        Words::read(&corpus, 256, |word| Ok(word.len().div_ceil(5))).unwrap()
    }

    fn number(value: usize) -> NonZeroUsize {
        NonZeroUsize::new(value).unwrap()
    }

    #[test]
    fn texts_have_the_tokens_that_were_asked_for() {
        let words = words();
        let counted = |text: &str| SPECIAL + text.split_whitespace().map(|word| word.len().div_ceil(5)).sum::<usize>();
        let each = words.draw(Lengths::Each(number(256)), 20, 1);
        assert_eq!(each.tokens, [256; 20]);
        let mean = words.draw(Lengths::Mean(number(57)), 1000, 1);
        assert!((mean.mean_tokens() - 57.0).abs() < 2.0, "{}", mean.mean_tokens());
        for drawn in [&each, &mean] {
            for (text, tokens) in drawn.texts.iter().zip(&drawn.tokens) {
                assert_eq!(counted(text), *tokens, "{text}");
            }
        }
        // Some are several times as long as others.
        let (shortest, longest) = (mean.tokens.iter().min().unwrap(), mean.tokens.iter().max().unwrap());
        assert!(longest > &(5 * shortest) && *longest <= 256, "{shortest} .. {longest}");
    }

    #[test]
    fn the_same_seed_gives_the_same_texts_and_another_gives_others() {
        let words = words();
        let draw = |seed| words.draw(Lengths::Mean(number(20)), 50, seed);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1).texts, draw(2).texts);
    }
}
