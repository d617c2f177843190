//! Products with matrices in quantised blocks, which round activations to 8 bits.

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use std::sync::Arc;

use super::super::case::{Array, Case, Entry, Exact, Input, rounded};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::normal;
use super::group::{Group, size};
use super::products::with_weight;

pub const GROUP: Group = Group {
    operations: &[
        "qmatmul q4_0",
        "qmatmul q4_1",
        "qmatmul q5_0",
        "qmatmul q5_1",
        "qmatmul q8_0",
        "qmatmul q2k",
        "qmatmul q3k",
        "qmatmul q4k",
        "qmatmul q5k",
        "qmatmul q6k",
        "qmatmul f16",
        "qmatmul bf16",
    ],
    cases,
    races,
};

/// Name, type of the blocks, and how many activations share a scale at most.
const TYPES: [(&str, GgmlDType, usize); 12] = [
    ("qmatmul q4_0", GgmlDType::Q4_0, 32),
    ("qmatmul q4_1", GgmlDType::Q4_1, 32),
    ("qmatmul q5_0", GgmlDType::Q5_0, 32),
    ("qmatmul q5_1", GgmlDType::Q5_1, 32),
    // On some processors 32, see `model::Projection::activation_block`.
    ("qmatmul q8_0", GgmlDType::Q8_0, 256),
    ("qmatmul q2k", GgmlDType::Q2K, 256),
    ("qmatmul q3k", GgmlDType::Q3K, 256),
    ("qmatmul q4k", GgmlDType::Q4K, 256),
    ("qmatmul q5k", GgmlDType::Q5K, 256),
    ("qmatmul q6k", GgmlDType::Q6K, 256),
    ("qmatmul f16", GgmlDType::F16, 0),
    ("qmatmul bf16", GgmlDType::BF16, 0),
];

/// The matrix whose blocks are multiplied, `[out, in]`.
fn blocks(dtype: GgmlDType, out: usize, width: usize) -> candle_core::Result<QTensor> {
    let values: Vec<f32> = normal(out * width, 41).into_iter().map(|x| x as f32).collect();
    QTensor::quantize(&Tensor::from_vec(values, (out, width), &Device::Cpu)?, dtype)
}

/// Products with the dequantised matrix. Rounding to 127 levels of the largest activation of a block changes each
/// activation by half a level at most, evenly spread, so the error of a sum of products is that of a random walk: with
/// the probability of [`Entry::of_sum`], at most 6 · √(Σ w² level²/12). The scale itself is rounded to f16 by some types.
fn product(x: &Array, weight: &Array, block: usize) -> Exact {
    let mut exact = with_weight(x, weight);
    if block == 0 {
        return exact;
    }
    let out = weight.dims[0];
    let unit = crate::compare::ulp(DType::F32) / 2.0;
    for (row, entries) in x.rows().zip(exact.entries.chunks_exact_mut(out)) {
        let levels: Vec<f64> = row
            .chunks(block)
            .flat_map(|block| {
                let largest = block.iter().filter(|x| x.is_finite()).fold(0f64, |most, x| most.max(x.abs()));
                std::iter::repeat_n(largest / 127.0, block.len())
            })
            .collect();
        for (entry, weights) in entries.iter_mut().zip(weight.rows()) {
            let walk =
                weights.iter().zip(&levels).map(|(w, level)| (w * level).powi(2) / 12.0).sum::<f64>().sqrt();
            let scales: f64 = weights
                .iter()
                .zip(row)
                .filter(|(_, x)| x.is_finite())
                .map(|(w, x)| (w * x).powi(2))
                .sum::<f64>()
                .sqrt();
            let slack = 6.0 * (walk + scales * 2f64.powi(-11));
            *entry = Entry { slack: entry.slack + slack / unit, ..*entry };
        }
    }
    exact
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, dtype, block) in TYPES {
        for (out, width, rows) in [(16, 256, 1), (17, 512, 3), (48, 4352, 9), (64, 1024, 40)] {
            let x = |seed| Input::new(&[rows, width], DType::F32, normal(rows * width, seed));
            let label = format!("{} weight {}", size(&[rows, width]), size(&[out, width]));
            match case(name, dtype, block, (out, width), label, x(42)) {
                Ok(case) => cases.push(case),
                // No type of the list refuses a width of whole super-blocks; if one did, its cases would be missed by
                // the test that counts them.
                Err(_) => continue,
            }
        }
    }
    cases
}

fn case(
    name: &'static str,
    dtype: GgmlDType,
    block: usize,
    (out, width): (usize, usize),
    label: String,
    x: Input,
) -> candle_core::Result<Case> {
    let weight = Arc::new(blocks(dtype, out, width)?);
    let values = weight.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let matrix = Array { dims: vec![out, width], values: values.into_iter().map(f64::from).collect() };
    let run = move |t: &[Tensor]| {
        let weight = if t[0].device().is_cpu() {
            weight.clone()
        } else {
            let floats = weight.dequantize(&Device::Cpu)?;
            Arc::new(QTensor::quantize_onto(&floats, dtype, t[0].device())?)
        };
        QMatMul::from_arc(weight)?.forward(&t[0])
    };
    debug_assert!(matrix.values.iter().all(|&w| rounded(w, DType::F32) == w));
    Ok(Case::new(name, DType::F32, label, vec![x], run, move |x| product(&x[0], &matrix, block)))
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let (width, out) = (4096, 4096);
    let (floats, _) = numbers(&[out, width], DType::F32, &Device::Cpu)?;
    let mut races = Vec::new();
    for (name, dtype, _) in TYPES {
        let weight = Arc::new(QTensor::quantize_onto(&floats, dtype, device)?);
        let bytes = weight.storage_size_in_bytes();
        for rows in [1, 128] {
            let (x, _) = numbers(&[rows, width], DType::F32, device)?;
            let (product, a) = (QMatMul::from_arc(weight.clone())?, x.clone());
            let dense = floats.to_device(device)?;
            let contenders = vec![
                Contender::tensor(Way::Candle, "", move || product.forward(&a)),
                Contender::tensor(Way::Alternative, "matmul with f32 weights", move || x.matmul(&dense.t()?)),
            ];
            races.push(Race {
                operation: name,
                dtype: DType::F32,
                size: format!("{rows}x{width} weight {out}x{width}"),
                bytes: bytes + 4 * rows * (width + out),
                flops: 2 * rows * width * out,
                contenders,
            });
        }
    }
    Ok(races)
}
