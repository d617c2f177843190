//! How the wavelengths of the rotation are stretched for longer contexts.

use std::fmt;

/// What is done to the frequencies θ^(−2i / head_dim), where i is the number of the pair.
///
/// `config.json` states it as `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5), GGUF as
/// `llama.rope.scaling.*` and the tensor `rope_freqs.weight`. Formulas: `modeling_rope_utils.py` in
/// transformers, `rope_freqs` in llama.cpp's `llama-model.cpp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// Nothing.
    #[default]
    None,
    /// Every frequency is divided by `factor`.
    Linear {
        /// Above 0, and not 1.
        factor: f64,
    },
    /// Llama 3.1: wavelengths up to `original_max_position_embeddings / high_freq_factor` are kept, those
    /// above `original_max_position_embeddings / low_freq_factor` are multiplied by `factor`, and those in
    /// between are interpolated.
    Llama3 {
        /// Above 0, and not 1.
        factor: f64,
        /// Above 0.
        low_freq_factor: f64,
        /// Above `low_freq_factor`.
        high_freq_factor: f64,
        /// The context length that the model was trained with first, in tokens; above 0.
        original_max_position_embeddings: usize,
    },
    /// The frequency of each pair is divided by its own factor, which GGUF stores in `rope_freqs.weight`.
    PerPair {
        /// One for each pair, `[head_dim / 2]`, all above 0.
        factors: Vec<f32>,
    },
}

impl RopeScaling {
    /// Linear scaling by `factor`; none if it is 1.
    pub(in crate::weights) fn linear(factor: f64) -> Self {
        if factor == 1.0 { Self::None } else { Self::Linear { factor } }
    }

    /// The frequency of pair number `pair`, which is `frequency` without scaling.
    pub(in crate::weights) fn scaled(&self, pair: usize, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } => {
                // How many wavelengths fit into the original context.
                let turns = *original as f64 * frequency / std::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / factor)
            }
            Self::PerPair { factors } => frequency / factors.get(pair).copied().map_or(1.0, f64::from),
        }
    }

    /// What is wrong with its numbers, if anything, in one clause.
    pub(in crate::weights) fn fault(&self) -> Option<String> {
        let positive = |number: f64| number > 0.0 && number.is_finite();
        let factor = |factor: f64| (!positive(factor)).then(|| format!("factor {factor:?} is not above 0"));
        match self {
            Self::None => None,
            Self::Linear { factor: divisor } => factor(*divisor),
            Self::Llama3 {
                factor: divisor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } => {
                if let Some(fault) = factor(*divisor) {
                    return Some(fault);
                }
                if !(positive(*low) && positive(*high) && low < high) {
                    return Some(format!(
                        "low_freq_factor {low:?} and high_freq_factor {high:?} are not above 0 and in ascending order"
                    ));
                }
                (*original == 0).then(|| "original_max_position_embeddings 0 is not above 0".into())
            }
            Self::PerPair { factors } => {
                let (pair, factor) = factors.iter().enumerate().find(|(_, f)| !positive(f64::from(**f)))?;
                Some(format!("the factor of pair {pair} is {factor:?}, which is not above 0"))
            }
        }
    }
}

/// Whether a key with this name states θ, the base of the rotation: `rope_theta`, `rotary_emb_base`,
/// `llama.rope.freq_base`.
pub(super) fn means_theta(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let rotation = key.contains("rope") || key.contains("rotary");
    key.contains("theta") || rotation && key.contains("base") || key == "freq_base"
}

/// `none`, or the type and its numbers.
impl fmt::Display for RopeScaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Linear { factor } => write!(f, "linear, factor {factor}"),
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } => write!(
                f,
                "llama3, factor {factor}, low_freq_factor {low}, high_freq_factor {high}, original context {original}"
            ),
            Self::PerPair { .. } => f.write_str("a factor for each pair"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn llama3(factor: f64, low: f64, high: f64, original: usize) -> RopeScaling {
        RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: original,
        }
    }

    #[rstest]
    #[case::linear(RopeScaling::Linear { factor: 0.5 })]
    #[case::llama_3_1(llama3(8.0, 1.0, 4.0, 8192))]
    #[case::per_pair(RopeScaling::PerPair { factors: vec![1.0, 8.0] })]
    fn plausible_numbers_have_no_fault(#[case] scaling: RopeScaling) {
        assert_eq!(scaling.fault(), None);
    }

    #[rstest]
    #[case::a_factor_of_0(RopeScaling::Linear { factor: 0.0 }, "factor 0.0 is not above 0")]
    #[case::an_infinite_factor(llama3(f64::INFINITY, 1.0, 4.0, 1), "factor inf is not above 0")]
    #[case::wrong_order(
        llama3(8.0, 4.0, 1.0, 8192),
        "low_freq_factor 4.0 and high_freq_factor 1.0 are not above 0 and in ascending order"
    )]
    #[case::equal(
        llama3(8.0, 4.0, 4.0, 8192),
        "low_freq_factor 4.0 and high_freq_factor 4.0 are not above 0 and in ascending order"
    )]
    #[case::no_context(llama3(8.0, 1.0, 4.0, 0), "original_max_position_embeddings 0 is not above 0")]
    #[case::a_negative_pair(RopeScaling::PerPair { factors: vec![1.0, -1.0] }, "the factor of pair 1 is -1.0, which is not above 0")]
    fn impossible_numbers_are_faults(#[case] scaling: RopeScaling, #[case] fault: &str) {
        assert_eq!(scaling.fault().as_deref(), Some(fault));
    }

    /// From transformers' `_compute_llama3_parameters` with θ = 5e5 and head_dim 128, in float64.
    #[rstest]
    #[case::kept(0, 1.0)]
    #[case::kept_up_to_high_freq_factor(25, 0.005940730375674967)]
    #[case::interpolated(30, 0.0013718935677611381)]
    #[case::interpolated_further(34, 0.00017850781276799638)]
    #[case::divided(36, 7.78465527393245e-5)]
    #[case::the_slowest(63, 3.068925988914511e-7)]
    fn frequencies_of_llama_3_1(#[case] pair: usize, #[case] want: f64) {
        let frequency = 5e5f64.powf(-2.0 * pair as f64 / 128.0);
        let got = llama3(8.0, 1.0, 4.0, 8192).scaled(pair, frequency);
        assert!((got / want - 1.0).abs() < 1e-12, "{got} {want}");
    }

    #[test]
    fn linear_and_per_pair_factors_divide_the_frequency() {
        assert_eq!(RopeScaling::Linear { factor: 4.0 }.scaled(3, 2.0), 0.5);
        assert_eq!(RopeScaling::PerPair { factors: vec![1.0, 8.0] }.scaled(1, 2.0), 0.25);
    }

    #[test]
    fn a_linear_factor_of_1_is_no_scaling() {
        assert_eq!(RopeScaling::linear(1.0), RopeScaling::None);
        assert_eq!(RopeScaling::linear(2.0), RopeScaling::Linear { factor: 2.0 });
    }
}
