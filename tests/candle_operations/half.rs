//! Half precision: sums, softmax and activations that are computed in the tensor's own dtype.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{softmax, softmax_last_dim, swiglu};
use rstest::rstest;

use super::{tensor, values};

/// The probabilities of equal logits sum to 1. A sum of ones in bf16 stops at 256, in f16 at 2048.
#[rstest]
#[case::bf16_still_exact(DType::BF16, 256, 1.0)]
#[case::bf16_512(DType::BF16, 512, 2.0)]
#[case::bf16_1024(DType::BF16, 1024, 4.0)]
#[case::bf16_4096(DType::BF16, 4096, 16.0)]
#[case::f16_still_exact(DType::F16, 1024, 1.0)]
#[case::f16_4096(DType::F16, 4096, 2.0)]
#[case::f16_8192(DType::F16, 8192, 4.0)]
#[case::f32_right(DType::F32, 8192, 1.0)]
fn softmax_of_equal_logits_in_half_precision_does_not_sum_to_1(
    #[case] dtype: DType,
    #[case] n: usize,
    #[case] sum: f32,
) {
    let logits = Tensor::ones((1, n), dtype, &Device::Cpu).unwrap();
    for probs in [softmax_last_dim(&logits).unwrap(), softmax(&logits, D::Minus1).unwrap()] {
        assert_eq!(values(&probs).iter().sum::<f32>(), sum);
    }
    let wide = softmax_last_dim(&logits.to_dtype(DType::F32).unwrap()).unwrap();
    assert!((values(&wide).iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

#[rstest]
#[case(DType::BF16, 256.0)]
#[case(DType::F16, 2048.0)]
#[case::right(DType::F32, 4099.0)]
fn the_sum_of_4099_ones_stops_early_in_half_precision(#[case] dtype: DType, #[case] sum: f32) {
    let ones = Tensor::ones(4099, dtype, &Device::Cpu).unwrap();
    assert_eq!(values(&ones.sum_all().unwrap()), [sum]);
}

#[test]
fn a_partial_sum_past_65504_is_infinite_in_f16_although_the_sum_is_0() {
    let x = tensor(&[20000., 20000., 20000., 20000., -20000., -20000., -20000., -20000.], &[8], DType::F16);
    assert_eq!(values(&x.sum_all().unwrap()), [f32::INFINITY]);
    assert_eq!(values(&x.to_dtype(DType::F32).unwrap().sum_all().unwrap()), [0.0]);
}

/// exp(12) is more than f16 holds, so that x / (1 + exp(−x)) is −0.
#[test]
fn silu_in_f16_is_0_below_minus_11() {
    let x = tensor(&[-10.0, -12.0], &[2], DType::F16);
    let got = values(&x.silu().unwrap());
    let want = [-10.0, -12.0].map(|x: f64| x / (1.0 + (-x).exp()));
    assert!((f64::from(got[0]) - want[0]).abs() < 1e-6);
    assert_eq!(got[1], 0.0);
    // The right number is 1237 times the smallest one of f16.
    assert!(want[1] < -7.3e-5);
    let wide = x.to_dtype(DType::F32).unwrap().silu().unwrap().to_dtype(DType::F16).unwrap();
    assert!((f64::from(values(&wide)[1]) - want[1]).abs() < 6e-8);
}

/// 1 + tanh cancels: where tanh rounds to −1, the result is 0.
#[rstest]
#[case(DType::BF16, -3.0)]
#[case(DType::F16, -3.5)]
fn gelu_in_half_precision_is_0_where_tanh_rounds_to_minus_1(#[case] dtype: DType, #[case] x: f32) {
    let x = tensor(&[x], &[1], dtype);
    let narrow = values(&x.gelu().unwrap())[0];
    let wide = values(&x.to_dtype(DType::F32).unwrap().gelu().unwrap())[0];
    assert!(wide < -4e-4, "{wide}");
    assert!((narrow - wide).abs() > 0.3 * wide.abs(), "{narrow} and {wide}");
}

#[test]
fn silu_of_minus_infinity_is_nan_and_swiglu_gates_with_the_first_half() {
    let x = tensor(&[f32::NEG_INFINITY, 0.0], &[2], DType::F32);
    let silu = values(&x.silu().unwrap());
    assert!(silu[0].is_nan() && silu[1] == 0.0);
    let x = tensor(&[2.0, 0.0, 3.0, 5.0], &[1, 4], DType::F32);
    let gated = values(&swiglu(&x).unwrap());
    assert!((gated[0] - 3.0 * 2.0 / (1.0 + (-2f32).exp())).abs() < 1e-6 && gated[1] == 0.0);
}

#[test]
fn softmax_of_a_row_that_is_all_masked_is_nan() {
    let x = tensor(&[f32::NEG_INFINITY; 4], &[1, 4], DType::F32);
    for probs in [softmax_last_dim(&x).unwrap(), softmax(&x, D::Minus1).unwrap()] {
        assert!(values(&probs).iter().all(|x| x.is_nan()));
    }
}

/// The conversion from float64 drops the low bits before it rounds, so a number just above a tie becomes a tie.
#[test]
fn a_cast_from_float64_to_bf16_rounds_twice() {
    let above = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
    let x = Tensor::new(&[above], &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap();
    // 1 + 2⁻⁷ is nearer.
    assert_eq!(values(&x), [1.0]);
}

#[rstest]
#[case::first(0, 0)]
#[case::in_the_middle(2, 1)]
#[case::last(3, 1)]
fn argmax_finds_a_nan_only_where_it_comes_first(#[case] place: usize, #[case] found: u32) {
    let mut x = [1.0, 5.0, 2.0, 3.0];
    x[place] = f32::NAN;
    let at = tensor(&x, &[4], DType::F32).argmax(0).unwrap();
    assert_eq!(at.to_scalar::<u32>().unwrap(), found);
}
