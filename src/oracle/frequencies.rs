//! The rotation frequencies of RoPE: how far each pair is rotated per position.

use std::f64::consts::TAU;

use super::rope::frequency;
use crate::graph::FrequencyLaw;

/// The rotation per position of each of `pairs` pairs, in radians, `[pairs]`. A missing divisor counts as 1.
pub fn frequencies(law: &FrequencyLaw, pairs: usize) -> Vec<f64> {
    follow(law, pairs, |theta, i| frequency(theta, i, 2 * pairs))
}

/// The same frequencies as PyTorch computes them in float32, `[pairs]`: base frequencies are rounded before
/// they are scaled.
pub(super) fn single_frequencies(law: &FrequencyLaw, pairs: usize) -> Vec<f32> {
    let base = |theta: f64, i: usize| f64::from(1.0 / (theta as f32).powf(i as f32 / pairs as f32));
    follow(law, pairs, base).into_iter().map(|f| f as f32).collect()
}

/// Applies `law` to the base frequencies `of(theta, pair)`.
fn follow(law: &FrequencyLaw, pairs: usize, of: impl Fn(f64, usize) -> f64) -> Vec<f64> {
    let base = |theta: f64| (0..pairs).map(|i| of(theta, i)).collect::<Vec<f64>>().into_iter(); // [pairs]
    match law {
        FrequencyLaw::Base { theta } => base(*theta).collect(),
        FrequencyLaw::Linear { theta, factor } => base(*theta).map(|f| f / factor).collect(),
        FrequencyLaw::Llama3 { theta, factor, low_freq_factor, high_freq_factor, original } => base(*theta)
            .map(|f| {
                // transformers, `_compute_llama3_parameters`.
                let turns = *original as f64 * f / TAU; // in the original context
                let short = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let short = short.clamp(0.0, 1.0); // 0 for long wavelengths, 1 for short ones
                (1.0 - short) * f / factor + short * f
            })
            .collect(),
        FrequencyLaw::Divided { theta, divisors } => {
            base(*theta).zip(divisors.iter().chain(std::iter::repeat(&1.0))).map(|(f, by)| f / by).collect()
        }
    }
}
