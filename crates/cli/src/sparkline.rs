//! A curve in one line of text.

/// Eight heights of a block.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws `values` in at most `width` characters, from the lowest to the highest of them; of more values than fit, each
/// character is the mean of its share. What no diagram can show is left out.
pub(crate) fn sparkline(values: &[f64], width: usize) -> String {
    let values: Vec<f64> = values.iter().copied().filter(|value| value.abs() < 1e9).collect();
    let shown = values.len().min(width);
    let means: Vec<f64> = (0..shown)
        .map(|at| {
            let share = &values[at * values.len() / shown..(at + 1) * values.len() / shown];
            share.iter().sum::<f64>() / share.len() as f64
        })
        .collect();
    let lowest = means.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let height = |value: f64| {
        let share = if highest > lowest { (value - lowest) / (highest - lowest) } else { 0.0 };
        BLOCKS[((share * BLOCKS.len() as f64) as usize).min(BLOCKS.len() - 1)]
    };
    means.into_iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn falling_values_fall() {
        assert_eq!(sparkline(&[8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 20), "█▇▆▅▄▃▂▁");
        assert_eq!(sparkline(&[4.0, 2.0, 2.0, 0.0], 2), "█▁");
        assert_eq!(sparkline(&[1.0, f64::NAN, 1.0], 9), "▁▁");
        assert_eq!(sparkline(&[], 9), "");
    }

    proptest! {
        #[test]
        fn no_line_is_longer_than_asked(values in proptest::collection::vec(any::<f64>(), 0..200), width in 0_usize..60) {
            prop_assert!(sparkline(&values, width).chars().count() <= width);
        }
    }
}
