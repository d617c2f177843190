//! Measures how well a hypothesis fits the port's rows, and holds solved numbers with their uncertainty.

use candle_core::DType;

use super::Evidence;
use crate::compare::{Scale, ulp};
use crate::oracle::Rows;

/// The distance of a hypothesis from what the port computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    /// The largest error / budget of any row, for both the maximum and the root mean square.
    pub residual: f64,
    /// The number of entries left out of `residual`: they differ by one rounding in the hypothesis' coarse
    /// dtype.
    pub flips: usize,
}

/// The percentage of entries that may be rounded the other way: ties are rare.
const FLIPS: usize = 2;

/// The tensor that a hypothesis predicts.
pub(super) struct Expected {
    /// Its rows.
    pub rows: Rows,
    /// The entries that the hypothesis cannot predict: scores of padded keys that were not recorded. The
    /// port's values there must be finite and not 0, because a 0 would have been written there on purpose.
    unknown: Option<Vec<bool>>,
}

impl From<Rows> for Expected {
    /// All entries are known.
    fn from(rows: Rows) -> Self {
        Self { rows, unknown: None }
    }
}

impl Expected {
    /// All entries are known except those marked in `unknown`, which has one flag per value.
    pub fn but_for(rows: Rows, unknown: Vec<bool>) -> Self {
        Self { rows, unknown: unknown.contains(&true).then_some(unknown) }
    }

    /// The rows, if all entries are known.
    pub fn known(self) -> Option<Rows> {
        self.unknown.is_none().then_some(self.rows)
    }

    /// Whether the entry at column `j` of row `r` is known.
    pub fn knows(&self, r: usize, j: usize) -> bool {
        self.unknown.as_ref().is_none_or(|unknown| !unknown[r * self.rows.width + j])
    }
}

/// Compares the predicted tensor with the port's. A hypothesis about rounding gives the dtype it rounds to as
/// `coarse`: a tie may then be rounded either way. A hypothesis that cannot be computed does not fit.
pub(super) fn fit(e: &Evidence<'_>, predicted: Option<&Expected>, coarse: Option<DType>) -> Fit {
    predicted
        .map_or(Fit { residual: f64::INFINITY, flips: 0 }, |predicted| distance(e, predicted, &e.got, coarse))
}

/// Like [`fit`], for any rows at the site.
pub(super) fn distance(e: &Evidence<'_>, expected: &Expected, rows: &Rows, coarse: Option<DType>) -> Fit {
    let (mut fit, predicted) = (Fit { residual: 0.0, flips: 0 }, &expected.rows);
    if predicted.width != rows.width || predicted.len() != rows.len() {
        return Fit { residual: f64::INFINITY, flips: 0 };
    }
    for r in 0..predicted.len() {
        let entries = predicted.row(r).iter().enumerate();
        let known: Vec<f64> = entries.filter(|&(j, _)| expected.knows(r, j)).map(|(_, &v)| v).collect();
        let budget = e.budget(r, &known);
        let scale = Scale::of(known.iter().copied()).max;
        let (mut squares, mut finite) = (0.0, 0usize);
        for (j, (&got, &want)) in rows.row(r).iter().zip(predicted.row(r)).enumerate() {
            if !expected.knows(r, j) {
                if !got.is_finite() || got == 0.0 {
                    return Fit { residual: f64::INFINITY, flips: 0 };
                }
                finite += 1;
                continue;
            }
            if got == want || (got.is_nan() && want.is_nan()) {
                finite += 1;
                continue;
            }
            let error = (got - want).abs();
            if !error.is_finite() {
                return Fit { residual: f64::INFINITY, flips: 0 };
            }
            if coarse.is_some_and(|d| error > budget.max && error <= 1.01 * ulp(d) * scale) {
                fit.flips += 1;
                continue;
            }
            fit.residual = fit.residual.max(error / budget.max);
            squares += error * error;
            finite += 1;
        }
        if squares > 0.0 {
            fit.residual = fit.residual.max((squares / finite as f64).sqrt() / budget.rms);
        }
    }
    if fit.flips * 100 > FLIPS * predicted.values.len() {
        fit.residual = f64::INFINITY;
    }
    fit
}

/// Like [`fit`], but a hypothesis must differ from the correct rows. It does not fit if it predicts the same
/// as the correct rows, or if the correct rows fit as well within the same tolerance.
pub(super) fn weigh(
    e: &Evidence<'_>,
    right: &Expected,
    predicted: Option<&Expected>,
    coarse: Option<DType>,
) -> Fit {
    let nothing = Fit { residual: f64::INFINITY, flips: 0 };
    let Some(predicted) = predicted else { return nothing };
    let same = distance(e, predicted, &right.rows, None).residual <= 1.0;
    if same || (coarse.is_some() && fit(e, Some(right), coarse).residual <= 1.0) {
        return nothing;
    }
    fit(e, Some(predicted), coarse)
}

/// A solved number: the port's own value is within `bound` of it if every error was within budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    /// The number.
    pub value: f64,
    /// The largest possible error of `value`.
    pub bound: f64,
}

impl Estimate {
    /// Combines samples of one number, each with its largest error δ: the value is their mean weighted by
    /// 1/δ², the bound is the mean of δ with the same weights.
    pub fn of(samples: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let (mut sum, mut weights, mut off) = (0.0, 0.0, 0.0);
        for (value, delta) in samples.filter(|(value, delta)| value.is_finite() && *delta > 0.0) {
            let weight = 1.0 / (delta * delta);
            if weight.is_finite() {
                sum += value * weight;
                weights += weight;
                off += delta * weight;
            }
        }
        (weights > 0.0).then(|| Self { value: sum / weights, bound: off / weights })
    }

    /// Whether the number may be `value`.
    pub fn allows(self, value: f64) -> bool {
        (self.value - value).abs() <= self.bound
    }
}

impl std::fmt::Display for Estimate {
    /// `10000 ± 3`, `3.0002e-6 ± 4e-10`: prints the digits that the bound makes significant.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { value, bound } = *self;
        let digit = bound.max(1e-300).log10().floor();
        if value.abs() >= 1e-3 && value.abs() < 1e7 {
            let decimals = (-digit).clamp(0.0, 12.0) as usize;
            return write!(f, "{value:.decimals$} ± {}", short(bound));
        }
        let digits = (value.abs().max(1e-300).log10().floor() - digit).clamp(0.0, 12.0) as usize;
        write!(f, "{value:.digits$e} ± {}", short(bound))
    }
}

/// `bound` rounded up to one digit.
fn short(bound: f64) -> String {
    let digit = 10f64.powf(bound.max(1e-300).log10().floor());
    let up = (bound / digit).ceil() * digit;
    if (1e-3..1e6).contains(&up) { format!("{}", (up * 1e6).round() / 1e6) } else { format!("{up:.0e}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(9999.87, 2.6, "10000 ± 3")]
    #[case(3.00021e-6, 3.7e-10, "3.0002e-6 ± 4e-10")]
    #[case(0.176776, 2e-5, "0.17678 ± 2e-5")]
    #[case(2.0, 0.012, "2.00 ± 0.02")]
    fn an_estimate_prints_its_significant_digits(
        #[case] value: f64,
        #[case] bound: f64,
        #[case] expected: &str,
    ) {
        assert_eq!(Estimate { value, bound }.to_string(), expected);
    }

    #[test]
    fn the_most_precise_sample_dominates() {
        let estimate = Estimate::of([(1.0, 1e-6), (2.0, 1.0)].into_iter()).unwrap();
        assert!(estimate.allows(1.0) && !estimate.allows(1.0001), "{estimate:?}");
    }
}
