//! AdamW: Adam's moments with bias correction (Kingma and Ba 2014) and decoupled weight decay (Loshchilov and Hutter
//! 2017), and the clipping of all gradients by their common norm (Pascanu et al. 2012).

use rayon::prelude::*;

use crate::model::Parameter;

/// Values that one thread sums or updates at a time. Sums are taken in this fixed division, so that they do not depend
/// on the number of threads.
const CHUNK: usize = 16 * 1024;

/// Constants of the update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AdamWOptions {
    /// Decay of the mean of gradients.
    pub(crate) beta1: f64,
    /// Decay of the mean of squared gradients.
    pub(crate) beta2: f64,
    /// Keeps the denominator from zero.
    pub(crate) epsilon: f64,
    /// Share of a value that is taken off it each step, times the learning rate; only where `Parameter::decay` is set.
    pub(crate) weight_decay: f64,
}

/// The optimiser with its two moments for each value.
#[derive(Debug)]
pub(crate) struct AdamW {
    options: AdamWOptions,
    /// Updates made.
    steps: u64,
    /// Running means of the gradients, parallel to the parameters.
    pub(crate) first: Vec<Vec<f32>>,
    /// Running means of their squares.
    pub(crate) second: Vec<Vec<f32>>,
}

impl AdamW {
    /// An optimiser with empty moments for these parameters.
    pub(crate) fn new(options: AdamWOptions, parameters: &[Parameter]) -> Self {
        let zeros = || parameters.iter().map(|parameter| vec![0.0; parameter.values.len()]).collect();
        Self { options, steps: 0, first: zeros(), second: zeros() }
    }

    /// Goes on after `steps` updates with the moments that were kept then.
    pub(crate) fn resume(options: AdamWOptions, steps: u64, first: Vec<Vec<f32>>, second: Vec<Vec<f32>>) -> Self {
        Self { options, steps, first, second }
    }

