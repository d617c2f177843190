//! Operations that move or round numbers and compute none: cast, cat, contiguous.

use candle_core::{DType, Device, Tensor};

use super::super::case::{Array, Case, Entry, Exact, Input, Layout};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::normal;
use super::group::{Group, MODEL_DTYPES, size};

pub const GROUP: Group = Group { operations: &["cast", "cat", "contiguous"], cases, races };

fn same(inputs: &[Array]) -> Exact {
    let x = &inputs[0];
    Exact { dims: x.dims.clone(), entries: x.values.iter().copied().map(Entry::exact).collect() }
}

/// Two arrays joined along the last axis.
fn joined(inputs: &[Array]) -> Exact {
    let [a, b] = inputs else { unreachable!("two inputs") };
    let (wide, narrow) = (a.width(), b.width());
    let rows: usize = a.dims[..a.dims.len() - 1].iter().product();
    let row = |row: usize| {
        let a = &a.values[row * wide..][..wide];
        a.iter().chain(&b.values[row * narrow..][..narrow]).copied().map(Entry::exact)
    };
    let mut dims = a.dims.clone();
    dims.pop();
    dims.push(wide + narrow);
    Exact { dims, entries: (0..rows).flat_map(row).collect() }
}

/// Numbers near a tie between two neighbours of `to`: exactly halfway, and a little above and below.
fn ties(to: DType) -> Vec<f64> {
    let half = crate::compare::ulp(to) / 2.0;
    let about = |n: i32| {
        let base = 1.0 + f64::from(n) * 2.0 * half;
        [base + half, base + half * (1.0 + 1e-9), base + half * (1.0 - 1e-9), -base - half * (1.0 + 1e-9)]
    };
    (0..4).flat_map(about).collect()
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let all = [DType::F64, DType::F32, DType::BF16, DType::F16];
    for (from, to) in
        all.into_iter().flat_map(|from| all.map(|to| (from, to))).filter(|(from, to)| from != to)
    {
        let mut case = |label: String, x: Input| {
            let run = move |t: &[Tensor]| t[0].to_dtype(to);
            let case = Case::new("cast", from, label, vec![x], run, same).one_rounding();
            cases.push(Case { result: Some(to), ..case });
        };
        let to_name = to.as_str();
        let x = |dims: &[usize]| Input::new(dims, from, normal(dims.iter().product(), 91));
        case(format!("3x577 to {to_name}"), x(&[3, 577]));
        case(format!("0x8 to {to_name}"), x(&[0, 8]));
        case(format!("6x5 transposed to {to_name}"), x(&[6, 5]).arranged(Layout::Transposed));
        case(format!("ties to {to_name}"), Input::new(&[16], from, ties(to)));
        let ends = [
            0.0,
            -0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e38,
            -7e4,
            65519.0,
            65520.0,
            6e-8,
            3e-8,
            1e-40,
            -1e-45,
        ];
        case(format!("special numbers to {to_name}"), Input::new(&[12], from, ends.into()));
    }
    for dtype in MODEL_DTYPES {
        let x = |dims: &[usize], seed| Input::new(dims, dtype, normal(dims.iter().product(), seed));
        for (label, a, b) in [
            ("3x7 and 3x2", x(&[3, 7], 92), x(&[3, 2], 93)),
            ("2x3x5 and 2x3x0", x(&[2, 3, 5], 92), x(&[2, 3, 0], 93)),
            (
                "5x7 and 5x2 transposed",
                x(&[5, 7], 92).arranged(Layout::Transposed),
                x(&[5, 2], 93).arranged(Layout::Transposed),
            ),
            (
                "5x7 and 5x2 gaps",
                x(&[5, 7], 92).arranged(Layout::Gaps),
                x(&[5, 2], 93).arranged(Layout::Gaps),
            ),
        ] {
            let run = |t: &[Tensor]| Tensor::cat(&[&t[0], &t[1]], t[0].rank() - 1);
            cases.push(Case::new("cat", dtype, label, vec![a, b], run, joined).one_rounding().batched(2));
        }
        for layout in [Layout::Contiguous, Layout::Offset, Layout::Gaps, Layout::Transposed] {
            let label = format!("2x33x65 {layout:?}").to_lowercase();
            let run = |t: &[Tensor]| t[0].contiguous();
            let input = x(&[2, 33, 65], 94).arranged(layout);
            cases.push(Case::new("contiguous", dtype, label, vec![input], run, same).one_rounding());
        }
    }
    cases
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let dims = [1024, 4096];
    let n = dims[0] * dims[1];
    let (x, values) = numbers(&dims, DType::F32, device)?;
    let race = |operation, size, bytes, contenders| Race {
        operation,
        dtype: DType::F32,
        size,
        bytes,
        flops: 0,
        contenders,
    };
    let a = x.clone();
    let mut halves = vec![half::bf16::ZERO; n];
    let floats = values.clone();
    let cast = vec![
        Contender::tensor(Way::Candle, "", move || a.to_dtype(DType::BF16)),
        Contender::plain(move || {
            halves.iter_mut().zip(&floats).for_each(|(out, x)| *out = half::bf16::from_f32(*x));
        }),
    ];
    let turned = x.t()?;
    let mut out = vec![0f32; n];
    let transpose = vec![
        Contender::tensor(Way::Candle, "", move || turned.contiguous()),
        Contender::plain(move || {
            const TILE: usize = 32;
            let (rows, width) = (dims[0], dims[1]);
            for (i, j) in (0..rows).step_by(TILE).flat_map(|i| (0..width).step_by(TILE).map(move |j| (i, j)))
            {
                for (i, j) in (i..i + TILE).flat_map(|i| (j..j + TILE).map(move |j| (i, j))) {
                    out[j * rows + i] = values[i * width + j];
                }
            }
        }),
    ];
    let joined = vec![Contender::tensor(Way::Candle, "", move || Tensor::cat(&[&x, &x], 1))];
    Ok(vec![
        race("cast", format!("{} to bf16", size(&dims)), 6 * n, cast),
        race("contiguous", format!("{} transposed", size(&dims)), 8 * n, transpose),
        race("cat", format!("2 times {}", size(&dims)), 16 * n, joined),
    ])
}
