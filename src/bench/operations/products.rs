//! Products of matrices of floats, with both ways in which a weight may be stored.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::Linear;

use super::super::case::{Array, Case, Entry, Exact, Input, Layout};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::normal;
use super::group::{Group, MODEL_DTYPES, size};

pub const GROUP: Group = Group { operations: &["matmul", "linear"], cases, races };

/// `[.., m, k]` times `[.., k, n]`.
fn product(inputs: &[Array]) -> Exact {
    let [a, b] = inputs else { unreachable!("two inputs") };
    let rank = a.dims.len();
    let (m, k, n) = (a.dims[rank - 2], a.dims[rank - 1], b.width());
    let batch: usize = a.dims[..rank - 2].iter().product();
    let mut entries = Vec::with_capacity(batch * m * n);
    for of in 0..batch {
        let (a, b) = (&a.values[of * m * k..][..m * k], &b.values[of * k * n..][..k * n]);
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            entries.push(dot((0..k).map(|l| a[i * k + l] * b[l * n + j])));
        }
    }
    let mut dims = a.dims.clone();
    dims[rank - 1] = n;
    Exact { dims, entries }
}

/// A sum of products.
pub fn dot(terms: impl Iterator<Item = f64>) -> Entry {
    let (mut sum, mut mass, mut n) = (0.0, 0.0, 0);
    for term in terms {
        sum += term;
        mass += term.abs();
        n += 1;
    }
    Entry::of_sum(sum, if mass.is_finite() { mass } else { 0.0 }, n)
}

/// x `[.., in]` times the transpose of `[out, in]`.
pub fn with_weight(x: &Array, weight: &Array) -> Exact {
    let mut dims = x.dims.clone();
    dims.pop();
    dims.push(weight.dims[0]);
    let weight_rows: Vec<&[f64]> = weight.rows().take(weight.dims[0]).collect();
    let products = |x: &[f64]| -> Vec<Entry> {
        weight_rows.iter().map(|row| dot(x.iter().zip(*row).map(|(x, w)| x * w))).collect()
    };
    Exact { dims, entries: x.rows().flat_map(products).collect() }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in MODEL_DTYPES {
        let of = |dims: &[usize], seed| Input::new(dims, dtype, normal(dims.iter().product(), seed));
        let mut case = |label: String, a: Input, b: Input| {
            let run = |t: &[Tensor]| t[0].matmul(&t[1]);
            let batched = a.dims.len() > 2;
            let case = Case::new("matmul", dtype, label, vec![a, b], run, product);
            cases.push(if batched { case.batched(2) } else { case });
        };
        for (m, k, n) in
            [(1, 1, 1), (7, 1000, 333), (3, 4099, 17), (1, 4096, 64), (8, 576, 192), (0, 64, 8), (3, 0, 4)]
        {
            case(format!("{m}x{k} {k}x{n}"), of(&[m, k], 31), of(&[k, n], 32));
            if k > 0 && m > 0 {
                let turned = of(&[k, n], 32).arranged(Layout::Transposed);
                case(format!("{m}x{k} {k}x{n} weight [out, in]"), of(&[m, k], 31), turned);
            }
        }
        case(
            "2x3x5x64 heads".into(),
            of(&[2, 3, 5, 64], 31),
            of(&[2, 3, 64, 9], 32).arranged(Layout::Transposed),
        );
        case("5x64 offset".into(), of(&[5, 64], 31).arranged(Layout::Offset), of(&[64, 9], 32));
        case("5x64 gaps".into(), of(&[5, 64], 31).arranged(Layout::Gaps), of(&[64, 9], 32));
        let ones = |dims: &[usize], x: f64| Input::new(dims, dtype, vec![x; dims.iter().product()]);
        case("1x4099 ones".into(), ones(&[1, 4099], 1.0), ones(&[4099, 1], 1.0));
        if dtype == DType::F16 {
            // Partial sums reach 80000, and the result is 0.
            let signs = (0..8).map(|n| if n < 4 { 200.0 } else { -200.0 }).collect();
            case("1x8 cancelling".into(), Input::new(&[1, 8], dtype, signs), ones(&[8, 1], 100.0));
        }
        for dims in [&[1, 576][..], &[2, 5, 576]] {
            let run = |t: &[Tensor]| Linear::new(t[1].clone(), None).forward(&t[0]);
            let inputs = vec![of(dims, 31), of(&[192, 576], 32)];
            cases.push(Case::new("linear", dtype, size(dims), inputs, run, |x| with_weight(&x[0], &x[1])));
        }
    }
    cases
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let (width, out) = (4096, 4096);
    let mut races = Vec::new();
    for dtype in MODEL_DTYPES {
        let (weight, values) = numbers(&[out, width], dtype, device)?;
        for rows in [1, 128] {
            let (x, activations) = numbers(&[rows, width], dtype, device)?;
            let (a, w) = (x.clone(), weight.clone());
            let mut contenders = vec![Contender::tensor(Way::Candle, "", move || a.matmul(&w.t()?))];
            if dtype != DType::F32 {
                let (x, w) = (x.to_dtype(DType::F32)?, weight.to_dtype(DType::F32)?);
                contenders.push(Contender::tensor(Way::Alternative, "weights widened before", move || {
                    x.matmul(&w.t()?)?.to_dtype(dtype)
                }));
            } else {
                let turned = weight.t()?.contiguous()?;
                let a = x.clone();
                contenders
                    .push(Contender::tensor(Way::Alternative, "weight [in, out]", move || a.matmul(&turned)));
            }
            if dtype == DType::F32 && rows == 1 {
                let (weight, mut y) = (values.clone(), vec![0f32; out]);
                contenders.push(Contender::plain(move || {
                    for (y, row) in y.iter_mut().zip(weight.chunks_exact(width)) {
                        let mut sums = [0f32; 16];
                        for (w, x) in row.chunks_exact(16).zip(activations.chunks_exact(16)) {
                            sums.iter_mut().zip(w.iter().zip(x)).for_each(|(sum, (w, x))| *sum += w * x);
                        }
                        *y = sums.iter().sum();
                    }
                }));
            }
            races.push(Race {
                operation: "matmul",
                dtype,
                size: format!("{rows}x{width} weight [out, in] {out}x{width}"),
                bytes: (out * width + rows * (width + out)) * dtype.size_in_bytes(),
                flops: 2 * rows * width * out,
                contenders,
            });
        }
    }
    Ok(races)
}
