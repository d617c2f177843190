//! By how much each pair of a rotation turns, in float64.

use std::f64::consts::TAU;

use super::rope::frequency;
use crate::graph::FrequencyLaw;

/// Radians by which each of `pairs` pairs turns from one position to the next, `[pairs]`. Where divisors are
/// missing, 1 stands for them.
pub fn frequencies(law: &FrequencyLaw, pairs: usize) -> Vec<f64> {
    let base = |theta: f64| (0..pairs).map(move |i| frequency(theta, i, 2 * pairs)); // [pairs]
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
