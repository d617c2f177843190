//! How a tensor was rounded, from the signed errors of its entries in units of the last place.
//!
//! Rounding to nearest has an error of 0 ulp on average, and of ½ ulp at most. Cutting bits off has one of −½ ulp on
//! average: every entry is within any budget, but over a thousand entries the mean is dozens of standard errors
//! away from 0.

use candle_core::DType;

use super::budget::{Scale, spacing};

/// An entry this much smaller than the largest of its row is left out: the errors of the sum before its rounding
/// are no longer small against an ulp.
const SMALL: f64 = 1.0 / 16.0;

/// A value this near to a number of the dtype, in ulps, shows nothing: it would hardly be rounded at all.
const EXACT: f64 = 0.02;

/// How far an error may be outside its range, in ulps.
const TOLERANCE: f64 = 0.05;

/// The signed errors (recorded − exact) / ulp of a tensor's entries, negative towards zero.
#[derive(Clone, Debug)]
pub struct Roundings {
    /// The dtype that the entries were rounded to.
    dtype: DType,
    /// The mean error of each cluster.
    clusters: Vec<f64>,
    /// Number of entries.
    entries: usize,
    /// Σ error².
    squares: f64,
    /// Entries whose error is at most ½ ulp.
    nearest: usize,
    /// Entries whose error is between −1 and 0 ulp.
    cut: usize,
    /// Number of entries and Σ error, of entries with a mantissa below 1.5 and of the others.
    halves: [(usize, f64); 2],
}

impl Roundings {
    /// No entries yet.
    pub fn to(dtype: DType) -> Self {
        Self { dtype, clusters: vec![], entries: 0, squares: 0.0, nearest: 0, cut: 0, halves: [(0, 0.0); 2] }
    }

    /// Adds one row. Entries whose errors may have a common cause form a cluster: `cluster` entries next to each
    /// other.
    pub fn row(&mut self, got: &[f64], want: &[f64], cluster: usize) {
        let least = Scale::of(want.iter().copied()).max * SMALL;
        for (got, want) in got.chunks(cluster.max(1)).zip(want.chunks(cluster.max(1))) {
            let errors: Vec<(f64, bool)> =
                got.iter().zip(want).filter_map(|(&got, &want)| self.error(got, want, least)).collect();
            if errors.is_empty() {
                continue;
            }
            self.clusters.push(errors.iter().map(|(error, _)| error).sum::<f64>() / errors.len() as f64);
            self.entries += errors.len();
            for (error, upper) in errors {
                let half = &mut self.halves[usize::from(upper)];
                *half = (half.0 + 1, half.1 + error);
                self.squares += error * error;
                self.nearest += usize::from(error.abs() <= 0.5 + TOLERANCE);
                self.cut += usize::from((-1.0 - TOLERANCE..=TOLERANCE).contains(&error));
            }
        }
    }

    /// The error of an entry, and whether its mantissa is at least 1.5.
    fn error(&self, got: f64, want: f64, least: f64) -> Option<(f64, bool)> {
        let ulp = spacing(want, self.dtype);
        let steps = want.abs() / ulp;
        let shows = got.is_finite() && want.abs() >= least && (steps - steps.round()).abs() > EXACT;
        let upper = steps / steps.log2().floor().exp2() >= 1.5;
        shows.then(|| ((got - want) * want.signum() / ulp, upper))
    }

    /// The number of entries.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// The share of entries that are the nearest numbers of the dtype; 0 if there are no entries.
    pub fn nearest(&self) -> f64 {
        self.nearest as f64 / self.entries.max(1) as f64
    }

    /// The share of entries that are exact values with bits cut off; 0 if there are no entries.
    pub fn cut(&self) -> f64 {
        self.cut as f64 / self.entries.max(1) as f64
    }

    /// How much further from 0 the mean error of large mantissas is than that of small ones: 0 after cutting bits off,
    /// a third of the mean error after multiplying by a number.
    fn slope(&self) -> f64 {
        let [lower, upper] = self.halves.map(|(n, sum)| sum / n.max(1) as f64);
        upper - lower
    }

