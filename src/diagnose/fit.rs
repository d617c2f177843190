//! How well a theory fits, and numbers solved for with the interval that the site's noise leaves.

use candle_core::DType;

use super::Evidence;
use crate::compare::{Scale, ulp};
use crate::oracle::Rows;

/// How far a theory is from what the port computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    /// The largest over rows of error / budget, maximum and root mean square alike.
    pub residual: f64,
    /// Entries left out of that: apart by one rounding of the theory's own coarse dtype.
    pub flips: usize,
}

/// Of 100 entries as many may be rounded the other way: a tie is rare.
const FLIPS: usize = 2;

/// What a tensor would be under a theory.
pub(super) struct Expected {
    /// Its rows.
    pub rows: Rows,
    /// The entries that the theory cannot know: scores of padded keys that nobody recorded. They are finite and
    /// not 0, which would be a number that somebody put there.
    unknown: Option<Vec<bool>>,
}

impl From<Rows> for Expected {
    /// All of it is known.
    fn from(rows: Rows) -> Self {
        Self { rows, unknown: None }
    }
}

impl Expected {
    /// But for these entries, one for each of the rows' values.
    pub fn but_for(rows: Rows, unknown: Vec<bool>) -> Self {
        Self { rows, unknown: unknown.contains(&true).then_some(unknown) }
    }

    /// The rows, if all of them are known.
    pub fn known(self) -> Option<Rows> {
        self.unknown.is_none().then_some(self.rows)
    }

    /// Is the entry at column `j` of row `r` known?
    pub fn knows(&self, r: usize, j: usize) -> bool {
        self.unknown.as_ref().is_none_or(|unknown| !unknown[r * self.rows.width + j])
    }
}

/// Compares what the tensor would be with what the port computed. A theory of rounding says the
/// dtype that it rounds to: there a tie may fall either way. A theory that cannot be computed fits nothing.
pub(super) fn fit(e: &Evidence<'_>, theory: Option<&Expected>, coarse: Option<DType>) -> Fit {
    theory.map_or(Fit { residual: f64::INFINITY, flips: 0 }, |theory| distance(e, theory, &e.got, coarse))
}

/// As [`fit`], of any rows at the site.
pub(super) fn distance(e: &Evidence<'_>, expected: &Expected, rows: &Rows, coarse: Option<DType>) -> Fit {
    let (mut fit, theory) = (Fit { residual: 0.0, flips: 0 }, &expected.rows);
    if theory.width != rows.width || theory.len() != rows.len() {
        return Fit { residual: f64::INFINITY, flips: 0 };
    }
    for r in 0..theory.len() {
        let entries = theory.row(r).iter().enumerate();
        let known: Vec<f64> = entries.filter(|&(j, _)| expected.knows(r, j)).map(|(_, &v)| v).collect();
        let budget = e.budget(r, &known);
        let scale = Scale::of(known.iter().copied()).max;
        let (mut squares, mut finite) = (0.0, 0usize);
        for (j, (&got, &want)) in rows.row(r).iter().zip(theory.row(r)).enumerate() {
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
    if fit.flips * 100 > FLIPS * theory.values.len() {
        fit.residual = f64::INFINITY;
    }
    fit
}

/// As [`fit`], of a theory that says something else than the right rows. What the right rows explain as well, within
/// the same tolerance, or what is the same as they are, explains nothing.
pub(super) fn weigh(
    e: &Evidence<'_>,
    right: &Expected,
    theory: Option<&Expected>,
    coarse: Option<DType>,
) -> Fit {
    let nothing = Fit { residual: f64::INFINITY, flips: 0 };
    let Some(theory) = theory else { return nothing };
    let same = distance(e, theory, &right.rows, None).residual <= 1.0;
    if same || (coarse.is_some() && fit(e, Some(right), coarse).residual <= 1.0) {
        return nothing;
    }
    fit(e, Some(theory), coarse)
}

/// A number solved for: the true one lies within `bound` of it, if every error was within budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    /// The number.
    pub value: f64,
    /// How far it may be off.
    pub bound: f64,
}

impl Estimate {
    /// From samples of one number, each with the most that it may be off: their mean weighted by
    /// 1/δ², off by the same mean of the δ at most.
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

    /// May it be `value`?
    pub fn allows(self, value: f64) -> bool {
        (self.value - value).abs() <= self.bound
    }
}

impl std::fmt::Display for Estimate {
    /// `10000 ± 3`, `3.0002e-6 ± 4e-10`: as many digits as the bound leaves.
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

/// One digit, upwards.
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
    fn an_estimate_shows_the_digits_that_it_has(#[case] value: f64, #[case] bound: f64, #[case] said: &str) {
        assert_eq!(Estimate { value, bound }.to_string(), said);
    }

    #[test]
    fn the_sharpest_sample_decides() {
        let estimate = Estimate::of([(1.0, 1e-6), (2.0, 1.0)].into_iter()).unwrap();
        assert!(estimate.allows(1.0) && !estimate.allows(1.0001), "{estimate:?}");
    }
}
