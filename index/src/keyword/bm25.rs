//! The formula that scores: BM25 (Robertson and Zaragoza 2009) with the inverse document frequency of Lucene, which is
//! never negative:
//!
//! `idf(n) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average))`, `idf(n) = ln(1 + (N - n + 0.5) / (n + 0.5))`
//!
//! where `n` of the collection's `N` texts hold the term, `tf` times in this one. A chunk's score is the sum over terms and
//! fields, the title's times a weight. A phrase scores as one term whose idf is the sum of its terms'.

use tantivy::fieldnorm::FieldNormReader;

use super::part::Lengths;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// How a field of the whole collection is scored. Removed texts do not count, wherever they still lie.
pub(super) struct FieldScorer {
    texts: u64,
    /// What is added to a term's count below the fraction, by the stored length of the text.
    norms: [f32; 256],
}

impl FieldScorer {
    /// For the texts of `lengths`.
    pub(super) fn new(lengths: Lengths) -> Self {
        let average = (lengths.terms as f64 / lengths.texts.max(1) as f64).max(1.0);
        let mut norms = [0.0; 256];
        for (code, norm) in (0..=u8::MAX).zip(&mut norms) {
            let length = f64::from(FieldNormReader::id_to_fieldnorm(code));
            *norm = (K1 * (1.0 - B + B * length / average)) as f32;
        }
        Self { texts: lengths.texts, norms }
    }

    /// What a term that occurs in `holding` texts is worth at most.
    pub(super) fn weight(&self, holding: u64) -> f64 {
        let (all, holding) = (self.texts.max(holding) as f64, holding as f64);
        (1.0 + (all - holding + 0.5) / (holding + 0.5)).ln() * (K1 + 1.0)
    }

    /// The share of its weight that a term has in a text where it occurs `count` times.
    pub(super) fn share(&self, count: u32, length_code: u8) -> f32 {
        let count = count as f32;
        count / (count + self.norms.get(usize::from(length_code)).copied().unwrap_or(1.0))
    }
}