    /// Moves every parameter by one step against its gradient.
    pub(crate) fn update(&mut self, parameters: &mut [Parameter], gradients: &[Vec<f32>], learning_rate: f64) {
        self.steps += 1;
        let AdamWOptions { beta1, beta2, epsilon, weight_decay } = self.options;
        let exponent = i32::try_from(self.steps).unwrap_or(i32::MAX);
        // m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ), folded into the step's size and the root's scale.
        let size = (learning_rate / (1.0 - beta1.powi(exponent))) as f32;
        let root = (1.0 / (1.0 - beta2.powi(exponent)).sqrt()) as f32;
        let (beta1, beta2, epsilon) = (beta1 as f32, beta2 as f32, epsilon as f32);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((parameter, gradient), (first, second)) in parameters.iter_mut().zip(gradients).zip(moments) {
            let keep = if parameter.decay { (1.0 - learning_rate * weight_decay) as f32 } else { 1.0 };
            let values = parameter.values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
            let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
            values.zip(moments).for_each(|((values, gradient), (first, second))| {
                for (((value, g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    *value = *value * keep - size * *m / (v.sqrt() * root + epsilon);
                }
            });
        }
    }
}

/// Norm of all gradients as one vector.
pub(crate) fn global_norm(gradients: &[Vec<f32>]) -> f64 {
    let chunks: Vec<&[f32]> = gradients.iter().flat_map(|gradient| gradient.chunks(CHUNK)).collect();
    let squares: Vec<f64> =
        chunks.par_iter().map(|chunk| chunk.iter().map(|value| f64::from(*value).powi(2)).sum()).collect();
    squares.iter().sum::<f64>().sqrt()
}

/// Scales all gradients down so that their norm is at most `largest`, and returns the norm they had.
pub(crate) fn clip(gradients: &mut [Vec<f32>], largest: f64) -> f64 {
    let norm = global_norm(gradients);
    if norm > largest {
        let scale = (largest / norm) as f32;
        for gradient in gradients {
            gradient.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|value| *value *= scale));
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(values: &[f32], decay: bool) -> Parameter {
        Parameter { name: "p".to_owned(), shape: vec![values.len()], values: values.to_vec(), decay }
    }

    /// The formulas of the paper, word for word, in f64.
    fn reference(start: f64, gradients: &[f64], rates: &[f64], decay: f64) -> f64 {
        let (beta1, beta2, epsilon) = (0.9_f64, 0.999_f64, 1e-8);
        let (mut x, mut m, mut v) = (start, 0.0, 0.0);
        for (t, (g, rate)) in (1_i32..).zip(gradients.iter().zip(rates)) {
            x -= rate * decay * x;
            m = beta1 * m + (1.0 - beta1) * g;
            v = beta2 * v + (1.0 - beta2) * g * g;
            let (m_hat, v_hat) = (m / (1.0 - beta1.powi(t)), v / (1.0 - beta2.powi(t)));
            x -= rate * m_hat / (v_hat.sqrt() + epsilon);
        }
        x
    }

    #[test]
    fn updates_follow_the_paper() {
        let options = AdamWOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
        let start = [0.5, -1.25, 3.0];
        let gradients = [[0.1, -2.0, 0.0], [0.3, 1.0, 1e-4], [-0.7, 0.25, -5.0], [0.01, 0.0, 2.0]];
        let rates = [0.1, 0.05, 0.02, 0.2];
        let mut parameters = [parameter(&start, true), parameter(&start, false)];
        let mut optimizer = AdamW::new(options, &parameters);
        for (gradient, rate) in gradients.iter().zip(rates) {
            optimizer.update(&mut parameters, &[gradient.to_vec(), gradient.to_vec()], rate);
        }
        for index in 0..start.len() {
            let course: Vec<f64> = gradients.iter().map(|gradient| f64::from(gradient[index])).collect();
            for (parameter, decay) in parameters.iter().zip([0.1, 0.0]) {
                let expected = reference(f64::from(start[index]), &course, &rates, decay);
                let found = f64::from(parameter.values[index]);
                assert!((found - expected).abs() < 2e-6 * expected.abs().max(1.0), "{found} {expected}");
            }
        }
    }

    #[test]
    fn a_resumed_optimizer_goes_on_as_if_it_had_never_stopped() {
        let options = AdamWOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
        let run = |interrupted: bool| {
            let mut parameters = [parameter(&[0.5, -1.0], true)];
            let mut optimizer = AdamW::new(options, &parameters);
            for step in 0..6_u8 {
                let gradient = vec![f32::from(step) - 2.5, 0.1];
                optimizer.update(&mut parameters, &[gradient], 0.01);
                if interrupted && step == 3 {
                    let (steps, first, second) = (4, optimizer.first.clone(), optimizer.second.clone());
                    optimizer = AdamW::resume(options, steps, first, second);
                }
            }
            parameters[0].values.clone()
        };
        assert_eq!(run(true), run(false));
    }

    #[test]
    fn long_gradients_are_scaled_to_the_limit_and_short_ones_left_alone() {
        let mut gradients = vec![vec![3.0, 0.0], vec![4.0]];
        assert!((clip(&mut gradients, 10.0) - 5.0).abs() < 1e-12);
        assert_eq!(gradients, [vec![3.0, 0.0], vec![4.0]]);
        assert!((clip(&mut gradients, 1.0) - 5.0).abs() < 1e-12);
        assert!((global_norm(&gradients) - 1.0).abs() < 1e-6);
        assert!((gradients[0][0] - 0.6).abs() < 1e-6);
    }

    #[test]
    fn the_norm_of_many_values_does_not_depend_on_the_threads() {
        let gradients = vec![(0..100_000_u32).map(|i| (i as f32).sin()).collect::<Vec<f32>>(); 3];
        let norm_with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| global_norm(&gradients))
        };
        assert_eq!(norm_with(1).to_bits(), norm_with(4).to_bits());
    }
}
