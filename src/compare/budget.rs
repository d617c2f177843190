//! Budgets: how far a row may differ from the reference, and how that number is derived.

use candle_core::DType;

/// Noise: the rounding error of a correct computation at one row, relative to the row's own scale. It was
/// measured in PyTorch, in the run's dtype, over several orders of summation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Largest error in the row, divided by the row's largest absolute reference value.
    pub max: f64,
    /// Root mean square error of the row, divided by the root mean square of the reference.
    pub rms: f64,
}

impl Noise {
    /// The errors of two roundings together, at most.
    pub fn plus(self, other: Self) -> Self {
        Self { max: self.max + other.max, rms: self.rms + other.rms }
    }

    /// The larger of the two, separately for maximum and root mean square.
    pub fn or_larger(self, other: Self) -> Self {
        Self { max: self.max.max(other.max), rms: self.rms.max(other.rms) }
    }
}

/// The scale of a reference row, over its finite entries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Largest absolute reference value.
    pub max: f64,
    /// Root mean square of the reference.
    pub rms: f64,
}

impl Scale {
    /// The scale of one row. Each row has its own scale, because position 0 of a Llama can have values ten
    /// times larger than all others; a scale per tensor would hide the errors of the others.
    pub fn of(row: impl Iterator<Item = f64>) -> Self {
        let (mut max, mut squares, mut n) = (0f64, 0f64, 0usize);
        for value in row.filter(|v| v.is_finite()) {
            max = max.max(value.abs());
            squares += value * value;
            n += 1;
        }
        Self { max, rms: (squares / n.max(1) as f64).sqrt() }
    }
}

/// The absolute error allowed in one row. Both bounds must hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// For the largest error in the row.
    pub max: f64,
    /// For the root mean square error over the row.
    pub rms: f64,
}

impl Budget {
    /// `scale · (factor · noise + 4 ulp)`, for both the maximum and the root mean square.
    ///
    /// The noise is the error of a correct computation, and the factor is how much larger the error of
    /// another correct computation may be than the measured ones. The four ulps are needed because a sum of
    /// two rounded numbers is never exact, even if the measured runs were.
    pub fn derive(scale: Scale, noise: Noise, factor: f64, dtype: DType) -> Self {
        let floor = 4.0 * ulp(dtype);
        Self { max: scale.max * (factor * noise.max + floor), rms: scale.rms * (factor * noise.rms + floor) }
    }

    /// Is the budget larger than the row itself? Such a budget would accept any value.
    pub fn wider_than(self, scale: Scale) -> bool {
        // Written so that a NaN budget counts as too wide.
        !(self.max <= scale.max && self.rms <= scale.rms)
    }
}

/// The distance from 1 to the next number of `dtype`.
pub fn ulp(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::BF16 => 2f64.powi(-7),
        DType::F16 => 2f64.powi(-10),
        _ => f32::EPSILON as f64,
    }
}

/// The distance between the numbers of `dtype` next to `value`.
pub fn spacing(value: f64, dtype: DType) -> f64 {
    // The exponents of the smallest normal numbers.
    let least = match dtype {
        DType::F64 => -1022,
        DType::F16 => -14,
        _ => -126,
    };
    // The exponent's bits. A logarithm would be rounded up just below a power of two.
    let exponent = (value.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    ulp(dtype) * 2f64.powi(exponent.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use candle_core::{Device, Tensor};
    use rstest::rstest;

    const SCALE: Scale = Scale { max: 10.0, rms: 2.0 };

    #[test]
    fn a_budget_is_scale_times_factor_times_noise_and_four_ulps() {
        let budget = Budget::derive(SCALE, Noise { max: 1e-6, rms: 1e-7 }, 8.0, DType::F32);
        assert_relative_eq!(budget.max, 10.0 * (8e-6 + 4.0 * 2f64.powi(-23)));
        assert_relative_eq!(budget.rms, 2.0 * (8e-7 + 4.0 * 2f64.powi(-23)));
    }

    #[rstest]
    #[case(DType::F64, 2f64.powi(-52))]
    #[case(DType::F32, 2f64.powi(-23))]
    #[case(DType::F16, 2f64.powi(-10))]
    #[case(DType::BF16, 2f64.powi(-7))]
    fn an_ulp_is_the_distance_from_1_to_the_next_number(#[case] dtype: DType, #[case] step: f64) {
        assert_eq!(ulp(dtype), step);
        let at = |value: f64| {
            let rounded = Tensor::new(&[value], &Device::Cpu).and_then(|t| t.to_dtype(dtype));
            rounded.and_then(|t| t.to_dtype(DType::F64)?.to_vec1::<f64>()).unwrap()[0]
        };
        assert_eq!((at(1.0 + step), at(1.0 + step / 4.0)), (1.0 + step, 1.0));
    }

    #[rstest]
    #[case(1.0, DType::BF16, 2f64.powi(-7))]
    #[case(-3.9, DType::BF16, 2f64.powi(-6))]
    #[case(1e-6, DType::F16, 2f64.powi(-24))]
    #[case(0.0, DType::F32, 2f64.powi(-149))]
    #[case(-0.75, DType::F32, 2f64.powi(-24))]
    fn the_spacing_is_the_distance_to_the_next_number(
        #[case] value: f64,
        #[case] dtype: DType,
        #[case] step: f64,
    ) {
        assert_eq!(spacing(value, dtype), step);
    }

    #[test]
    fn masked_entries_do_not_count_for_the_scale() {
        let scale = Scale::of([3.0, f64::NEG_INFINITY, -4.0].into_iter());
        assert_relative_eq!(scale.max, 4.0);
        assert_relative_eq!(scale.rms, 12.5f64.sqrt());
    }

    #[test]
    fn a_budget_larger_than_the_scale_or_nan_is_too_wide() {
        let noisy = |max| Budget::derive(SCALE, Noise { max, rms: 1e-7 }, 8.0, DType::F32);
        assert!(!noisy(0.1).wider_than(SCALE));
        assert!(noisy(0.2).wider_than(SCALE));
        assert!(noisy(f64::NAN).wider_than(SCALE));
        assert!(noisy(f64::INFINITY).wider_than(SCALE));
    }
}
