//! Vectors that rows bring along: read from a row, checked, and scaled to unit length.

use anser_core::{EmbedderInfo, Embedding, excerpt};

use super::source::RawValue;

/// How far a vector's length may be from 1 to count as 1 already. Rounding to f32 leaves it about a tenth of this away.
const UNIT: f64 = 1e-6;

/// Numbers of vectors that come as text: `[0.1, -2.5e-3]`.
const EXPECTED: &str = "expected a list of numbers";

/// What a row's vector column holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RawVector {
    /// Numbers.
    Numbers(Vec<f32>),
    /// Something else, described.
    Unreadable(String),
}

impl RawVector {
    /// The numbers in a cell: of a list, or of a text that is a JSON list. `None` for a missing value.
    pub(super) fn of(value: RawValue) -> Option<Self> {
        let text = match value {
            RawValue::Missing => return None,
            RawValue::Numbers(numbers) => return Some(Self::Numbers(numbers)),
            RawValue::Text(text) | RawValue::String(text) => text,
            _ => return Some(Self::Unreadable(EXPECTED.to_owned())),
        };
        Some(match serde_json::from_str::<Vec<Option<f32>>>(text.trim()) {
            Ok(numbers) => Self::Numbers(numbers.into_iter().map(|number| number.unwrap_or(f32::NAN)).collect()),
            Err(_) => Self::Unreadable(format!("{EXPECTED}, found \"{}\"", excerpt(&text, 40))),
        })
    }

    /// Whether a cell holds a vector rather than text or a single number.
    pub(super) fn is_in(value: &RawValue) -> bool {
        match value {
            RawValue::Numbers(_) => true,
            RawValue::Text(text) | RawValue::String(text) => {
                text.trim_start().starts_with('[') && matches!(Self::of(value.clone()), Some(Self::Numbers(_)))
            }
            _ => false,
        }
    }

    /// How many numbers there are.
    pub(super) fn dimension(&self) -> Option<usize> {
        match self {
            Self::Numbers(numbers) => Some(numbers.len()),
            Self::Unreadable(_) => None,
        }
    }
}

/// The vector of a row for a collection of `owner`'s vectors. What is wrong with it is one sentence.
///
/// A vector is scaled to unit length, since vectors are compared by cosine; one that has it already, to a millionth, is kept
/// bit for bit.
pub(super) fn brought_vector(vector: Option<RawVector>, owner: &EmbedderInfo) -> Result<Embedding, String> {
    let numbers = match vector {
        Some(RawVector::Numbers(numbers)) => numbers,
        Some(RawVector::Unreadable(message)) => return Err(format!("the vector cannot be read: {message}")),
        None => {
            return Err(format!(
                "the vector is missing: the collection holds vectors that you bring along (\"{}\", {} numbers each); add a \
                 column \"embedding\", or use a collection without vectors of its own",
                excerpt(&owner.model, 40),
                owner.dimension
            ));
        }
    };
    if numbers.len() != owner.dimension {
        return Err(format!(
            "the vector has {} numbers, but those of the collection have {}",
            numbers.len(),
            owner.dimension
        ));
    }
    unit(numbers).map_err(|error| error.to_string())
}

fn unit(numbers: Vec<f32>) -> anser_core::Result<Embedding> {
    let length = numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if (length - 1.0).abs() <= UNIT { Embedding::from_unit(numbers) } else { Embedding::normalize(numbers) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner() -> EmbedderInfo {
        EmbedderInfo::external("mine", 2)
    }

    #[test]
    fn texts_and_lists_are_read_and_anything_else_is_told() {
        let text = |text: &str| RawVector::of(RawValue::Text(text.to_owned())).unwrap();
        assert_eq!(text(" [1, -2.5e-1]"), RawVector::Numbers(vec![1.0, -0.25]));
        assert!(matches!(text("[1, \"a\"]"), RawVector::Unreadable(_)));
        assert!(matches!(text("0.5"), RawVector::Unreadable(_)));
        assert_eq!(RawVector::of(RawValue::Missing), None);
        assert!(matches!(RawVector::of(RawValue::Bool(true)), Some(RawVector::Unreadable(_))));
        assert!(
            RawVector::is_in(&RawValue::String("[1]".into())) && !RawVector::is_in(&RawValue::String("[a]".into()))
        );
    }

    #[test]
    fn every_fault_of_a_vector_is_one_sentence() {
        let numbers = |numbers: &[f32]| brought_vector(Some(RawVector::Numbers(numbers.to_vec())), &owner());
        assert!(numbers(&[1.0]).unwrap_err().contains("1 numbers, but those of the collection have 2"));
        assert!(numbers(&[0.0, 0.0]).unwrap_err().contains("all-zero"));
        assert!(numbers(&[1.0, f32::NAN]).unwrap_err().contains("finite"));
        assert!(numbers(&[f32::INFINITY, 1.0]).unwrap_err().contains("finite"));
        let missing = brought_vector(None, &owner()).unwrap_err();
        assert!(missing.contains("\"mine\", 2 numbers") && missing.contains("column \"embedding\""), "{missing}");
    }

    proptest! {
        #[test]
        fn a_vector_that_was_stored_is_stored_again_bit_for_bit(values in prop::collection::vec(-3.0_f32..3.0, 384)) {
            prop_assume!(values.iter().any(|value| value.abs() > 1e-3));
            let stored = unit(values).unwrap();
            let again = unit(stored.as_slice().to_vec()).unwrap();
            prop_assert_eq!(stored.as_slice(), again.as_slice());
        }
    }
}
