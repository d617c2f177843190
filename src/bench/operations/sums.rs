//! Sums along an axis, and of everything.

use candle_core::{D, DType, Device, Tensor};

use super::super::case::{Array, Case, Entry, Exact, Input, Layout};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::normal;
use super::group::{Group, MODEL_DTYPES, size};

pub const GROUP: Group = Group { operations: &["sum", "sum_all"], cases, races };

fn total(terms: &[f64]) -> Entry {
    let mass: f64 = terms.iter().map(|x| x.abs()).sum();
    Entry::of_sum(terms.iter().sum(), if mass.is_finite() { mass } else { 0.0 }, terms.len())
}

/// Along the last axis.
fn last(inputs: &[Array]) -> Exact {
    let x = &inputs[0];
    let mut dims = x.dims.clone();
    dims.pop();
    let rows: usize = dims.iter().product();
    let width = x.width();
    let entries = (0..rows).map(|row| total(&x.values[row * width..][..width]));
    Exact { dims, entries: entries.collect() }
}

/// Along the first of two axes.
fn first(inputs: &[Array]) -> Exact {
    let x = &inputs[0];
    let width = x.width();
    let column = |column| x.values.iter().skip(column).step_by(width).copied().collect::<Vec<f64>>();
    Exact { dims: vec![width], entries: (0..width).map(|n| total(&column(n))).collect() }
}

fn all(inputs: &[Array]) -> Exact {
    Exact { dims: vec![], entries: vec![total(&inputs[0].values)] }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in MODEL_DTYPES {
        let plain = |dims: &[usize]| Input::new(dims, dtype, normal(dims.iter().product(), 81));
        let ones = |dims: &[usize]| Input::new(dims, dtype, vec![1.0; dims.iter().product()]);
        let run = |t: &[Tensor]| t[0].sum(D::Minus1);
        let mut inputs: Vec<(String, Input)> =
            [&[1, 1][..], &[3, 7], &[2, 3, 577], &[3, 4099], &[0, 8], &[3, 0]]
                .map(|dims| (size(dims), plain(dims)))
                .into();
        inputs.push(("2x4099 ones".into(), ones(&[2, 4099])));
        inputs.push(("3x577 offset".into(), plain(&[3, 577]).arranged(Layout::Offset)));
        inputs.push(("3x577 gaps".into(), plain(&[3, 577]).arranged(Layout::Gaps)));
        inputs.push(("70x577 transposed".into(), plain(&[70, 577]).arranged(Layout::Transposed)));
        if dtype == DType::F16 {
            let halves = (0..8).map(|n| if n < 4 { 20000.0 } else { -20000.0 }).collect();
            inputs.push(("1x8 cancelling".into(), Input::new(&[1, 8], dtype, halves)));
        }
        for (label, x) in inputs {
            cases.push(Case::new("sum", dtype, label, vec![x], run, last));
        }
        let run = |t: &[Tensor]| t[0].sum(0);
        cases.push(Case::new("sum", dtype, "4099x3 axis 0", vec![plain(&[4099, 3])], run, first).whole());
        let run = |t: &[Tensor]| t[0].sum_all();
        for (label, x) in [("3x577", plain(&[3, 577])), ("4099 ones", ones(&[4099])), ("0", plain(&[0]))] {
            cases.push(Case::new("sum_all", dtype, label, vec![x], run, all).whole());
        }
    }
    cases
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let dims = [1024, 4096];
    let mut races = Vec::new();
    for dtype in [DType::F32, DType::BF16] {
        let (x, values) = numbers(&dims, dtype, device)?;
        let a = x.clone();
        let mut contenders = vec![Contender::tensor(Way::Candle, "", move || a.sum(D::Minus1))];
        if dtype == DType::F32 {
            let mut out = vec![0f32; dims[0]];
            contenders.push(Contender::plain(move || {
                for (out, row) in out.iter_mut().zip(values.chunks_exact(dims[1])) {
                    let mut sums = [0f32; 16];
                    for part in row.chunks_exact(16) {
                        sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
                    }
                    *out = sums.iter().sum();
                }
            }));
        } else {
            contenders.push(Contender::tensor(Way::Alternative, "in f32, rounded once", move || {
                x.to_dtype(DType::F32)?.sum(D::Minus1)?.to_dtype(dtype)
            }));
        }
        races.push(Race {
            operation: "sum",
            dtype,
            size: size(&dims),
            bytes: dims[0] * dims[1] * dtype.size_in_bytes(),
            flops: dims[0] * dims[1],
            contenders,
        });
    }
    Ok(races)
}
