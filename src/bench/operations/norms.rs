//! RMSNorm and LayerNorm along the last axis.

use candle_core::{DType, Device, Tensor};
use candle_nn::ops;

use super::super::case::{Array, Case, Entry, Exact, Input, Layout};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::normal;
use super::group::{Group, MODEL_DTYPES, size};

pub const GROUP: Group =
    Group { operations: &["rms_norm", "rms_norm_slow", "layer_norm", "layer_norm_slow"], cases, races };

const EPS: f32 = 1e-5;

/// x / √(mean(x²) + ε) · weight.
fn rms(inputs: &[Array]) -> Exact {
    let (x, weight) = (&inputs[0], &inputs[1].values);
    let width = x.width();
    let entries = x.rows().flat_map(|row| {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
        let scale = 1.0 / (mean + f64::from(EPS)).sqrt();
        row.iter().zip(weight).map(move |(x, w)| {
            let want = x * scale * w;
            // The mean's relative error is halved by the root.
            Entry::of_sum(want, want.abs() / 2.0, width)
        })
    });
    Exact { dims: x.dims.clone(), entries: entries.collect() }
}

/// (x − mean(x)) / √(variance(x) + ε) · weight + bias, with the variance computed from the differences.
fn layer(inputs: &[Array]) -> Exact {
    let (x, weight, bias) = (&inputs[0], &inputs[1].values, &inputs[2].values);
    let width = x.width();
    let entries = x.rows().flat_map(|row| {
        let n = width as f64;
        let mean = row.iter().sum::<f64>() / n;
        let mass = row.iter().map(|x| x.abs()).sum::<f64>() / n;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let scale = 1.0 / (variance + f64::from(EPS)).sqrt();
        row.iter().zip(weight.iter().zip(bias)).map(move |(x, (w, b))| {
            let want = (x - mean) * scale * w + b;
            let of_mean = Entry::of_sum(want, mass * scale * w.abs(), width);
            // Rounding x − mean, whose terms are larger than their difference.
            of_mean.plus(4.0, (x.abs() + mean.abs()) * scale * w).plus(4.0, b.abs() + want.abs())
        })
    });
    Exact { dims: x.dims.clone(), entries: entries.collect() }
}

fn weight(width: usize, dtype: DType) -> Input {
    Input::new(&[width], dtype, normal(width, 2).into_iter().map(|x| 1.0 + x / 4.0).collect())
}

