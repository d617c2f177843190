//! Deviations in the softmax: half precision.

use candle_core::DType;

use crate::diagnose::round;
use crate::oracle::Rows;

/// A softmax in which every step is rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) struct LowSoftmax {
    /// The dtype that steps are rounded to.
    pub dtype: DType,
    /// Whether the sum is rounded after each added term, or only once.
    pub terms: bool,
}

impl LowSoftmax {
    /// e^(x − max) / Σ e^(x − max) along each run of `slots` entries, `[queries, heads * slots]` → the same
    /// shape.
    pub fn of(self, scores: &Rows, slots: usize) -> Rows {
        let round = |v: f64| round(v, self.dtype);
        let mut probs = scores.clone();
        for run in probs.values.chunks_exact_mut(slots) {
            run.iter_mut().for_each(|x| *x = round(*x));
            let largest = run.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            run.iter_mut().for_each(|x| *x = round(round(*x - largest).exp()));
            let sum = if self.terms {
                run.iter().fold(0.0, |sum, x| round(sum + x))
            } else {
                round(run.iter().sum::<f64>())
            };
            run.iter_mut().for_each(|x| *x = round(*x / sum));
        }
        probs
    }

    /// What a port with this softmax does, in the second person.
    pub fn says(self) -> String {
        let how = if self.terms { "sum the softmax term by term" } else { "compute the softmax" };
        format!("you {how} in {}, so its probabilities do not sum to 1", self.dtype.as_str())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// With equal scores, the sum stops growing once adding 1 no longer changes it.
    #[rstest]
    #[case::bf16_counts_to_256(DType::BF16, 512, true, 2.0)]
    #[case::f16_counts_to_2048(DType::F16, 4096, true, 2.0)]
    #[case::f16_counts_up_to_2048(DType::F16, 2048, true, 1.0)]
    #[case::rounded_once(DType::BF16, 512, false, 1.0)]
    fn probabilities_sum_to(
        #[case] dtype: DType,
        #[case] slots: usize,
        #[case] terms: bool,
        #[case] sum: f64,
    ) {
        let probs = LowSoftmax { dtype, terms }.of(&Rows::new(2 * slots, vec![3.0; 2 * slots]), slots);
        assert_eq!(probs.values.iter().sum::<f64>(), 2.0 * sum);
    }

    #[test]
    fn masked_entries_have_probability_0() {
        let scores = Rows::new(3, vec![0.0, f64::NEG_INFINITY, 0.0]);
        assert_eq!(LowSoftmax { dtype: DType::BF16, terms: true }.of(&scores, 3).values, [0.5, 0.0, 0.5]);
    }
}
