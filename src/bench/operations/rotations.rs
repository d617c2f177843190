//! Rotary position embedding: three arrangements of the same rotation.

use candle_core::{DType, Device, Tensor};
use candle_nn::rotary_emb::{rope, rope_i, rope_i_slow, rope_slow, rope_thd};

use super::super::case::{Array, Case, Entry, Exact, Input, Layout};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::normal;
use super::group::{Group, MODEL_DTYPES, size};

pub const GROUP: Group = Group { operations: &["rope", "rope_i", "rope_thd"], cases, races };

/// Which elements of a head form pair `i`, and which axes count heads and positions.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// `[b, heads, s, d]`, element i with i + d/2.
    HalfSplit,
    /// `[b, heads, s, d]`, element 2i with 2i + 1.
    Interleaved,
    /// `[b, s, heads, d]`, element i with i + d/2.
    PositionsFirst,
}

impl Order {
    const ALL: [(&'static str, Self); 3] =
        [("rope", Self::HalfSplit), ("rope_i", Self::Interleaved), ("rope_thd", Self::PositionsFirst)];

    fn call(self) -> fn(&Tensor, &Tensor, &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::HalfSplit => rope,
            Self::Interleaved => rope_i,
            Self::PositionsFirst => rope_thd,
        }
    }

    /// Batch, heads and positions of x.
    fn counts(self, dims: &[usize]) -> (usize, usize, usize) {
        match self {
            Self::PositionsFirst => (dims[0], dims[2], dims[1]),
            _ => (dims[0], dims[1], dims[2]),
        }
    }
}

/// x, cos and sin, where a table of three axes has a row of positions for each row of the batch.
fn rotated(order: Order, inputs: &[Array]) -> Exact {
    let [x, cos, sin] = inputs else { unreachable!("three inputs") };
    let (b, heads, s) = order.counts(&x.dims);
    let (d, half) = (x.width(), x.width() / 2);
    let (positions, per_row) = match cos.dims[..] {
        [_, positions, _] => (positions, positions * half),
        _ => (cos.dims[0], 0),
    };
    debug_assert!(s <= positions);
    let mut entries = vec![Entry::exact(0.0); x.values.len()];
    for (row, head, position) in triples(b, heads, s) {
        let base = match order {
            Order::PositionsFirst => ((row * s + position) * heads + head) * d,
            _ => ((row * heads + head) * s + position) * d,
        };
        for pair in 0..half {
            let (i, j) = match order {
                Order::Interleaved => (base + 2 * pair, base + 2 * pair + 1),
                _ => (base + pair, base + pair + half),
            };
            let at = row * per_row + position * half + pair;
            let (c, s) = (cos.values[at], sin.values[at]);
            let (x, y) = (x.values[i], x.values[j]);
            entries[i] = two_terms(x * c, -y * s);
            entries[j] = two_terms(x * s, y * c);
        }
    }
    Exact { dims: x.dims.clone(), entries }
}

/// The sum of two products, which may cancel.
fn two_terms(one: f64, two: f64) -> Entry {
    Entry::exact(one + two).plus(4.0, one.abs() + two.abs())
}

fn triples(b: usize, heads: usize, s: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..b).flat_map(move |row| (0..heads).flat_map(move |head| (0..s).map(move |at| (row, head, at))))
}

