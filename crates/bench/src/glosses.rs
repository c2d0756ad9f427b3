//! A corpus of real short texts with their embeddings: the glosses of `WordNet` 3.1, which an npm package carries.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anser_core::{CancelToken, EmbedPurpose, Embedder, Embedding};
use anser_embed::{EmbedOptions, TextEmbedder};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::corpus::ROOT;
use crate::error::BenchError;
use crate::report::ModelRecord;
use crate::run::{Findings, Run};

/// Files of the package's dictionary, one for each part of speech.
const FILES: [&str; 4] = ["data.adj", "data.adv", "data.noun", "data.verb"];
/// Texts embedded between two lines of progress.
const BATCH: usize = 4096;
/// How far a made-up vector lies from the real one that it is made of, in lengths of the difference of two others.
const STEP: f32 = 0.5;

/// Where the package lies, relative to the repository's root, and the model that embeds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GlossCorpus {
    /// The unpacked package.
    pub(crate) package: PathBuf,
    /// Name in the catalogue.
    pub(crate) model: String,
}

/// The vectors of glosses, in an order drawn from a seed.
pub(crate) struct Glosses {
    vectors: Vec<Embedding>,
    seed: u64,
}

/// Vectors to be searched and vectors to search for, none of which is among the others.
pub(crate) struct Split {
    pub(crate) vectors: Vec<Embedding>,
    pub(crate) queries: Vec<Embedding>,
    /// How many of the vectors are those of real texts; the others were made of them.
    pub(crate) real: usize,
}

impl Glosses {
    /// Reads the texts and their vectors; the first time, the vectors are computed and kept beside the package. Where fewer
    /// than all are wanted, only the first ones of the order are.
    pub(crate) fn load(
        run: &Run,
        corpus: &GlossCorpus,
        (wanted, seed): (usize, u64),
        findings: &mut Findings,
    ) -> Result<Self, BenchError> {
        let package = Path::new(ROOT).join(&corpus.package);
        let texts = read(&package.join("dict"))?;
        let files = run.model(&corpus.model)?;
        let options = EmbedOptions { threads: num_cpus(), ..EmbedOptions::default() };
        let embedder = TextEmbedder::load(&files, &run.runtime()?, &options)?;
        let info = embedder.info().clone();
        findings.models.push(ModelRecord::of(&files));
        let tag: String = info.fingerprint.chars().take(16).collect();
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        order.truncate(wanted);
        let kept = package.join(format!("glosses-{tag}.f32"));
        if let Some(all) = stored(&kept, texts.len(), info.dimension)? {
            return Ok(Self { vectors: order.iter().filter_map(|at| all.get(*at).cloned()).collect(), seed });
        }
        if wanted >= texts.len() {
            let all = embed(&embedder, &texts, &kept)?;
            return Ok(Self { vectors: order.iter().filter_map(|at| all.get(*at).cloned()).collect(), seed });
        }
        let kept = package.join(format!("glosses-{tag}-{seed}-{wanted}.f32"));
        let vectors = if let Some(vectors) = stored(&kept, wanted, info.dimension)? {
            vectors
        } else {
            let chosen: Vec<String> = order.iter().filter_map(|at| texts.get(*at).cloned()).collect();
            embed(&embedder, &chosen, &kept)?
        };
        Ok(Self { vectors, seed })
    }

    /// The last `queries` vectors to search for, and `count` others. Beyond the number of real ones, vectors are made: a
    /// real one plus half of the difference of two others, which keeps the directions in which real ones vary.
    pub(crate) fn split(&self, count: usize, queries: usize) -> Result<Split, BenchError> {
        let (rest, asked) = self.vectors.split_at(self.vectors.len().saturating_sub(queries));
        let real = count.min(rest.len());
        let mut vectors: Vec<Embedding> = rest.iter().take(real).cloned().collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        while vectors.len() < count {
            let mut draw = || rest[rng.random_range(0..rest.len())].as_slice();
            let (a, b, c) = (draw(), draw(), draw());
            let made = a.iter().zip(b.iter().zip(c)).map(|(a, (b, c))| a + STEP * (b - c)).collect();
            vectors.push(Embedding::normalize(made)?);
        }
        Ok(Split { vectors, queries: asked.to_vec(), real })
    }
}

