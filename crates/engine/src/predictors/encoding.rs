//! Predictors as bytes: a description in JSON with its length before it and the count of numbers in it, then the numbers as
//! 32-bit floats, little-endian.

use anser_core::{Error, ErrorKind};
use anser_index::analysis::{LogisticModel, RidgeModel, Vectors};
use serde::{Deserialize, Serialize};

use super::{Classifier, Method, Predictor, Regressor};
use crate::EngineError;

/// Everything but the numbers, which are the weights, the labelled vectors, or the labels' vectors.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Description {
    Logistic { labels: Vec<String>, abstain_below: Option<f64>, intercepts: Vec<f32> },
    Nearest { labels: Vec<String>, abstain_below: Option<f64>, k: usize, dimension: usize, classes: Vec<u32> },
    ZeroShot { labels: Vec<String>, abstain_below: Option<f64>, dimension: usize, temperature: f64 },
    Ridge { intercept: f64, range: Option<(f64, f64)> },
}

impl Predictor {
    /// As bytes, for [`Predictor::decode`].
    pub(crate) fn encode(&self) -> Result<Vec<u8>, EngineError> {
        let (description, values) = match self {
            Self::Classifier(Classifier { labels, abstain_below, method }) => {
                let (labels, abstain_below) = (labels.clone(), *abstain_below);
                match method {
                    Method::Logistic(model) => {
                        let intercepts = model.intercepts().to_vec();
                        (Description::Logistic { labels, abstain_below, intercepts }, model.weights())
                    }
                    Method::Nearest { k, examples, classes } => {
                        let (k, dimension, classes) = (*k, examples.dimension(), classes.clone());
                        let description = Description::Nearest { labels, abstain_below, k, dimension, classes };
                        (description, examples.as_slice())
                    }
                    Method::ZeroShot { vectors, temperature } => {
                        let (dimension, temperature) = (vectors.dimension(), *temperature);
                        (Description::ZeroShot { labels, abstain_below, dimension, temperature }, vectors.as_slice())
                    }
                }
            }
            Self::Regressor(Regressor { model, range }) => {
                (Description::Ridge { intercept: model.intercept(), range: *range }, model.weights())
            }
        };
        let description = EngineError::store_json(&(description, values.len()))?;
        let length = u32::try_from(description.len())
            .map_err(|_| EngineError::invalid("save_as", "there are too many labelled documents to save"))?;
        let mut bytes = Vec::with_capacity(4 + description.len() + size_of_val(values));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(description.as_bytes());
        for value in values {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Ok(bytes)
    }

    /// Reads what [`Predictor::encode`] wrote. `Corrupt` names the predictor.
    pub(crate) fn decode(bytes: &[u8], name: &str) -> Result<Self, EngineError> {
        let damaged = || {
            let message = format!("the stored predictor \"{name}\" is damaged; delete it and train it again");
            EngineError::Core(Error::new(ErrorKind::Corrupt, message))
        };
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (description, values) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let description = std::str::from_utf8(description).map_err(|_| damaged())?;
        let (values, remainder) = values.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if !remainder.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return Err(damaged());
        }
        let classifier = |labels: Vec<String>, abstain_below, method| {
            Ok(Self::Classifier(Classifier { labels, abstain_below, method }))
        };
        let (description, count): (Description, usize) = EngineError::parse_stored(description, "predictor", name)?;
        if count != values.len() {
            return Err(damaged());
        }
        match description {
            Description::Logistic { labels, abstain_below, intercepts } => {
                let model = LogisticModel::from_parts(values, intercepts).map_err(|_| damaged())?;
                if model.classes() != labels.len() {
                    return Err(damaged());
                }
                classifier(labels, abstain_below, Method::Logistic(model))
            }
            Description::Nearest { labels, abstain_below, k, dimension, classes } => {
                let examples = Vectors::new(values, dimension).map_err(|_| damaged())?;
                let known = classes.iter().all(|class| (*class as usize) < labels.len());
                if examples.len() != classes.len() || examples.is_empty() || !known || k == 0 {
                    return Err(damaged());
                }
                classifier(labels, abstain_below, Method::Nearest { k, examples, classes })
            }
            Description::ZeroShot { labels, abstain_below, dimension, temperature } => {
                let vectors = Vectors::new(values, dimension).map_err(|_| damaged())?;
                if vectors.len() != labels.len() || labels.len() < 2 || temperature.is_nan() || temperature <= 0.0 {
                    return Err(damaged());
                }
                classifier(labels, abstain_below, Method::ZeroShot { vectors, temperature })
            }
            Description::Ridge { intercept, range } => {
                let model = RidgeModel::from_parts(values, intercept).map_err(|_| damaged())?;
                Ok(Self::Regressor(Regressor { model, range }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anser_core::CancelToken;
    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<Predictor> {
        let labels = || vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let vectors = || Vectors::new(vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8], 2).unwrap();
        let classifier =
            |method| Predictor::Classifier(Classifier { labels: labels(), abstain_below: Some(0.25), method });
        let logistic = LogisticModel::from_parts(vec![1.0, 2.0, -3.0, 4.5, 5.0, 6.0], vec![0.1, 0.2, 0.3]).unwrap();
        let model = RidgeModel::from_parts(vec![1.5, -2.5], 0.125).unwrap();
        vec![
            classifier(Method::Logistic(logistic)),
            classifier(Method::Nearest { k: 2, examples: vectors(), classes: vec![0, 2, 1] }),
            classifier(Method::ZeroShot { vectors: vectors(), temperature: 0.05 }),
            Predictor::Regressor(Regressor { model, range: Some((-1.0, 1.0)) }),
        ]
    }

    #[test]
    fn every_predictor_survives_its_bytes() {
        let vectors = Vectors::new(vec![0.8, 0.6, -1.0, 0.0], 2).unwrap();
        for predictor in all() {
            let again = Predictor::decode(&predictor.encode().unwrap(), "p").unwrap();
            let predict = |predictor: &Predictor| predictor.predict(&vectors, &CancelToken::new()).unwrap();
            assert_eq!(predict(&again), predict(&predictor));
            assert_eq!(again.kind(), predictor.kind());
        }
    }

    #[test]
    fn damaged_bytes_are_refused_by_name() {
        for predictor in all() {
            let bytes = predictor.encode().unwrap();
            for end in [0, 3, 10, bytes.len() - 4, bytes.len() - 1] {
                let error = Predictor::decode(&bytes[..end], "stars").err().unwrap();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains("\"stars\""), "{error}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..4, cut: prop::sample::Index) {
            let _ = Predictor::decode(&bytes, "p");
            let mut whole = all()[at].encode().unwrap();
            let place = cut.index(whole.len());
            whole[place] ^= 0x55;
            if let Ok(predictor) = Predictor::decode(&whole, "p") {
                let _ = predictor.predict(&Vectors::new(vec![0.8, 0.6], 2).unwrap(), &CancelToken::new());
            }
        }
    }
}
