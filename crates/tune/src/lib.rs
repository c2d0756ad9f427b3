//! Fine-tuning: datasets, the differentiable model, training, checkpoints and export.
