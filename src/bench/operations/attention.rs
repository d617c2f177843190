//! Fused attention: softmax(q kᵀ · scale) v in one kernel, without the scores as a tensor.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::attention::{AttnMask, flash_attn};
use candle_nn::ops::{sdpa, softmax_last_dim};
use half::{bf16, f16};

use super::super::case::{Array, Case, Entry, Exact, Input, Layout};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::normal;
use super::group::{Group, MODEL_DTYPES};

pub const GROUP: Group = Group { operations: &["flash_attn", "sdpa"], cases, races };

/// Heads of queries, heads of keys, and the width of a head.
const HEADS: (usize, usize, usize) = (4, 2, 64);

/// Which keys a query sees.
#[derive(Clone, Copy, PartialEq)]
enum Visible {
    All,
    /// Key j ≤ query i + offset.
    Causal(usize),
    /// Those where a mask of as many heads is 0; it is −∞ elsewhere. Head h hides every (h + 3)th key but the first.
    Mask(usize),
}

impl Visible {
    fn sees(self, head: usize, query: usize, key: usize) -> bool {
        match self {
            Self::All => true,
            Self::Causal(offset) => key <= query + offset,
            Self::Mask(heads) => key == 0 || !key.is_multiple_of(head % heads + 3),
        }
    }

