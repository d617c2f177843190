//! By how much each pair of a rotation turns.

use std::f64::consts::TAU;

use super::rope::frequency;
use crate::graph::FrequencyLaw;

/// Radians by which each of `pairs` pairs turns from one position to the next, `[pairs]`. Where divisors are
/// missing, 1 stands for them.
pub fn frequencies(law: &FrequencyLaw, pairs: usize) -> Vec<f64> {
    follow(law, pairs, |theta, i| frequency(theta, i, 2 * pairs))
}

/// The same as PyTorch has it in float32, `[pairs]`: base frequencies are rounded before they are scaled.
pub(super) fn single_frequencies(law: &FrequencyLaw, pairs: usize) -> Vec<f32> {
    let base = |theta: f64, i: usize| f64::from(1.0 / (theta as f32).powf(i as f32 / pairs as f32));
    follow(law, pairs, base).into_iter().map(|f| f as f32).collect()
}

/// `law` on top of base frequencies.
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
                let short = short.clamp(0.0, 1.0); // 0 is long, 1 is short
                (1.0 - short) * f / factor + short * f
            })
            .collect(),
        FrequencyLaw::Divided { theta, divisors } => {
            base(*theta).zip(divisors.iter().chain(std::iter::repeat(&1.0))).map(|(f, by)| f / by).collect()
        }
    }
}
