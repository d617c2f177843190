//! Which scores count as masked.

use candle_core::DType;

/// A score at or below this number is masked: masks add −inf or the lowest number of the dtype.
pub fn masked_below(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => -65504.0 / 2.0,
        _ => f64::from(f32::MIN) / 2.0,
    }
}

/// Is the weight of a score that is `gap` above the largest of its row exactly 0 in this dtype? If so, the
/// score is masked, whatever number it is.
pub fn vanishes(gap: f64, dtype: DType) -> bool {
    let smallest = match dtype {
        DType::F64 => f64::from_bits(1),
        DType::BF16 => 2f64.powi(-133),
        DType::F16 => 2f64.powi(-24),
        _ => 2f64.powi(-149),
    };
    gap.exp() <= smallest / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(-104.0, DType::F32, true)]
    #[case(-103.0, DType::F32, false)]
    #[case(-93.0, DType::BF16, true)]
    #[case(-92.0, DType::BF16, false)]
    #[case(-18.0, DType::F16, true)]
    #[case(-17.0, DType::F16, false)]
    #[case(-746.0, DType::F64, true)]
    #[case(-700.0, DType::F64, false)]
    fn a_weight_vanishes_below_half_of_the_smallest_number(
        #[case] gap: f64,
        #[case] dtype: DType,
        #[case] yes: bool,
    ) {
        assert_eq!(vanishes(gap, dtype), yes);
    }
}