/// What is normed: sizes, layout, and values.
fn shapes(dtype: DType) -> Vec<(String, Input)> {
    // Their root mean square is 1.37. If it were almost 1, all errors of a row in half precision would have one sign.
    let plain = |dims: &[usize]| {
        let values = normal(dims.iter().product(), 1).into_iter().map(|x| x * 1.37).collect();
        Input::new(dims, dtype, values)
    };
    let mut shapes: Vec<(String, Input)> =
        [&[1, 1][..], &[3, 7], &[2, 5, 576], &[3, 4097], &[40, 513], &[0, 8]]
            .map(|dims| (size(dims), plain(dims)))
            .into();
    shapes.push(("3x577 offset".into(), plain(&[3, 577]).arranged(Layout::Offset)));
    shapes.push(("3x577 gaps".into(), plain(&[3, 577]).arranged(Layout::Gaps)));
    shapes.push(("3x0".into(), plain(&[3, 0])));
    shapes.push(("2x576 zeros".into(), Input::new(&[2, 576], dtype, vec![0.0; 1152])));
    shapes
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in MODEL_DTYPES {
        let mut inputs = shapes(dtype);
        if dtype == DType::F32 {
            let large = normal(2 * 576, 3).into_iter().map(|x| x * 1e20).collect();
            inputs.push(("2x576 of 1e20".into(), Input::new(&[2, 576], dtype, large)));
        }
        for (label, x) in inputs {
            let w = weight(x.dims[x.dims.len() - 1], dtype);
            for (name, slow) in [("rms_norm", false), ("rms_norm_slow", true)] {
                let norm = if slow { ops::rms_norm_slow } else { ops::rms_norm };
                let run = move |t: &[Tensor]| norm(&t[0], &t[1], EPS);
                cases.push(Case::new(name, dtype, label.clone(), vec![x.clone(), w.clone()], run, rms));
            }
        }
        let mut inputs = shapes(dtype);
        if dtype == DType::F32 {
            for mean in [100.0, 1000.0, 10000.0] {
                let values = normal(2 * 576, 3).into_iter().map(|x| x + mean).collect();
                inputs.push((format!("2x576 mean {mean}"), Input::new(&[2, 576], dtype, values)));
            }
        }
        for (label, x) in inputs {
            let width = x.dims[x.dims.len() - 1];
            let bias = Input::new(&[width], dtype, normal(width, 4));
            let inputs = vec![x, weight(width, dtype), bias];
            for (name, slow) in [("layer_norm", false), ("layer_norm_slow", true)] {
                let norm = if slow { ops::layer_norm_slow } else { ops::layer_norm };
                let run = move |t: &[Tensor]| norm(&t[0], &t[1], &t[2], EPS);
                cases.push(Case::new(name, dtype, label.clone(), inputs.clone(), run, layer));
            }
        }
    }
    let (x, w) = (Input::new(&[2, 8], DType::F64, normal(16, 1)), weight(8, DType::F64));
    let run = |t: &[Tensor]| ops::rms_norm(&t[0], &t[1], EPS);
    cases.push(Case::new("rms_norm", DType::F64, "2x8", vec![x, w], run, rms));
    cases
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let (rows, width) = (128, 4096);
    let mut races = Vec::new();
    for dtype in [DType::F32, DType::BF16] {
        let (x, values) = numbers(&[rows, width], dtype, device)?;
        let (w, weights) = numbers(&[width], dtype, device)?;
        let race = |operation, contenders| Race {
            operation,
            dtype,
            size: size(&[rows, width]),
            bytes: 2 * rows * width * dtype.size_in_bytes(),
            flops: 4 * rows * width,
            contenders,
        };
        let (a, b) = ((x.clone(), w.clone()), (x.clone(), w.clone()));
        let mut contenders = vec![
            Contender::tensor(Way::Candle, "", move || ops::rms_norm(&a.0, &a.1, EPS)),
            Contender::tensor(Way::TensorOperations, "rms_norm_slow", move || {
                ops::rms_norm_slow(&b.0, &b.1, EPS)
            }),
        ];
        if dtype == DType::F32 {
            let mut out = vec![0f32; values.len()];
            let (values, weights) = (values.clone(), weights.clone());
            contenders.push(Contender::plain(move || plain_rms(&values, &weights, &mut out)));
        } else {
            let (x, w) = (x.clone(), w.to_dtype(DType::F32)?);
            contenders.push(Contender::tensor(Way::Alternative, "in f32, rounded once", move || {
                ops::rms_norm(&x.to_dtype(DType::F32)?, &w, EPS)?.to_dtype(dtype)
            }));
        }
        races.push(race("rms_norm", contenders));
        let (a, b) = ((x.clone(), w.clone()), (x.clone(), w.clone()));
        let contenders = vec![
            Contender::tensor(Way::Candle, "", move || ops::layer_norm(&a.0, &a.1, &a.1, EPS)),
            Contender::tensor(Way::TensorOperations, "layer_norm_slow", move || {
                ops::layer_norm_slow(&b.0, &b.1, &b.1, EPS)
            }),
        ];
        races.push(race("layer_norm", contenders));
    }
    Ok(races)
}

fn plain_rms(x: &[f32], weight: &[f32], out: &mut [f32]) {
    let width = weight.len();
    for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        // Eight sums, which the compiler adds in vectors.
        let mut sums = [0f32; 8];
        for eight in row.chunks_exact(8) {
            sums.iter_mut().zip(eight).for_each(|(sum, x)| *sum += x * x);
        }
        let scale = 1.0 / (sums.iter().sum::<f32>() / width as f32 + EPS).sqrt();
        for ((out, x), w) in out.iter_mut().zip(row).zip(weight) {
            *out = x * scale * w;
        }
    }
}
