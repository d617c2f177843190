//! Fused attention.

use candle_core::{DType, Device, Tensor};
use candle_nn::attention::{AttnMask, flash_attn};
use candle_nn::ops::{sdpa, softmax_last_dim};
use half::bf16;

use super::{farthest, spread, tensor, values};

/// `[b, n, 2, 64]`, starting at another number of the sequence for each `seed`.
fn input(b: usize, n: usize, seed: usize) -> Tensor {
    tensor(&spread(b * n * 128 + seed)[seed..], &[b, n, 2, 64], DType::F32)
}

/// Attention by tensor operations, with a mask `[1, 1 or heads, s, t]`: `[b, heads, s, d]`.
fn steps(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor) -> Tensor {
    let of = |x: &Tensor| x.transpose(1, 2).unwrap().contiguous().unwrap();
    let scores = (of(q).matmul(&of(k).t().unwrap().contiguous().unwrap()).unwrap() * 0.125).unwrap();
    softmax_last_dim(&scores.broadcast_add(mask).unwrap()).unwrap().matmul(&of(v)).unwrap()
}

/// 0 where key j is visible to query i of head h, −∞ elsewhere.
fn mask(heads: usize, s: usize, t: usize, visible: impl Fn(usize, usize, usize) -> bool) -> Tensor {
    let value = |h, i, j| if visible(h, i, j) { 0.0 } else { f32::NEG_INFINITY };
    let all = (0..heads).flat_map(|h| (0..s).flat_map(move |i| (0..t).map(move |j| (h, i, j))));
    let values: Vec<f32> = all.map(|(h, i, j)| value(h, i, j)).collect();
    tensor(&values, &[1, heads, s, t], DType::F32)
}

fn fused(q: &Tensor, k: &Tensor, v: &Tensor, mask: AttnMask) -> Tensor {
    flash_attn::<f32>(q, k, v, 0.125, mask, None, None).unwrap()
}

fn distance(one: &Tensor, two: &Tensor) -> f64 {
    farthest(&values(one), &values(two).iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
}

#[test]
fn it_agrees_with_the_steps_for_rectangular_masks_and_batches() {
    for (b, s, t) in [(1, 5, 5), (1, 3, 9), (2, 3, 9)] {
        let (q, k, v) = (input(b, s, 0), input(b, t, 3), input(b, t, 7));
        let bias = mask(1, s, t, |_, i, j| j <= i + t - s);
        let causal = AttnMask::Causal { kv_offset: t - s };
        assert!(distance(&fused(&q, &k, &v, causal), &steps(&q, &k, &v, &bias)) < 1e-6);
    }
}

/// The decode kernel reads every key. `kv_offset` must be the number of keys − 1.
#[test]
fn the_offset_of_a_single_query_is_ignored() {
    let (q, k, v) = (input(1, 1, 0), input(1, 8, 3), input(1, 8, 7));
    let got = fused(&q, &k, &v, AttnMask::Causal { kv_offset: 3 });
    assert!(distance(&got, &steps(&q, &k, &v, &mask(1, 1, 8, |_, _, j| j <= 3))) > 0.01);
    assert!(distance(&got, &steps(&q, &k, &v, &mask(1, 1, 8, |_, _, _| true))) < 1e-6);
}

/// A batch is computed as sequences whose last query sees the last key. With one row the offset is respected.
#[test]
fn the_offset_of_a_batch_is_ignored() {
    for (b, respected) in [(1, true), (2, false)] {
        let (q, k, v) = (input(b, 3, 0), input(b, 8, 3), input(b, 8, 7));
        let got = fused(&q, &k, &v, AttnMask::Causal { kv_offset: 2 });
        let right = distance(&got, &steps(&q, &k, &v, &mask(1, 3, 8, |_, i, j| j <= i + 2)));
        assert_eq!(right < 1e-6, respected, "{right}");
    }
}

/// The mask is read as `[s, t]`.
#[test]
fn of_a_mask_with_one_part_per_head_every_head_gets_the_first() {
    let (q, k, v) = (input(1, 3, 0), input(1, 6, 3), input(1, 6, 7));
    let visible = |h: usize, _: usize, j: usize| j == 0 || !j.is_multiple_of(h + 2);
    let bias = mask(2, 3, 6, visible);
    let got = fused(&q, &k, &v, AttnMask::Mask(bias.clone()));
    assert!(distance(&got, &steps(&q, &k, &v, &bias)) > 0.01);
    assert!(distance(&got, &steps(&q, &k, &v, &mask(1, 3, 6, |_, i, j| visible(0, i, j)))) < 1e-6);
}

/// Rows of q and k are read as if their numbers were neighbours; those of v are not.
#[test]
fn queries_and_keys_that_are_not_contiguous_in_the_last_axis_are_misread() {
    let (q, k, v) = (input(1, 3, 0), input(1, 6, 3), input(1, 6, 7));
    let turned = |x: &Tensor| x.transpose(2, 3).unwrap().contiguous().unwrap().transpose(2, 3).unwrap();
    let right = fused(&q, &k, &v, AttnMask::None);
    assert_eq!(values(&turned(&q)), values(&q));
    assert!(distance(&fused(&turned(&q), &k, &v, AttnMask::None), &right) > 0.01);
    assert!(distance(&fused(&q, &turned(&k), &v, AttnMask::None), &right) > 0.01);
    assert_eq!(values(&fused(&q, &k, &turned(&v), AttnMask::None)), values(&right));
}

#[test]
fn half_precision_returns_float32_for_one_row_and_a_batch_in_bf16_is_refused() {
    let of = |b, n, seed| input(b, n, seed).to_dtype(DType::BF16).unwrap();
    let call =
        |b| flash_attn::<bf16>(&of(b, 3, 0), &of(b, 6, 3), &of(b, 6, 7), 0.125, AttnMask::None, None, None);
    assert_eq!(call(1).unwrap().dtype(), DType::F32);
    assert!(call(2).is_err());
}

#[test]
fn sdpa_has_no_kernel_for_the_cpu() {
    let x = Tensor::ones((1, 2, 3, 64), DType::F32, &Device::Cpu).unwrap();
    let error = sdpa(&x, &x, &x, None, false, 0.125, 1.0).unwrap_err().to_string();
    assert!(error.contains("no cpu impl"), "{error}");
}
