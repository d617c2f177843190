//! Caches of keys and values, which grow along the axis of positions.

use candle_core::{DType, Device, Tensor};
use candle_nn::kv_cache::{ConcatKvCache, KvCache};

use super::super::case::{Array, Case, Entry, Exact, Input, Layout};
use super::super::speed::{Contender, Race, Way, numbers};
use super::super::values::normal;
use super::group::{Group, MODEL_DTYPES, size};

pub const GROUP: Group =
    Group { operations: &["kv_cache append", "kv_cache clone", "kv_cache reset"], cases, races };

/// The axis of positions in `[b, heads, s, d]`.
const POSITIONS: usize = 2;

/// Pieces one after another.
fn joined(pieces: &[Array]) -> Exact {
    let first = &pieces[0].dims;
    let (outer, d) = (first[0] * first[1], first[3]);
    let mut entries = Vec::new();
    for row in 0..outer {
        for piece in pieces {
            let length = piece.dims[POSITIONS] * d;
            entries.extend(piece.values[row * length..][..length].iter().copied().map(Entry::exact));
        }
    }
    let mut dims = first.clone();
    dims[POSITIONS] = pieces.iter().map(|piece| piece.dims[POSITIONS]).sum();
    Exact { dims, entries }
}

/// Appends each piece as keys, and the same numbers negated as values, and returns the values, negated again: a cache
/// that mixed the two up would be noticed.
fn appended(cache: &mut KvCache, pieces: &[Tensor]) -> candle_core::Result<Tensor> {
    let mut all = None;
    for piece in pieces {
        let (k, v) = cache.append(piece, &piece.neg()?)?;
        let same = v.neg()?.sub(&k)?.to_dtype(DType::F32)?.abs()?.sum_all()?.to_scalar::<f32>()?;
        if same != 0.0 && !same.is_nan() {
            candle_core::bail!("keys and values differ by {same}");
        }
        all = Some(k);
    }
    all.map_or_else(|| candle_core::bail!("nothing was appended"), Ok)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in MODEL_DTYPES {
        let piece = |length: usize, seed| Input::new(&[2, 3, length, 8], dtype, normal(48 * length, seed));
        let mut case =
            |name, label: &str, pieces: Vec<Input>, run: fn(&[Tensor]) -> _, truth: fn(&[Array]) -> _| {
                let batched = pieces.len();
                cases.push(Case::new(name, dtype, label, pieces, run, truth).one_rounding().batched(batched));
            };
        let append = |t: &[Tensor]| appended(&mut KvCache::new(POSITIONS, 16), t);
        let name = "kv_cache append";
        case(name, "1 position", vec![piece(1, 61)], append, joined);
        case(name, "7, 1 and 1 positions", vec![piece(7, 61), piece(1, 62), piece(1, 63)], append, joined);
        case(name, "16 and 1 positions, capacity 16", vec![piece(16, 61), piece(1, 62)], append, joined);
        case(name, "50 positions, capacity 16", vec![piece(50, 61), piece(1, 62)], append, joined);
        case(name, "0 positions", vec![piece(0, 61)], append, joined);
        case(name, "5 positions, gaps", vec![piece(5, 61).arranged(Layout::Gaps)], append, joined);
        case(
            name,
            "5 positions, transposed",
            vec![piece(5, 61).arranged(Layout::Transposed)],
            append,
            joined,
        );
        let both = || vec![piece(3, 61), piece(2, 62), piece(2, 63)];
        // The clone must not see what the original appends later.
        let cloned = |t: &[Tensor]| {
            let mut original = KvCache::new(POSITIONS, 16);
            appended(&mut original, &t[..1])?;
            let mut copy = original.clone();
            let all = appended(&mut copy, &t[1..2])?;
            appended(&mut original, &t[2..])?;
            Ok(all)
        };
        case("kv_cache clone", "3 positions, then 2 in each", both(), cloned, |pieces| joined(&pieces[..2]));
        let reset = |t: &[Tensor]| {
            let mut cache = KvCache::new(POSITIONS, 16);
            appended(&mut cache, &t[..1])?;
            cache.reset();
            appended(&mut cache, &t[1..])
        };
        let after = |pieces: &[Array]| joined(&pieces[1..]);
        case("kv_cache reset", "3 positions, reset, 2 and 2", both(), reset, after);
        let grown = vec![piece(50, 61), piece(2, 62)];
        case("kv_cache reset", "50 positions, reset, 2, capacity 16", grown, reset, after);
    }
    // The NaN is placed into the first piece, which these cases drop.
    for case in &mut cases {
        case.with_nan = case.operation != "kv_cache reset";
    }
    cases
}

fn races(device: &Device) -> candle_core::Result<Vec<Race>> {
    let (heads, past, d) = (32, 1024, 128);
    let (before, _) = numbers(&[1, heads, past, d], DType::F32, device)?;
    let (one, _) = numbers(&[1, heads, 1, d], DType::F32, device)?;
    // 64 tokens after a prompt.
    const TOKENS: usize = 64;
    let (a, b) = ((before.clone(), one.clone()), (before, one));
    let growing = move || {
        let mut cache = KvCache::new(POSITIONS, 256);
        cache.append(&a.0, &a.0)?;
        for _ in 1..TOKENS {
            cache.append(&a.1, &a.1)?;
        }
        cache.append(&a.1, &a.1).map(|(k, _)| k)
    };
    let joining = move || {
        let mut cache = ConcatKvCache::new(POSITIONS);
        cache.append(&b.0, &b.0)?;
        for _ in 1..TOKENS {
            cache.append(&b.1, &b.1)?;
        }
        cache.append(&b.1, &b.1).map(|(k, _)| k)
    };
    Ok(vec![Race {
        operation: "kv_cache append",
        dtype: DType::F32,
        size: format!("{} and {TOKENS} times 1 position", size(&[1, heads, past, d])),
        bytes: 2 * 4 * heads * d * 2 * (past + TOKENS),
        flops: 0,
        contenders: vec![
            Contender::tensor(Way::Candle, "", growing),
            Contender::tensor(Way::Alternative, "ConcatKvCache", joining),
        ],
    }])
}
