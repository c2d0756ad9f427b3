//! The weights that learn, by name, and their gradients.

use std::borrow::Cow;

/// A tensor that learns.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name in a Hugging Face checkpoint, or in a PEFT adapter (`base_model.model.….lora_A.weight`).
    pub name: String,
    /// Rows and columns, or the one length of a norm's weight.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub values: Vec<f32>,
    /// Whether weight decay applies: to matrices, not to norms.
    pub decay: bool,
}

impl Parameter {
    /// Name, shape and values.
    pub(super) fn tensor(&self) -> (&str, &[usize], Cow<'_, [f32]>) {
        (&self.name, &self.shape, Cow::Borrowed(&self.values))
    }
}

/// One gradient for each parameter, in the same order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gradients {
    /// The values, shaped as the parameters'.
    pub values: Vec<Vec<f32>>,
}

impl Gradients {
    /// All zero, shaped as `parameters`.
    pub fn zeros(parameters: &[Parameter]) -> Self {
        Self { values: parameters.iter().map(|parameter| vec![0.0; parameter.values.len()]).collect() }
    }

    /// Sets all to zero.
    pub fn clear(&mut self) {
        for values in &mut self.values {
            values.fill(0.0);
        }
    }
}