    /// The root mean square of the errors.
    pub fn rms(&self) -> f64 {
        (self.squares / self.entries.max(1) as f64).sqrt()
    }

    /// The mean error, if it can only come from rounding towards zero: at least 0.3 ulp towards zero and twelve
    /// standard errors of the clusters' means away from 0, with errors that are no larger than roundings.
    pub fn bias(&self) -> Option<f64> {
        let n = self.clusters.len() as f64;
        let mean = self.clusters.iter().sum::<f64>() / n;
        let variance = self.clusters.iter().map(|m| (m - mean) * (m - mean)).sum::<f64>() / (n - 1.0);
        let standard_error = (variance / n).sqrt();
        let enough = self.clusters.len() >= 8 && self.entries >= 256;
        // Values times slightly too small a number have errors towards zero too, but larger ones in larger mantissas.
        let cut = self.slope() > mean / 6.0;
        (enough && cut && mean <= -0.3 && -mean >= 12.0 * standard_error && self.rms() <= 1.0).then_some(mean)
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use rstest::rstest;

    use super::*;

    /// Rows of 64 numbers, as a sum would give them.
    fn exact(rows: usize) -> Vec<Vec<f64>> {
        let entry = |n: usize| ((n * 7919 % 10007) as f64 / 10007.0 * 6.0 - 3.0) * 1.2345;
        (0..rows).map(|r| (0..64).map(|j| entry(r * 64 + j)).collect()).collect()
    }

    fn cut(value: f64) -> f64 {
        f64::from(f32::from_bits((value as f32).to_bits() & 0xffff_0000))
    }

    fn roundings(rows: usize, round: impl Fn(usize, f64) -> f64) -> Roundings {
        let mut roundings = Roundings::to(DType::BF16);
        for (r, want) in exact(rows).iter().enumerate() {
            let got: Vec<f64> = want.iter().map(|&v| round(r, v)).collect();
            roundings.row(&got, want, 64);
        }
        roundings
    }

    #[test]
    fn cutting_bits_off_has_a_bias_and_rounding_to_nearest_has_none() {
        let near = roundings(16, |_, v| bf16::from_f64(v).to_f64());
        let truncated = roundings(16, |_, v| cut(v));
        assert_eq!(near.bias(), None);
        assert!((-0.55..-0.45).contains(&truncated.bias().unwrap()), "{truncated:?}");
        assert!(near.nearest() == 1.0 && near.cut() < 0.7, "{near:?}");
        assert!(truncated.cut() == 1.0 && truncated.nearest() < 0.7, "{truncated:?}");
    }

    /// A norm whose factor is rounded shifts a whole row, in either direction.
    #[test]
    fn rows_that_are_shifted_as_a_whole_have_no_bias() {
        let shift = |r: usize| 1.0 + (if r.is_multiple_of(3) { 1.0 } else { -1.0 }) * 2f64.powi(-9);
        let shifted = roundings(24, |r, v| bf16::from_f64(v * shift(r)).to_f64());
        assert_eq!(shifted.bias(), None, "{shifted:?}");
    }

    /// √((n − 1) / n) for n = 128: less than an ulp of bf16.
    #[test]
    fn a_factor_slightly_below_1_is_not_truncation() {
        let scaled = roundings(24, |_, v| bf16::from_f64(v * 0.996).to_f64());
        assert_eq!(scaled.bias(), None, "{scaled:?}");
    }

    #[rstest]
    #[case::too_few_clusters(7)]
    #[case::none(0)]
    fn a_bias_needs_entries(#[case] rows: usize) {
        assert_eq!(roundings(rows, |_, v| cut(v)).bias(), None);
    }

    /// Values that are wrong by more than roundings are not a matter of rounding.
    #[test]
    fn an_error_of_several_ulps_is_no_bias() {
        assert_eq!(roundings(16, |_, v| v * (1.0 - 2f64.powi(-6))).bias(), None);
    }
}
