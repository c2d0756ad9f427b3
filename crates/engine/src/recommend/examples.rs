//! Examples as vectors.

use anser_core::{CancelToken, EmbedPurpose, Embedder, Embedding, Error, excerpt};
use anser_index::{Collection, RankedDocument};

use super::{Example, ExampleKind, NearestExample, RecommendRequest, Recommendation};
use crate::EngineError;

/// One example with its vector and its place in the request.
struct Known<'a> {
    kind: ExampleKind,
    index: usize,
    example: &'a Example,
    vector: Embedding,
}

/// All examples of a request, positive ones first.
pub(super) struct Examples<'a>(Vec<Known<'a>>);

impl<'a> Examples<'a> {
    /// Looks documents up and embeds texts. An embedder is needed where there are texts.
    pub(super) fn read(
        request: &'a RecommendRequest,
        collection: &Collection,
        embedder: Option<&dyn Embedder>,
        cancel: &CancelToken,
    ) -> Result<Self, EngineError> {
        let kinds = [(ExampleKind::Positive, &request.positive), (ExampleKind::Negative, &request.negative)];
        let mut known = Vec::new();
        for (kind, examples) in kinds {
            for (index, example) in examples.iter().enumerate() {
                cancel.check()?;
                let place = format!("{}[{index}]", kind.as_str());
                let vector = vector_of(example, &place, (collection, embedder), cancel)?;
                known.push(Known { kind, index, example, vector });
            }
        }
        Ok(Self(known))
    }

    fn vectors(&self, kind: ExampleKind) -> impl Iterator<Item = &Embedding> {
        self.0.iter().filter(move |known| known.kind == kind).map(|known| &known.vector)
    }

    /// The vectors of one kind.
    pub(super) fn of(&self, kind: ExampleKind) -> Vec<Embedding> {
        self.vectors(kind).cloned().collect()
    }

    /// The mean of the vectors of one kind, not scaled; `None` where there are none.
    pub(super) fn mean(&self, kind: ExampleKind) -> Option<Vec<f32>> {
        let count = self.vectors(kind).count() as f32;
        let sum = self.vectors(kind).map(|vector| vector.as_slice().to_vec()).reduce(|mut sum, vector| {
            sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
            sum
        });
        sum.map(|sum| sum.into_iter().map(|value| value / count).collect())
    }

    /// A ranked document with the example that it is nearest to; of equally near ones the first.
    pub(super) fn explain(&self, document: RankedDocument) -> Recommendation {
        let RankedDocument { best, vector } = document;
        // Dimensions agree: the ranking has compared them.
        let near = |known: &Known<'_>| known.vector.cosine(&vector).unwrap_or(-1.0);
        let mut nearest: Option<(f32, &Known<'_>)> = None;
        for known in &self.0 {
            let similarity = near(known);
            if nearest.is_none_or(|(most, _)| similarity > most) {
                nearest = Some((similarity, known));
            }
        }
        let nearest = nearest.map_or(
            NearestExample { kind: ExampleKind::Positive, index: 0, id: None, similarity: 0.0 },
            |(similarity, known)| {
                let id = match known.example {
                    Example::Id(id) => Some(id.clone()),
                    Example::Text(_) | Example::Vector(_) => None,
                };
                NearestExample { kind: known.kind, index: known.index, id, similarity }
            },
        );
        Recommendation {
            id: best.chunk.document_id,
            title: best.title,
            text: best.chunk.text,
            chunk: best.chunk.id,
            score: best.score,
            nearest,
            attributes: best.attributes,
        }
    }
}

impl ExampleKind {
    /// Its name, which is also that of its field in the request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Negative => "negative",
        }
    }
}

fn vector_of(
    example: &Example,
    place: &str,
    (collection, embedder): (&Collection, Option<&dyn Embedder>),
    cancel: &CancelToken,
) -> Result<Embedding, EngineError> {
    let dimension = collection.embedder().dimension;
    match example {
        Example::Id(id) => {
            let vector = collection.vector(id)?;
            vector.ok_or_else(|| {
                let shown = excerpt(id.as_str(), 80);
                let message = format!("there is no document \"{shown}\" in \"{}\" to compare with", collection.name());
                Error::not_found(message).with_param(format!("{place}.id")).into()
            })
        }
        Example::Text(text) if text.trim().is_empty() => {
            let message = format!("{place}.text is empty; write what documents are compared with");
            Err(Error::invalid(message).with_param(format!("{place}.text")).into())
        }
        Example::Text(text) => {
            let embedder = embedder.ok_or_else(|| EngineError::internal("a text is compared without an embedder"))?;
            let embedded = embedder.embed(std::slice::from_ref(text), EmbedPurpose::Passage, cancel)?;
            let first = embedded.into_iter().next();
            let first = first.ok_or_else(|| EngineError::internal("the embedder returned nothing for an example"))?;
            Ok(first.embedding)
        }
        Example::Vector(values) if values.len() != dimension => {
            let message = format!(
                "{place}.vector has {} dimensions, but \"{}\" holds vectors of {dimension}; embed with {}",
                values.len(),
                collection.name(),
                collection.embedder().model
            );
            Err(Error::invalid(message).with_param(format!("{place}.vector")).into())
        }
        Example::Vector(values) => {
            Ok(Embedding::normalize(values.clone()).map_err(|error| error.with_param(format!("{place}.vector")))?)
        }
    }
}