/// cos and sin of positions from `start`, `[positions, d/2]`, or with a first axis of `rows` that start 100 apart.
fn tables(rows: Option<usize>, start: usize, positions: usize, d: usize, dtype: DType) -> [Input; 2] {
    let angles: Vec<f64> = (0..rows.unwrap_or(1))
        .flat_map(|row| (0..positions).map(move |at| (start + 100 * row + at) as f64))
        .flat_map(|position| (0..d / 2).map(move |i| position * 10000f64.powf(-2.0 * i as f64 / d as f64)))
        .collect();
    let dims = match rows {
        Some(rows) => vec![rows, positions, d / 2],
        None => vec![positions, d / 2],
    };
    [f64::cos, f64::sin].map(|of| Input::new(&dims, dtype, angles.iter().map(|&angle| of(angle)).collect()))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (dtype, (name, order)) in
        MODEL_DTYPES.into_iter().flat_map(|dtype| Order::ALL.map(|order| (dtype, order)))
    {
        let x = |dims: [usize; 4]| {
            let dims =
                if order == Order::PositionsFirst { [dims[0], dims[2], dims[1], dims[3]] } else { dims };
            Input::new(&dims, dtype, normal(dims.iter().product(), 11))
        };
        let mut case = |label: &str, x: Input, [cos, sin]: [Input; 2], batched: usize| {
            let call = order.call();
            let run = move |t: &[Tensor]| call(&t[0], &t[1], &t[2]);
            let case =
                Case::new(name, dtype, label, vec![x, cos, sin], run, move |inputs| rotated(order, inputs));
            // Two products are rounded in the dtype before they are added.
            let case = Case { accumulator: crate::compare::ulp(dtype) / 2.0, ..case };
            cases.push(case.batched(batched));
        };
        for dims in [[1, 1, 1, 2], [1, 3, 1, 64], [2, 3, 5, 64], [1, 9, 300, 64]] {
            case(&size(&dims), x(dims), tables(None, 0, dims[2], dims[3], dtype), 1);
        }
        let dims = [2, 3, 5, 64];
        case("2x3x5x64 at 100000", x(dims), tables(None, 100_000, 5, 64, dtype), 1);
        case("2x3x5x64 longer table", x(dims), tables(None, 0, 9, 64, dtype), 1);
        case("2x3x5x64 own positions", x(dims), tables(Some(2), 0, 5, 64, dtype), 3);
        case("2x3x5x64 own positions, longer table", x(dims), tables(Some(2), 0, 9, 64, dtype), 3);
        case("2x3x5x64 offset", x(dims).arranged(Layout::Offset), tables(None, 0, 5, 64, dtype), 1);
        case("2x3x5x64 gaps", x(dims).arranged(Layout::Gaps), tables(None, 0, 5, 64, dtype), 1);
        case("2x3x0x64", x([2, 3, 0, 64]), tables(None, 0, 5, 64, dtype), 1);
        let [cos, sin] = tables(None, 0, 5, 64, DType::F32);
        if dtype != DType::F32 {
            case("2x3x5x64 f32 tables", x(dims), [cos, sin], 1);
        }
    }
    cases
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let (heads, s, d) = (32, 128, 128);
    let dims = [1, heads, s, d];
    let (x, values) = numbers(&dims, DType::F32, device)?;
    let [cos, sin] = tables(None, 0, s, d, DType::F32);
    let (cos, sin) = (cos.tensor(device)?, sin.tensor(device)?);
    let table = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
    let plain = (values, table(&cos)?, table(&sin)?);
    let mut races = Vec::new();
    for (name, order) in Order::ALL {
        let mut contenders = Vec::new();
        let input = if order == Order::PositionsFirst { x.transpose(1, 2)?.contiguous()? } else { x.clone() };
        let (call, (cos, sin)) = (order.call(), (cos.clone(), sin.clone()));
        let (a, c) = (input.clone(), (cos.clone(), sin.clone()));
        contenders.push(Contender::tensor(Way::Candle, "", move || call(&a, &c.0, &c.1)));
        let slow = match order {
            Order::Interleaved => Some(rope_i_slow as fn(&Tensor, &Tensor, &Tensor) -> _),
            Order::HalfSplit => Some(rope_slow as fn(&Tensor, &Tensor, &Tensor) -> _),
            Order::PositionsFirst => None,
        };
        if let Some(slow) = slow {
            contenders
                .push(Contender::tensor(Way::TensorOperations, "_slow", move || slow(&input, &cos, &sin)));
        }
        if order != Order::PositionsFirst {
            let (x, cos, sin) = plain.clone();
            let mut out = vec![0f32; x.len()];
            contenders.push(Contender::plain(move || plain_rope(order, d, [&x, &cos, &sin], &mut out)));
        }
        races.push(Race {
            operation: name,
            dtype: DType::F32,
            size: size(&dims),
            bytes: 2 * 4 * heads * s * d,
            flops: 3 * heads * s * d,
            contenders,
        });
    }
    Ok(races)
}

fn plain_rope(order: Order, d: usize, [x, cos, sin]: [&[f32]; 3], out: &mut [f32]) {
    let half = d / 2;
    let positions = cos.len() / half;
    for (n, (row, out)) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)).enumerate() {
        let table = n % positions * half;
        let (cos, sin) = (&cos[table..][..half], &sin[table..][..half]);
        if order == Order::Interleaved {
            for (pair, (x, out)) in row.chunks_exact(2).zip(out.chunks_exact_mut(2)).enumerate() {
                out[0] = x[0] * cos[pair] - x[1] * sin[pair];
                out[1] = x[0] * sin[pair] + x[1] * cos[pair];
            }
        } else {
            let ((x, y), (first, second)) = (row.split_at(half), out.split_at_mut(half));
            let turned = x.iter().zip(y).zip(cos.iter().zip(sin));
            for ((first, second), ((x, y), (cos, sin))) in first.iter_mut().zip(second).zip(turned) {
                *first = x * cos - y * sin;
                *second = x * sin + y * cos;
            }
        }
    }
}
