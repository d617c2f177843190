//! Functions of single numbers, and the gated product of two.

use candle_core::{DType, Device, Tensor};
use candle_nn::ops;

use super::super::case::{Array, Case, Entry, Exact, Input, Layout};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::normal;
use super::group::{Group, MODEL_DTYPES, size};

pub const GROUP: Group = Group { operations: &["silu", "gelu", "gelu_erf", "swiglu"], cases, races };

/// x / (1 + exp(−x)). At −∞ that is −∞ / ∞, NaN, as in PyTorch.
fn silu(x: f64) -> Entry {
    let want = x / (1.0 + (-x).exp());
    // The argument of exp is exact, and the sum has an ulp.
    Entry::exact(want).plus(4.0, if want.is_finite() { want } else { 0.0 })
}

/// x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))).
fn gelu(x: f64) -> Entry {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    // 1 + tanh without cancellation: 2 / (1 + exp(−2 · inner)).
    let want = x / (1.0 + (-2.0 * inner).exp());
    // The formula adds 1 and tanh in the accumulator, also where they cancel.
    Entry::exact(if x == f64::NEG_INFINITY { f64::NAN } else { want })
        .plus(4.0, if x.is_finite() { x } else { 0.0 })
}

/// x/2 · erfc(−x/√2).
fn gelu_erf(x: f64) -> Entry {
    let want = x / 2.0 * erfc(-x / std::f64::consts::SQRT_2);
    Entry::exact(if x == f64::NEG_INFINITY { f64::NAN } else { want })
        .plus(4.0, if x.is_finite() { x } else { 0.0 })
}

/// The complementary error function: a series near 0 (Abramowitz and Stegun, 7.1.6), a continued fraction elsewhere
/// (7.1.14).
fn erfc(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let z = x.abs();
    let root = std::f64::consts::PI.sqrt();
    let upper = if z < 2.5 {
        let (mut term, mut sum, mut n) = (z, z, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * z * z / (2.0 * n + 1.0);
            sum += term;
        }
        1.0 - 2.0 / root * (-z * z).exp() * sum
    } else {
        let fraction = (1..120).rev().fold(z, |below, n| z + f64::from(n) / 2.0 / below);
        (-z * z).exp() / root / fraction
    };
    if x < 0.0 { 2.0 - upper } else { upper }
}

fn each(inputs: &[Array], of: fn(f64) -> Entry) -> Exact {
    Exact { dims: inputs[0].dims.clone(), entries: inputs[0].values.iter().map(|&x| of(x)).collect() }
}

/// silu(first half of the last axis) · second half.
fn swiglu(inputs: &[Array]) -> Exact {
    let x = &inputs[0];
    let half = x.width() / 2;
    let entries = x.rows().flat_map(|row| {
        let (gate, up) = row.split_at(half);
        gate.iter().zip(up).map(|(&gate, up)| {
            let gate = silu(gate);
            Entry { want: gate.want * up, slack: gate.slack * up.abs() }
        })
    });
    let mut dims = x.dims.clone();
    dims.pop();
    dims.push(half);
    Exact { dims, entries: entries.collect() }
}

type Call = fn(&Tensor) -> candle_core::Result<Tensor>;