    fn mask(
        self,
        queries: usize,
        keys: usize,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<AttnMask> {
        Ok(match self {
            Self::All => AttnMask::None,
            Self::Causal(kv_offset) => AttnMask::Causal { kv_offset },
            Self::Mask(heads) => {
                let value =
                    |head, query, key| if self.sees(head, query, key) { 0f32 } else { f32::NEG_INFINITY };
                let values = (0..heads).flat_map(|head| {
                    (0..queries).flat_map(move |query| (0..keys).map(move |key| value(head, query, key)))
                });
                let shape = (1, heads, queries, keys);
                AttnMask::Mask(Tensor::from_vec(values.collect(), shape, device)?.to_dtype(dtype)?)
            }
        })
    }
}

/// Queries `[b, s, heads, d]`, keys and values `[b, t, kv_heads, d]` → `[b, heads, s, d]`.
fn attention(inputs: &[Array], visible: Visible, softcap: Option<f64>) -> Exact {
    let [q, k, v] = inputs else { unreachable!("three inputs") };
    let (heads, kv_heads, d) = HEADS;
    let (b, s, t) = (q.dims[0], q.dims[1], k.dims[1]);
    let scale = 1.0 / (d as f64).sqrt();
    let row = |x: &Array, b: usize, at: usize, head: usize, heads: usize| {
        let start = ((b * x.dims[1] + at) * heads + head) * d;
        start..start + d
    };
    let mut entries = Vec::with_capacity(b * heads * s * d);
    for (b, head, query) in
        (0..b).flat_map(|b| (0..heads).flat_map(move |head| (0..s).map(move |query| (b, head, query))))
    {
        let kv_head = head / (heads / kv_heads);
        let q = &q.values[row(q, b, query, head, heads)];
        let keys: Vec<usize> = (0..t).filter(|&key| visible.sees(head, query, key)).collect();
        // The score, and the size of its terms.
        let score = |&key: &usize| {
            let k = &k.values[row(k, b, key, kv_head, kv_heads)];
            let products = || q.iter().zip(k).map(|(q, k)| q * k * scale);
            let (sum, mass) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
            (softcap.map_or(sum, |cap| cap * (sum / cap).tanh()), mass)
        };
        let scores: Vec<(f64, f64)> = keys.iter().map(score).collect();
        let nan = scores.iter().any(|(score, _)| score.is_nan());
        let max =
            scores.iter().fold(if nan { f64::NAN } else { f64::MIN }, |max, (score, _)| max.max(*score));
        let max = if nan { f64::NAN } else { max };
        let powers: Vec<f64> = scores.iter().map(|(score, _)| (score - max).exp()).collect();
        let sum: f64 = powers.iter().sum();
        let mass = scores.iter().map(|(_, mass)| *mass).filter(|mass| mass.is_finite()).fold(0.0, f64::max);
        for column in 0..d {
            let value = |key: usize| v.values[row(v, b, key, kv_head, kv_heads)][column];
            let terms = || keys.iter().zip(&powers).map(|(&key, power)| power / sum * value(key));
            let (want, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            let size = if size.is_finite() { size } else { 0.0 };
            // Every weight has the error of its score, and the sums are rescaled as larger scores come.
            let entry = Entry::of_sum(want, size, t).plus(8.0 * (1.0 + mass + (t as f64).ln()), size);
            entries.push(entry);
        }
    }
    Exact { dims: vec![b, heads, s, d], entries }
}

/// The kernel for these inputs.
fn call(t: &[Tensor], visible: Visible, softcap: Option<f64>) -> candle_core::Result<Tensor> {
    let (q, k, v) = (&t[0], &t[1], &t[2]);
    let kernel = match q.dtype() {
        DType::BF16 => flash_attn::<bf16>,
        DType::F16 => flash_attn::<f16>,
        _ => flash_attn::<f32>,
    };
    let scale = 1.0 / (HEADS.2 as f32).sqrt();
    let mask = visible.mask(q.dim(1)?, k.dim(1)?, q.dtype(), q.device())?;
    kernel(q, k, v, scale, mask, None, softcap.map(|cap| cap as f32))
}

fn inputs(b: usize, s: usize, t: usize, dtype: DType) -> Vec<Input> {
    let (heads, kv_heads, d) = HEADS;
    let of = |dims: [usize; 4], seed| Input::new(&dims, dtype, normal(dims.iter().product(), seed));
    vec![of([b, s, heads, d], 51), of([b, t, kv_heads, d], 52), of([b, t, kv_heads, d], 53)]
}

fn cases() -> Vec<Case> {
    use Visible::{All, Causal, Mask};
    let mut cases = Vec::new();
    for dtype in MODEL_DTYPES {
        let mut case = |label: &str, inputs: Vec<Input>, visible: Visible, softcap: Option<f64>| {
            let run = move |t: &[Tensor]| call(t, visible, softcap);
            let truth = move |x: &[Array]| attention(x, visible, softcap);
            cases.push(Case::new("flash_attn", dtype, label, inputs, run, truth).batched(3));
        };
        case("1 query, 1 key", inputs(1, 1, 1, dtype), All, None);
        case("7 queries, 7 keys, causal", inputs(1, 7, 7, dtype), Causal(0), None);
        case("3 queries, 8 keys, causal with offset 5", inputs(1, 3, 8, dtype), Causal(5), None);
        case("3 queries, 8 keys, causal with offset 2", inputs(1, 3, 8, dtype), Causal(2), None);
        case("1 query, 8 keys, causal with offset 3", inputs(1, 1, 8, dtype), Causal(3), None);
        case("1 query, 4200 keys", inputs(1, 1, 4200, dtype), All, None);
        case("70 queries, 300 keys, causal with offset 230", inputs(1, 70, 300, dtype), Causal(230), None);
        case("3 queries, 8 keys, softcap", inputs(1, 3, 8, dtype), Causal(5), Some(2.0));
        case("5 queries, 9 keys, mask", inputs(1, 5, 9, dtype), Mask(1), None);
        case("5 queries, 9 keys, mask of 4 heads", inputs(1, 5, 9, dtype), Mask(4), None);
        case("batch of 2, 3 queries, 8 keys", inputs(2, 3, 8, dtype), All, None);
        case("batch of 2, 3 queries, 8 keys, causal with offset 5", inputs(2, 3, 8, dtype), Causal(5), None);
        case("batch of 2, 3 queries, 8 keys, causal with offset 2", inputs(2, 3, 8, dtype), Causal(2), None);
        case("batch of 2, mask", inputs(2, 3, 8, dtype), Mask(1), None);
        let arranged =
            |layout| inputs(1, 3, 8, dtype).into_iter().map(move |input| input.arranged(layout)).collect();
        case("3 queries, 8 keys, offset", arranged(Layout::Offset), All, None);
        case("3 queries, 8 keys, gaps", arranged(Layout::Gaps), All, None);
        case("3 queries, 8 keys, transposed", arranged(Layout::Transposed), All, None);
        case("3 queries, 0 keys", inputs(1, 3, 0, dtype), All, None);
    }
    // The other fused kernel takes [b, heads, s, d].
    let run = |t: &[Tensor]| {
        let of = |x: &Tensor| x.transpose(1, 2)?.contiguous();
        sdpa(&of(&t[0])?, &of(&t[1])?, &of(&t[2])?, None, false, 0.125, 1.0)
    };
    let truth = |x: &[Array]| attention(x, All, None);
    cases.push(
        Case::new("sdpa", DType::F32, "3 queries, 8 keys", inputs(1, 3, 8, DType::F32), run, truth)
            .batched(3),
    );
    cases
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let (heads, d) = (32, 64);
    let mut races = Vec::new();
    // A prompt, and one more token after it.
    for (s, t) in [(256, 256), (1, 2048)] {
        let (q, _) = numbers(&[1, s, heads, d], DType::F32, device)?;
        let (k, _) = numbers(&[1, t, heads, d], DType::F32, device)?;
        let bias: Vec<f32> = (0..s)
            .flat_map(|i| (0..t).map(move |j| if j <= i + t - s { 0f32 } else { f32::NEG_INFINITY }))
            .collect();
        let bias = Tensor::from_vec(bias, (1, 1, s, t), device)?;
        let (a, keys) = (q.clone(), k.clone());
        let fused = move || {
            let mask = if s == 1 { AttnMask::None } else { AttnMask::Causal { kv_offset: t - s } };
            flash_attn::<f32>(&a, &keys, &keys, 0.125, mask, None, None)
        };
        let of = |x: &Tensor| x.transpose(1, 2)?.contiguous();
        let (q, k) = (of(&q)?, of(&k)?);
        let steps = move || {
            let scores = (q.matmul(&k.transpose(D::Minus1, D::Minus2)?)? * 0.125)?.broadcast_add(&bias)?;
            softmax_last_dim(&scores)?.matmul(&k)
        };
        races.push(Race {
            operation: "flash_attn",
            dtype: DType::F32,
            size: format!("{heads} heads of {d}, {s} queries, {t} keys"),
            bytes: 4 * heads * d * 2 * (s + t),
            flops: 4 * heads * d * s * t,
            contenders: vec![
                Contender::tensor(Way::Candle, "", fused),
                Contender::tensor(Way::TensorOperations, "matmul, softmax_last_dim, matmul", steps),
            ],
        });
    }
    Ok(races)
}