fn num_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Every entry as "words: gloss", each text once, in the order of the files.
fn read(dict: &Path) -> Result<Vec<String>, BenchError> {
    let mut seen = HashSet::new();
    let mut texts = Vec::new();
    for name in FILES {
        let path = dict.join(name);
        let bytes = fs::read(&path).map_err(|e| BenchError::Corpus {
            path: path.clone(),
            reason: format!("{e}; `make bench` unpacks the package there"),
        })?;
        // The files are ASCII but for a few Latin-1 letters.
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        // Lines of the licence at the head begin with two spaces.
        for line in text.lines().filter(|line| !line.starts_with("  ")) {
            let made = entry(line).ok_or_else(|| BenchError::Corpus {
                path: path.clone(),
                reason: format!("a line is not an entry: {}", anser_core::excerpt(line, 60)),
            })?;
            if seen.insert(made.clone()) {
                texts.push(made);
            }
        }
    }
    Ok(texts)
}

/// An entry's words and gloss. Its line holds offset, file, type, number of words in hexadecimal, each word with a number,
/// and after a bar the gloss (`WordNet`'s manual page wndb).
fn entry(line: &str) -> Option<String> {
    let (head, gloss) = line.split_once(" | ")?;
    let fields: Vec<&str> = head.split(' ').collect();
    let count = usize::from_str_radix(fields.get(3)?, 16).ok()?;
    let words: Option<Vec<String>> = (0..count)
        .map(|i| fields.get(4 + 2 * i).map(|word| word.split('(').next().unwrap_or(word).replace('_', " ")))
        .collect();
    Some(format!("{}: {}", words?.join(", "), gloss.trim()))
}

/// The vectors in the file, when it holds as many as there are texts.
fn stored(path: &Path, texts: usize, dimension: usize) -> Result<Option<Vec<Embedding>>, BenchError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(BenchError::io("read", path)(e)),
    };
    if bytes.len() != texts * dimension * size_of::<f32>() {
        return Ok(None);
    }
    let (numbers, _) = bytes.as_chunks::<4>();
    let rows = numbers.chunks_exact(dimension);
    let vectors = rows.map(|row| Embedding::from_unit(row.iter().map(|n| f32::from_le_bytes(*n)).collect()));
    Ok(vectors.collect::<anser_core::Result<Vec<_>>>().ok())
}

/// Embeds every text and keeps the vectors.
fn embed(embedder: &TextEmbedder, texts: &[String], kept: &Path) -> Result<Vec<Embedding>, BenchError> {
    let mut vectors = Vec::with_capacity(texts.len());
    for part in texts.chunks(BATCH) {
        eprintln!("embedding the corpus, once: {} of {} texts", vectors.len(), texts.len());
        let embedded = embedder.embed(part, EmbedPurpose::Passage, &CancelToken::new())?;
        vectors.extend(embedded.into_iter().map(|e| e.embedding));
    }
    let folder = kept.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(BenchError::io("create a file in", folder))?;
    let bytes: Vec<u8> = vectors.iter().flat_map(Embedding::as_slice).flat_map(|x| x.to_le_bytes()).collect();
    file.write_all(&bytes).map_err(BenchError::io("write", kept))?;
    file.persist(kept).map_err(|e| BenchError::io("write", kept)(e.error))?;
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_its_words_and_its_gloss() {
        let line = "00005930 03 n 02 big_dwarf 0 elf(p) 1 001 @ 00004475 n 0000 | a plant that is small; \"a | b\"  ";
        assert_eq!(entry(line).unwrap(), "big dwarf, elf: a plant that is small; \"a | b\"");
        for broken in ["", "no bar", "1 2 n zz a | b", "1 2 n 09 a 0 | too few words"] {
            assert_eq!(entry(broken), None, "{broken}");
        }
    }

    #[test]
    fn queries_are_not_among_what_is_searched_and_more_vectors_can_be_made() {
        let vectors = (0..10u8).map(|i| Embedding::normalize(vec![1.0, f32::from(i), 0.5]).unwrap()).collect();
        let glosses = Glosses { vectors, seed: 1 };
        let split = glosses.split(6, 3).unwrap();
        assert_eq!((split.vectors.len(), split.queries.len(), split.real), (6, 3, 6));
        assert!(split.queries.iter().all(|query| !split.vectors.contains(query)));
        let grown = glosses.split(40, 3).unwrap();
        assert_eq!((grown.vectors.len(), grown.real), (40, 7));
        assert_eq!(grown.vectors[..6], split.vectors[..]);
    }
}
