//! Deviations in the softmax: half precision, and other functions of the scores.

use candle_core::DType;

use crate::diagnose::round;
use crate::oracle::{self, Rows};

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

/// A function of the scores other than the softmax over the keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) enum SoftmaxForm {
    /// The softmax of the scores over a temperature.
    Temperature(f64),
    /// 1 is added to the sum of exponentials: as if there was one more key with score 0, if `shifted` with the
    /// largest score.
    PlusOne { shifted: bool },
    /// The sigmoid of each score.
    Sigmoid,
    /// The same weight for each visible key.
    Uniform,
    /// max(x, 0) over its sum.
    Relu,
    /// Exponentials that are not divided; if `count`, divided by the number of visible keys.
    Undivided { count: bool },
    /// The softmax of the probabilities.
    Twice,
    /// The sum over the queries.
    OverQueries,
    /// The sum over the heads.
    OverHeads,
    /// The logarithm of the probabilities.
    Log,
    /// Only the so many largest probabilities, normalised again.
    Top(usize),
    /// Exponentials rounded to a dtype.
    Exponentials(DType),
    /// The sum rounded to a dtype.
    Sum(DType),
    /// Exponentials, their sum and the result rounded to a dtype.
    Every(DType),
    /// Computed in a dtype, without subtracting the largest score first.
    WithoutMax(DType),
    /// Blocks of so many keys, each with its own largest score, added up without rescaling.
    Blocks(usize),
}

impl SoftmaxForm {
    /// The weights, `[queries, heads * slots]` → the same shape. Masked scores are −inf.
    pub fn of(self, scores: &Rows, slots: usize) -> Rows {
        let by_run = |of: &dyn Fn(&[f64]) -> Vec<f64>| {
            let values = scores.values.chunks_exact(slots).flat_map(of).collect();
            Rows::new(scores.width, values)
        };
        let largest = |run: &[f64]| run.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exponentials = |run: &[f64]| -> Vec<f64> {
            let most = largest(run);
            run.iter().map(|x| if *x == f64::NEG_INFINITY { 0.0 } else { (x - most).exp() }).collect()
        };
        let over = |e: Vec<f64>, sum: f64| e.into_iter().map(|e| e / sum).collect::<Vec<f64>>();
        let seen = |run: &[f64]| run.iter().filter(|x| x.is_finite()).count() as f64;
        let softmax = |run: &[f64]| {
            let e = exponentials(run);
            let sum = e.iter().sum();
            over(e, sum)
        };
        match self {
            Self::Temperature(by) => oracle::softmax(
                &Rows::new(scores.width, scores.values.iter().map(|x| x / by).collect()),
                slots,
            ),
            Self::PlusOne { shifted } => by_run(&|run| {
                let e = exponentials(run);
                let one = if shifted { 1.0 } else { (-largest(run)).exp() };
                let sum = e.iter().sum::<f64>() + one;
                over(e, sum)
            }),
            Self::Sigmoid => by_run(&|run| run.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()),
            Self::Uniform => by_run(&|run| {
                let each = 1.0 / seen(run);
                run.iter().map(|x| if x.is_finite() { each } else { 0.0 }).collect()
            }),
            Self::Relu => by_run(&|run| {
                let relu: Vec<f64> = run.iter().map(|x| x.max(0.0)).collect();
                let sum = relu.iter().sum::<f64>().max(1e-6);
                over(relu, sum)
            }),
            Self::Undivided { count } => by_run(&|run| {
                let n = if count { seen(run) } else { 1.0 };
                over(exponentials(run), n)
            }),
            Self::Twice => by_run(&|run| {
                let once = softmax(run);
                let again = |(p, x): (&f64, &f64)| if x.is_finite() { *p } else { f64::NEG_INFINITY };
                softmax(&once.iter().zip(run).map(again).collect::<Vec<f64>>())
            }),
            Self::OverQueries => {
                let n = scores.len();
                let column = |j: usize| (0..n).map(|r| scores.row(r)[j]).collect::<Vec<f64>>();
                let columns: Vec<Vec<f64>> = (0..scores.width).map(|j| softmax(&column(j))).collect();
                Rows::from_fn(n, scores.width, |r, j| columns[j][r])
            }
            Self::OverHeads => {
                let heads = scores.width / slots;
                Rows::from_fn(scores.len(), scores.width, |r, j| {
                    let run: Vec<f64> = (0..heads).map(|h| scores.row(r)[h * slots + j % slots]).collect();
                    if run.iter().all(|x| *x == f64::NEG_INFINITY) { 0.0 } else { softmax(&run)[j / slots] }
                })
            }
            Self::Log => by_run(&|run| softmax(run).into_iter().map(f64::ln).collect()),
            Self::Top(n) => by_run(&|run| {
                let mut sorted = run.to_vec();
                sorted.sort_by(|a, b| b.total_cmp(a));
                let least = sorted.get(n.saturating_sub(1)).copied().unwrap_or(f64::NEG_INFINITY);
                let kept = run.iter().map(|&x| if x >= least { x } else { f64::NEG_INFINITY });
                softmax(&kept.collect::<Vec<f64>>())
            }),
            Self::Exponentials(dtype) => by_run(&|run| {
                let e: Vec<f64> = exponentials(run).into_iter().map(|e| round(e, dtype)).collect();
                let sum = e.iter().sum();
                over(e, sum)
            }),
            Self::Sum(dtype) => by_run(&|run| {
                let e = exponentials(run);
                let sum = round(e.iter().map(|e| round(*e, dtype)).sum(), dtype);
                over(e, sum)
            }),
            Self::Every(dtype) => by_run(&|run| {
                let e: Vec<f64> = exponentials(run).into_iter().map(|e| round(e, dtype)).collect();
                let sum = round(e.iter().sum(), dtype);
                e.into_iter().map(|e| round(e / sum, dtype)).collect()
            }),
            Self::WithoutMax(dtype) => by_run(&|run| {
                let e: Vec<f64> = run.iter().map(|x| round(round(*x, dtype).exp(), dtype)).collect();
                let sum = round(e.iter().sum(), dtype);
                e.into_iter().map(|e| round(e / sum, dtype)).collect()
            }),
            Self::Blocks(size) => by_run(&|run| {
                let e: Vec<f64> = run.chunks(size.max(1)).flat_map(exponentials).collect();
                let sum = e.iter().filter(|e| !e.is_nan()).sum();
                over(e, sum)
            }),
        }
    }

