//! Products of matrices, of floats and of quantised blocks.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module};
use rstest::rstest;

use super::{farthest, spread, tensor, values};

#[test]
fn a_product_in_float32_is_the_same_in_every_run() {
    let (a, b) = (
        tensor(&spread(7 * 1000), &[7, 1000], DType::F32),
        tensor(&spread(333_000), &[1000, 333], DType::F32),
    );
    let first = values(&a.matmul(&b).unwrap());
    for _ in 0..5 {
        assert_eq!(values(&a.matmul(&b).unwrap()), first);
    }
    // A row alone is summed in another order on most processors, but never far from the same numbers.
    let alone = values(&a.narrow(0, 0, 1).unwrap().matmul(&b).unwrap());
    let row: Vec<f64> = first[..333].iter().map(|&x| f64::from(x)).collect();
    assert!(farthest(&alone, &row) < 1e-4);
}

/// Half precision accumulates in float32 and rounds once in bf16; in f16, some kernels also round between.
#[rstest]
#[case(DType::BF16, 1.01)]
#[case::of_some_kernels(DType::F16, 2000.0)]
fn a_long_product_in_half_precision(#[case] dtype: DType, #[case] most_half_ulps: f64) {
    const K: usize = 4096;
    let round = |x: &[f32], dims: &[usize]| tensor(x, dims, dtype);
    let (a, b) = (round(&spread(K), &[1, K]), round(&spread(K * 64), &[K, 64]));
    let (x, w) = (values(&a), values(&b));
    let want: Vec<f64> =
        (0..64).map(|j| (0..K).map(|k| f64::from(x[k]) * f64::from(w[k * 64 + j])).sum()).collect();
    let largest = want.iter().fold(0f64, |most, x| most.max(x.abs()));
    let half_ulp = candle_ulp(dtype) * 2f64.powi(largest.log2().floor() as i32) / 2.0;
    let error = farthest(&values(&a.matmul(&b).unwrap()), &want);
    assert!(error <= half_ulp * most_half_ulps, "{error} of {largest}; half an ulp is {half_ulp}");
}

fn candle_ulp(dtype: DType) -> f64 {
    rbees_check::compare::ulp(dtype)
}

/// Activations are rounded to 8 bits: another arithmetic than the product with dequantised weights.
#[test]
fn a_quantised_product_differs_from_the_dequantised_one_by_the_rounding_of_activations() {
    let weight = tensor(&spread(64 * 1024), &[64, 1024], DType::F32);
    let weight = Arc::new(QTensor::quantize(&weight, GgmlDType::Q8_0).unwrap());
    let x = tensor(&spread(1024), &[1, 1024], DType::F32);
    let dense = x.matmul(&weight.dequantize(&Device::Cpu).unwrap().t().unwrap()).unwrap();
    let dense: Vec<f64> = values(&dense).iter().map(|&x| f64::from(x)).collect();
    let error = farthest(&values(&QMatMul::QTensor(weight).forward(&x).unwrap()), &dense);
    assert!(error > 1e-3 && error < 0.5, "{error}");
}

/// Rounding an activation to an integer turns NaN into 0.
#[test]
fn a_quantised_product_does_not_pass_a_nan_on() {
    let x = |nan: bool| {
        let mut x = spread(256);
        x[100] = if nan { f32::NAN } else { x[100] };
        tensor(&x, &[1, 256], DType::F32)
    };
    let weight = tensor(&spread(16 * 256), &[16, 256], DType::F32);
    let product = |dtype, nan| {
        let weight = Arc::new(QTensor::quantize(&weight, dtype).unwrap());
        values(&QMatMul::from_arc(weight).unwrap().forward(&x(nan)).unwrap())
    };
    assert!(product(GgmlDType::F16, true).iter().all(|x| x.is_nan()), "matrices of floats keep it");
    let swallowed =
        [GgmlDType::Q8_0, GgmlDType::Q4K].map(|of| product(of, true).iter().all(|x| x.is_finite()));
    assert_eq!(swallowed, [true; 2]);
    assert!(product(GgmlDType::Q8_0, false).iter().all(|x| x.is_finite()));
}

#[test]
fn every_block_type_that_the_model_reads_has_cases() {
    let cases = rbees_check::bench::operations::cases(|name| name.starts_with("qmatmul"));
    assert_eq!(cases.len(), 12 * 4);
}
