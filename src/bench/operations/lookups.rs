//! Rows and entries by their number: embedding, index_select, argmax.

use candle_core::{D, DType, Device, Module, Tensor};
use candle_nn::Embedding;

use super::super::case::{Array, Case, Entry, Exact, Input, Layout};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::{below, normal};
use super::group::{Group, MODEL_DTYPES, size};

pub const GROUP: Group = Group { operations: &["embedding", "index_select", "argmax"], cases, races };

/// Rows of a table `[rows, width]` by ids of any shape.
fn chosen(ids: &Array, table: &Array) -> Exact {
    let width = table.width();
    let row = |&id: &f64| table.values[id as usize * width..][..width].iter().copied().map(Entry::exact);
    let mut dims = ids.dims.clone();
    dims.push(width);
    Exact { dims, entries: ids.values.iter().flat_map(row).collect() }
}

/// The place of the largest number of each row. NumPy and PyTorch treat NaN as the largest, and take the first of equals.
fn largest(inputs: &[Array]) -> Exact {
    let x = &inputs[0];
    let of_row = |row: &[f64]| {
        let nan = row.iter().position(|x| x.is_nan());
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let first = || row.iter().position(|&x| x == max).unwrap_or(0);
        Entry::exact(nan.unwrap_or_else(first) as f64)
    };
    let mut dims = x.dims.clone();
    dims.pop();
    Exact { dims, entries: x.rows().map(of_row).collect() }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in MODEL_DTYPES {
        let table = |layout| Input::new(&[97, 65], dtype, normal(97 * 65, 71)).arranged(layout);
        for (ids, layout) in [
            (&[1][..], Layout::Contiguous),
            (&[2, 5], Layout::Contiguous),
            (&[0], Layout::Contiguous),
            (&[2, 5], Layout::Offset),
            (&[2, 5], Layout::Transposed),
            (&[2, 5], Layout::Gaps),
        ] {
            let numbers = Input::new(ids, DType::U32, below(ids.iter().product(), 97, 72));
            let label = format!("{} ids of 97x65 {layout:?}", size(ids)).to_lowercase();
            let inputs = vec![numbers, table(layout)];
            let run = |t: &[Tensor]| Embedding::new(t[1].clone(), 65).forward(&t[0]);
            let case = Case::new("embedding", dtype, &label, inputs.clone(), run, |x| chosen(&x[0], &x[1]));
            cases.push(case.one_rounding());
            if ids.len() == 1 || layout != Layout::Contiguous {
                let numbers = Input::new(&[7], DType::U32, below(7, 97, 72));
                let label = format!("7 ids of 97x65 {layout:?}").to_lowercase();
                let run = |t: &[Tensor]| t[1].index_select(&t[0], 0);
                let case = Case::new("index_select", dtype, label, vec![numbers, table(layout)], run, |x| {
                    chosen(&x[0], &x[1])
                });
                cases.push(case.one_rounding());
            }
        }
        let mut case = |label: &str, x: Input| {
            let run = |t: &[Tensor]| t[0].argmax(D::Minus1);
            let case = Case::new("argmax", dtype, label, vec![x], run, largest).without_nan();
            cases.push(Case { result: Some(DType::U32), ulps: 0.0, ..case });
        };
        let x = |dims: &[usize]| Input::new(dims, dtype, normal(dims.iter().product(), 73));
        case("1x1", x(&[1, 1]));
        case("3x4099", x(&[3, 4099]));
        case("0x8", x(&[0, 8]));
        case("3x577 gaps", x(&[3, 577]).arranged(Layout::Gaps));
        case("5x7 transposed", x(&[5, 7]).arranged(Layout::Transposed));
        case("1x8 equal", Input::new(&[1, 8], dtype, vec![1.0; 8]));
        for (place, at) in [("first", 0), ("in the middle", 4), ("last", 7)] {
            let mut values: Vec<f64> = (0..8).map(|n| f64::from(n % 5)).collect();
            values[at] = f64::NAN;
            case(&format!("1x8 NaN {place}"), Input::new(&[1, 8], dtype, values));
        }
    }
    cases
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let (vocab, width, rows) = (32000, 2048, 128);
    let (table, values) = numbers(&[vocab, width], DType::F32, device)?;
    let ids: Vec<u32> = below(rows, vocab, 74).into_iter().map(|id| id as u32).collect();
    let tensor = Tensor::from_vec(ids.clone(), rows, device)?;
    let embedding = Embedding::new(table, width);
    let mut out = vec![0f32; rows * width];
    let gather = move || {
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(width)) {
            out.copy_from_slice(&values[*id as usize * width..][..width]);
        }
    };
    let (logits, numbers) = numbers(&[1, vocab], DType::F32, device)?;
    let host = logits.clone();
    let scan = move || {
        let best = numbers
            .iter()
            .enumerate()
            .fold((0, f32::MIN), |best, (at, &x)| if x > best.1 { (at, x) } else { best });
        std::hint::black_box(best);
    };
    let race = |operation, size, bytes, contenders| Race {
        operation,
        dtype: DType::F32,
        size,
        bytes,
        flops: 0,
        contenders,
    };
    Ok(vec![
        race(
            "embedding",
            format!("{rows} ids of {vocab}x{width}"),
            8 * rows * width,
            vec![
                Contender::tensor(Way::Candle, "", move || embedding.forward(&tensor)),
                Contender::plain(gather),
            ],
        ),
        race(
            "argmax",
            size(&[1, vocab]),
            4 * vocab,
            vec![
                Contender::tensor(Way::Candle, "", move || logits.argmax(D::Minus1)),
                Contender::tensor(Way::Alternative, "max_keepdim", move || host.max_keepdim(D::Minus1)),
                Contender::plain(scan),
            ],
        ),
    ])
}
