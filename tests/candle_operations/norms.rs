//! RMSNorm and LayerNorm.

use candle_core::{DType, Device, Tensor};
use candle_nn::ops::{layer_norm, layer_norm_slow, rms_norm, rms_norm_slow};
use half::bf16;
use rstest::rstest;

use super::{farthest, spread, tensor, values};

const WIDTH: usize = 576;
const EPS: f32 = 1e-5;

fn ones() -> Tensor {
    Tensor::ones(WIDTH, DType::F32, &Device::Cpu).unwrap()
}

/// mean(x²) − mean(x)² loses the variance in float32. At a mean of 10000 it can even be negative.
#[rstest]
#[case(0.0, 0.0, 1e-6)]
#[case(100.0, 1e-3, 0.1)]
#[case(1000.0, 0.1, 10.0)]
fn the_variance_of_layer_norm_is_lost_at_a_large_mean(
    #[case] mean: f32,
    #[case] at_least: f64,
    #[case] at_most: f64,
) {
    let x: Vec<f32> = spread(WIDTH).iter().map(|x| x + mean).collect();
    let exact: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let n = WIDTH as f64;
    let centre = exact.iter().sum::<f64>() / n;
    let variance = exact.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / n;
    let want: Vec<f64> = exact.iter().map(|x| (x - centre) / (variance + f64::from(EPS)).sqrt()).collect();
    let (input, zeros) = (tensor(&x, &[1, WIDTH], DType::F32), ones().zeros_like().unwrap());
    let fused = farthest(&values(&layer_norm(&input, &ones(), &zeros, EPS).unwrap()), &want);
    let slow = farthest(&values(&layer_norm_slow(&input, &ones(), &zeros, EPS).unwrap()), &want);
    assert!(fused >= at_least && fused <= at_most, "{fused}");
    assert!(slow < 1e-3 && (mean == 0.0 || slow < fused / 10.0), "{slow} and {fused}");
}

/// The sum of squares of 1e20 is infinite in float32. PyTorch's has the same range.
#[test]
fn rms_norm_of_1e20_is_0() {
    let x = tensor(&vec![1e20; WIDTH], &[1, WIDTH], DType::F32);
    assert!(values(&rms_norm(&x, &ones(), EPS).unwrap()).iter().all(|&x| x == 0.0));
    assert!(values(&rms_norm_slow(&x, &ones(), EPS).unwrap()).iter().all(|&x| x == 0.0));
}

#[test]
fn rms_norm_refuses_float64_a_view_with_gaps_and_a_weight_of_another_dtype() {
    let x = tensor(&spread(2 * WIDTH), &[2, WIDTH], DType::F32);
    let float64 = x.to_dtype(DType::F64).unwrap();
    assert!(rms_norm(&float64, &ones().to_dtype(DType::F64).unwrap(), EPS).is_err());
    assert!(rms_norm(&x.to_dtype(DType::BF16).unwrap(), &ones(), EPS).is_err());
    let view = x.narrow(1, 0, WIDTH / 2).unwrap();
    assert!(rms_norm(&view, &ones().narrow(0, 0, WIDTH / 2).unwrap(), EPS).is_err());
}

/// It rounds the root of the mean to bf16, so that a row is shifted as a whole; transformers normalises in float32 and
/// rounds the row.
#[test]
fn rms_norm_in_bf16_shifts_a_row_by_half_an_ulp() {
    let x: Vec<f32> = spread(4096).iter().map(|&x| bf16::from_f32(x * 2.37).to_f32()).collect();
    let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 4096.0;
    let scale = 1.0 / (mean + f64::from(EPS)).sqrt();
    let input = tensor(&x, &[1, 4096], DType::BF16);
    let weight = Tensor::ones(4096, DType::BF16, &Device::Cpu).unwrap();
    let shift = |normed: &Tensor| {
        let ulps = values(normed).into_iter().zip(&x).filter(|(_, x)| **x != 0.0).map(|(got, &x)| {
            let want = (f64::from(x) * scale).abs();
            (f64::from(got).abs() - want) / 2f64.powi(want.log2().floor() as i32 - 7)
        });
        ulps.sum::<f64>() / 4096.0
    };
    let narrow = rms_norm(&input, &weight, EPS).unwrap();
    let wide = rms_norm(&input.to_dtype(DType::F32).unwrap(), &weight.to_dtype(DType::F32).unwrap(), EPS);
    let wide = wide.unwrap().to_dtype(DType::BF16).unwrap();
    assert!(shift(&wide).abs() < 0.05, "{}", shift(&wide));
    // How far the divisor is from its rounded value decides the shift.
    let root = (mean + f64::from(EPS)).sqrt();
    let rounded = bf16::from_f64(root).to_f64();
    let expected = (root / rounded - 1.0) * 2f64.powi(7);
    assert!(expected.abs() > 0.1, "{expected}: choose another row");
    assert!(shift(&narrow) / expected > 0.8, "{} and {expected}", shift(&narrow));
}
