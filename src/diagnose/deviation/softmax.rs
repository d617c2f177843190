//! The softmax in half precision.

use candle_core::DType;

use crate::diagnose::round;
use crate::oracle::Rows;

/// A softmax whose every step is rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) struct LowSoftmax {
    /// What it is rounded to.
    pub dtype: DType,
    /// Is the sum rounded after each term, one behind the other, or once?
    pub terms: bool,
}

impl LowSoftmax {
    /// e^(x − max) / Σ e^(x − max) along each run of `slots` entries, `[queries, heads * slots]` → the same.
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

    /// What a port does that computes so, in the second person.
    pub fn says(self) -> String {
        let how = if self.terms { "sum the softmax term by term" } else { "compute the softmax" };
        format!("you {how} in {}: its probabilities do not sum to 1", self.dtype.as_str())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Equal scores: the sum stops growing where adding 1 no longer changes it.
    #[rstest]
    #[case::bf16_counts_to_256(DType::BF16, 512, true, 2.0)]
    #[case::f16_counts_to_2048(DType::F16, 4096, true, 2.0)]
    #[case::so_far_it_counts(DType::F16, 2048, true, 1.0)]
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
    fn what_is_barred_has_no_probability() {
        let scores = Rows::new(3, vec![0.0, f64::NEG_INFINITY, 0.0]);
        assert_eq!(LowSoftmax { dtype: DType::BF16, terms: true }.of(&scores, 3).values, [0.5, 0.0, 0.5]);
    }
}
