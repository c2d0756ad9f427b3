//! What happens to a product's sums before they are written.

use crate::unary::Unary;

/// y = activation(x·Wᵀ + bias).
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// A number for each column of the result, added to all rows.
    pub bias: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Option<Unary>,
}

impl<'a> Epilogue<'a> {
    /// Only a bias.
    pub fn bias(bias: &'a [f32]) -> Self {
        Self { bias: Some(bias), activation: None }
    }

    /// Followed by an activation.
    #[must_use]
    pub fn then(self, activation: Unary) -> Self {
        Self { activation: Some(activation), ..self }
    }

    /// Panics when there is a bias for fewer columns than `columns`.
    pub(crate) fn check(&self, columns: usize) {
        assert!(self.bias.is_none_or(|bias| bias.len() >= columns), "a bias does not fit {columns} columns");
    }
}