    /// What the port does: `uses a softmax …`, after "you".
    pub fn says(self) -> String {
        match self {
            Self::Temperature(by) if by == 1.0 / 2f64.ln() => {
                "use powers of 2 in the softmax where powers of e belong (the same as a temperature of 1/ln 2)"
                    .into()
            }
            Self::Temperature(by) if by == 1.0 / 10f64.ln() => {
                "use powers of 10 in the softmax where powers of e belong".into()
            }
            Self::Temperature(by) => format!("divide the scores by {by} in the softmax"),
            Self::PlusOne { shifted: false } => {
                "add 1 to the softmax's sum: one more key with a score of 0".into()
            }
            Self::PlusOne { shifted: true } => {
                "add 1 to the softmax's sum after subtracting the largest score".into()
            }
            Self::Sigmoid => "use a sigmoid of each score in place of the softmax".into(),
            Self::Uniform => "give every visible key the same weight".into(),
            Self::Relu => "use max(x, 0) divided by its sum in place of the softmax".into(),
            Self::Undivided { count: false } => "do not divide the exponentials by their sum".into(),
            Self::Undivided { count: true } => {
                "divide the exponentials by the number of visible keys; divide by their sum".into()
            }
            Self::Twice => "apply the softmax twice".into(),
            Self::OverQueries => "take the softmax over the queries; take it over the keys".into(),
            Self::OverHeads => "take the softmax over the heads; take it over the keys".into(),
            Self::Log => "return the logarithm of the probabilities".into(),
            Self::Top(n) => format!("keep only the {n} largest probabilities of each row"),
            Self::Exponentials(dtype) => format!("round the softmax's exponentials to {}", dtype.as_str()),
            Self::Sum(dtype) => format!("add up the softmax's exponentials in {}", dtype.as_str()),
            Self::Every(dtype) => {
                format!("round the softmax's exponentials, their sum and the result to {}", dtype.as_str())
            }
            Self::WithoutMax(dtype) => format!(
                "compute the softmax in {} without subtracting the largest score, so it overflows",
                dtype.as_str()
            ),
            Self::Blocks(n) => {
                format!("compute the softmax in blocks of {n} keys without rescaling their sums to one maximum")
            }
        }
    }

    /// Whether each query's weights depend on its own scores only.
    pub fn is_row_wise(self) -> bool {
        self != Self::OverQueries
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