/// A function's name, call and exact result.
type Function = (&'static str, Call, fn(f64) -> Entry);

/// The functions of one number.
const FUNCTIONS: [Function; 3] =
    [("silu", Tensor::silu, silu), ("gelu", Tensor::gelu, gelu), ("gelu_erf", Tensor::gelu_erf, gelu_erf)];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in MODEL_DTYPES {
        let plain = |dims: &[usize]| {
            let values = normal(dims.iter().product(), 21).into_iter().map(|x| x * 2.0).collect();
            Input::new(dims, dtype, values)
        };
        let ramp = |from: f64, to: f64| (0..2 * 600).map(move |n| from + (to - from) * f64::from(n) / 1199.0);
        let ends = vec![0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1e-3, -1e-3, 300.0, -300.0];
        let mut inputs: Vec<(String, Input)> = [&[1, 1][..], &[3, 7], &[2, 3, 577], &[3, 4097], &[0, 8]]
            .map(|dims| (size(dims), plain(dims)))
            .into();
        inputs.push(("3x577 offset".into(), plain(&[3, 577]).arranged(Layout::Offset)));
        inputs.push(("3x577 gaps".into(), plain(&[3, 577]).arranged(Layout::Gaps)));
        inputs.push(("6x5 transposed".into(), plain(&[6, 5]).arranged(Layout::Transposed)));
        inputs.push(("2x600 from -6 to 0".into(), Input::new(&[2, 600], dtype, ramp(-6.0, 0.0).collect())));
        inputs
            .push(("2x600 from -16 to -8".into(), Input::new(&[2, 600], dtype, ramp(-16.0, -8.0).collect())));
        inputs.push(("1x8 special".into(), Input::new(&[1, 8], dtype, ends)));
        for (label, x) in inputs {
            for (name, call, of) in FUNCTIONS {
                let run = move |t: &[Tensor]| call(&t[0]);
                cases.push(Case::new(name, dtype, label.clone(), vec![x.clone()], run, move |x| each(x, of)));
            }
        }
        for dims in [&[1, 2][..], &[3, 14], &[2, 3, 1154], &[0, 8]] {
            let run = |t: &[Tensor]| ops::swiglu(&t[0]);
            cases.push(Case::new("swiglu", dtype, size(dims), vec![plain(dims)], run, swiglu));
        }
        let gaps = plain(&[3, 1154]).arranged(Layout::Gaps);
        let run = |t: &[Tensor]| ops::swiglu(&t[0]);
        cases.push(Case::new("swiglu", dtype, "3x1154 gaps", vec![gaps], run, swiglu));
    }
    cases
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let dims = [128, 11008];
    let mut races = Vec::new();
    for dtype in [DType::F32, DType::BF16] {
        let (x, values) = numbers(&dims, dtype, device)?;
        let race = |operation, flops, contenders| Race {
            operation,
            dtype,
            size: size(&dims),
            bytes: 2 * dims[0] * dims[1] * dtype.size_in_bytes(),
            flops: flops * dims[0] * dims[1],
            contenders,
        };
        for (name, call, _) in FUNCTIONS {
            let a = x.clone();
            let mut contenders = vec![Contender::tensor(Way::Candle, "", move || call(&a))];
            if dtype == DType::F32 && name == "silu" {
                let (values, mut out) = (values.clone(), vec![0f32; values.len()]);
                contenders.push(Contender::plain(move || {
                    out.iter_mut().zip(&values).for_each(|(out, x)| *out = x / (1.0 + (-x).exp()));
                }));
                let b = x.clone();
                contenders.push(Contender::tensor(Way::TensorOperations, "x / (exp(-x) + 1)", move || {
                    &b / (b.neg()?.exp()? + 1.0)?
                }));
            }
            if dtype != DType::F32 {
                let b = x.clone();
                contenders.push(Contender::tensor(Way::Alternative, "in f32, rounded once", move || {
                    call(&b.to_dtype(DType::F32)?)?.to_dtype(dtype)
                }));
            }
            races.push(race(name, 4, contenders));
        }
        // The halves are already joined for swiglu; for the alternative they are apart, as a model's products are.
        let joined = Tensor::cat(&[&x, &x], 1)?;
        let (gate, up) = (x.clone(), x.clone());
        let mut contenders = vec![
            Contender::tensor(Way::Candle, "", move || ops::swiglu(&joined)),
            Contender::tensor(Way::TensorOperations, "silu(gate) * up", move || gate.silu()? * &up),
        ];
        if dtype == DType::F32 {
            let mut out = vec![0f32; values.len()];
            contenders.push(Contender::plain(move || {
                let both = values.iter().zip(&values);
                out.iter_mut().zip(both).for_each(|(out, (x, up))| *out = x / (1.0 + (-x).exp()) * up);
            }));
        }
        races.push(race("swiglu", 5, contenders));
    }
    Ok(races)
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use rstest::rstest;

    /// Values of erfc from Abramowitz and Stegun's tables and Python's math.erfc.
    #[rstest]
    #[case(0.0, 1.0)]
    #[case(0.5, 0.4795001221869535)]
    #[case(2.0, 0.004677734981047266)]
    #[case(3.0, 2.209049699858544e-5)]
    #[case(5.0, 1.5374597944280347e-12)]
    #[case(-1.0, 1.842700792949715)]
    fn the_complementary_error_function_is_right(#[case] x: f64, #[case] want: f64) {
        assert_relative_eq!(erfc(x), want, max_relative = 1e-13);
    }
}
