//! Softmax along the last axis, or another one.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{softmax, softmax_last_dim};

use super::super::case::{Array, Case, Entry, Exact, Input, Layout};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::normal;
use super::group::{Group, MODEL_DTYPES, size};

pub const GROUP: Group = Group { operations: &["softmax_last_dim", "softmax"], cases, races };

/// exp(x − max) / Σ exp(x − max) of one row.
fn of_row(row: &[f64]) -> Vec<Entry> {
    // The first NaN makes the whole row NaN.
    let nan = row.iter().any(|x| x.is_nan());
    let max = if nan { f64::NAN } else { row.iter().copied().fold(f64::NEG_INFINITY, f64::max) };
    let powers: Vec<f64> = row.iter().map(|x| (x - max).exp()).collect();
    let sum: f64 = powers.iter().sum();
    let of = |(x, power): (&f64, &f64)| {
        let want = power / sum;
        // The difference is rounded before the exponential function, which multiplies its error by itself.
        let distance = if want == 0.0 { 0.0 } else { (x - max).abs() };
        Entry::of_sum(want, want, row.len()).plus(2.0 * (1.0 + distance), want)
    };
    row.iter().zip(&powers).map(of).collect()
}

fn last(inputs: &[Array]) -> Exact {
    let x = &inputs[0];
    Exact { dims: x.dims.clone(), entries: x.rows().flat_map(of_row).collect() }
}

/// The same along the first of two axes.
fn first(inputs: &[Array]) -> Exact {
    let x = &inputs[0];
    let (rows, width) = (x.dims[0], x.dims[1]);
    let mut entries = vec![Entry::exact(0.0); x.values.len()];
    for column in 0..width {
        let values: Vec<f64> = (0..rows).map(|row| x.values[row * width + column]).collect();
        for (row, entry) in of_row(&values).into_iter().enumerate() {
            entries[row * width + column] = entry;
        }
    }
    Exact { dims: x.dims.clone(), entries }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in MODEL_DTYPES {
        let spread = |dims: &[usize]| {
            let values = normal(dims.iter().product(), 5).into_iter().map(|x| x * 3.0).collect();
            Input::new(dims, dtype, values)
        };
        let equal = |n: usize| (format!("2x{n} equal"), Input::new(&[2, n], dtype, vec![1.5; 2 * n]));
        let masked: Vec<f64> =
            (0..2 * 300).map(|n| if n % 300 < 100 { 0.5 } else { f64::NEG_INFINITY }).collect();
        let mut inputs: Vec<(String, Input)> = [&[1, 1][..], &[3, 7], &[2, 3, 5, 65], &[3, 4097], &[0, 8]]
            .map(|dims| (size(dims), spread(dims)))
            .into();
        inputs.extend([equal(256), equal(512), equal(1024), equal(4096), equal(8192)]);
        inputs.push(("3x65 offset".into(), spread(&[3, 65]).arranged(Layout::Offset)));
        inputs.push(("3x65 gaps".into(), spread(&[3, 65]).arranged(Layout::Gaps)));
        inputs.push(("3x0".into(), spread(&[3, 0])));
        inputs.push(("2x300 masked".into(), Input::new(&[2, 300], dtype, masked)));
        inputs.push(("1x8 all -inf".into(), Input::new(&[1, 8], dtype, vec![f64::NEG_INFINITY; 8])));
        for (label, x) in inputs {
            let one = |t: &[Tensor]| softmax_last_dim(&t[0]);
            cases.push(Case::new("softmax_last_dim", dtype, label.clone(), vec![x.clone()], one, last));
            let other = |t: &[Tensor]| softmax(&t[0], D::Minus1);
            cases.push(Case::new("softmax", dtype, label, vec![x], other, last));
        }
        let run = |t: &[Tensor]| softmax(&t[0], 0);
        cases.push(Case::new("softmax", dtype, "577x3 axis 0", vec![spread(&[577, 3])], run, first).whole());
    }
    cases
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let dims = [32 * 64, 512];
    let mut races = Vec::new();
    for dtype in [DType::F32, DType::BF16] {
        let (x, values) = numbers(&dims, dtype, device)?;
        let (a, b) = (x.clone(), x.clone());
        let mut contenders = vec![
            Contender::tensor(Way::Candle, "", move || softmax_last_dim(&a)),
            Contender::tensor(Way::TensorOperations, "softmax", move || softmax(&b, D::Minus1)),
        ];
        if dtype == DType::F32 {
            let mut out = vec![0f32; values.len()];
            contenders.push(Contender::plain(move || plain(&values, dims[1], &mut out)));
        } else {
            contenders.push(Contender::tensor(Way::Alternative, "in f32, rounded once", move || {
                softmax_last_dim(&x.to_dtype(DType::F32)?)?.to_dtype(dtype)
            }));
        }
        races.push(Race {
            operation: "softmax_last_dim",
            dtype,
            size: size(&dims),
            bytes: 2 * dims[0] * dims[1] * dtype.size_in_bytes(),
            flops: 4 * dims[0] * dims[1],
            contenders,
        });
    }
    Ok(races)
}

fn plain(x: &[f32], width: usize, out: &mut [f32]) {
    for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0f32;
        for (out, x) in out.iter_mut().zip(row) {
            *out = (x - max).exp();
            sum += *out;
        }
        let scale = 1.0 / sum;
        out.iter_mut().for_each(|out| *out *= scale);
    }
}
