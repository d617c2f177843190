//! Measures the cost of the probe: 16 decode steps from an empty cache. The model is so small (width 48,
//! three layers, 60 taps per step) that any cost besides the arithmetic is visible.
//!
//! - `no_taps` is the same forward pass written below without a probe.
//! - `empty_probe` is what production runs. Its ratio to `no_taps` is the cost of everything that the probe
//!   requires: the taps, and scores in their canonical shape.
//! - `dynamic_probe` is the same probe behind a virtual call that the compiler cannot inline. Its difference
//!   from `empty_probe` is the cost of the calls.
//!
//! Criterion measures the three one after the other, so load on the machine adds noise. The ratios printed
//! at the end are medians of runs that alternate. (Measured on one thread: 1.017 and 1.018, which is 1 µs
//! per step and negligible on a model of any size.)

#[path = "../tests/tiny/mod.rs"]
mod tiny;

use std::hint::black_box;
use std::time::Instant;

use candle_core::{Module, Result, Tensor};
use candle_nn::kv_cache::KvCache;
use candle_nn::ops::softmax_last_dim;
use criterion::{Criterion, criterion_group, criterion_main};
use rbees_check::model::{Attention, Block, Input, Llama, SelfAttention};
use rbees_check::probe::{Kind, Probe, Site};

const STEPS: u32 = 16;

/// A probe whose type is known only at run time.
struct Dynamic<'a>(&'a mut dyn Probe);

impl Probe for Dynamic<'_> {
    fn wants(&self, kind: Kind) -> bool {
        self.0.wants(kind)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> rbees_check::Result<Tensor> {
        self.0.tap(site, tensor)
    }
}

fn decode<P: Probe>(llama: &Llama, probe: &mut P) {
    let mut cache = llama.new_cache();
    for id in 0..STEPS {
        let input = Input::single(&[id], id as usize);
        black_box(llama.forward(&input, &mut cache, probe).unwrap());
    }
}

fn decode_without_taps(llama: &Llama) {
    let mut caches: Vec<KvCache> = llama.layers.iter().map(|_| KvCache::new(2, 256)).collect();
    for id in 0..STEPS {
        black_box(step(llama, id, &mut caches).unwrap());
    }
}

/// Decodes one token. Its id is also its position.
fn step(llama: &Llama, id: u32, caches: &mut [KvCache]) -> Result<Tensor> {
    let positions = [vec![id as usize]];
    let rotation = llama.rope.at(&positions, llama.device()).map_err(candle_core::Error::wrap)?;
    let rotate = |x: &Tensor| rotation.apply(x).map_err(candle_core::Error::wrap);
    let mut x = llama.embed_tokens.rows(&[vec![id]], llama.device()).map_err(candle_core::Error::wrap)?; // [1, 1, hidden]
    for (block, cache) in llama.layers.iter().zip(caches) {
        x = layer(block, x, rotate, cache)?; // [1, 1, hidden]
    }
    let x = llama.norm.forward(&x).map_err(candle_core::Error::wrap)?; // [1, 1, hidden]
    llama.lm_head.forward(&x) // [1, 1, vocab]
}

fn layer(
    block: &Block,
    x: Tensor,
    rotate: impl Fn(&Tensor) -> Result<Tensor>,
    cache: &mut KvCache,
) -> Result<Tensor> {
    let normed = block.input_layernorm.forward(&x).map_err(candle_core::Error::wrap)?; // [1, 1, hidden]
    let x = (x + attend(&block.self_attn, &normed, rotate, cache)?)?; // [1, 1, hidden]
    let normed = block.ffn_norm.forward(&x).map_err(candle_core::Error::wrap)?; // [1, 1, hidden]
    let gate = block.mlp.gate_proj.forward(&normed)?; // [1, 1, ffn]
    let up = block.mlp.up_proj.forward(&normed)?; // [1, 1, ffn]
    let down = block.mlp.down_proj.forward(&(gate.silu()? * up)?)?; // [1, 1, hidden]
    x + down
}

fn attend(
    attention: &SelfAttention,
    x: &Tensor,
    rotate: impl Fn(&Tensor) -> Result<Tensor>,
    cache: &mut KvCache,
) -> Result<Tensor> {
    let (heads, kv_heads, d) = (attention.heads, attention.kv_heads, attention.head_dim);
    let split = |x: Tensor, heads| x.reshape((1, 1, heads, d))?.transpose(1, 2)?.contiguous();
    let q = rotate(&split(attention.q_proj.forward(x)?, heads)?)?; // [1, heads, 1, d]
    let k = rotate(&split(attention.k_proj.forward(x)?, kv_heads)?)?; // [1, kv_heads, 1, d]
    let v = split(attention.v_proj.forward(x)?, kv_heads)?; // [1, kv_heads, 1, d]
    let (k, v) = cache.append(&k, &v)?; // [1, kv_heads, t, d]

    let q = q.reshape((1, kv_heads, heads / kv_heads, d))?; // [1, kv_heads, group, d]
    let scores = (q.matmul(&k.t()?)? * attention.scale)?; // [1, kv_heads, group, t]
    let context = softmax_last_dim(&scores)?.matmul(&v)?; // [1, kv_heads, group, d]
    attention.o_proj.forward(&context.reshape((1, 1, heads * d))?) // [1, 1, hidden]
}

/// Decodes with the probe `()` behind a pointer.
fn decode_dynamic(llama: &Llama) {
    decode(llama, &mut Dynamic(black_box(&mut ())));
}

fn empty_probe(c: &mut Criterion) {
    let llama = tiny::llama(Attention::Plain);
    let mut group = c.benchmark_group("decode");
    group.bench_function("no_taps", |b| b.iter(|| decode_without_taps(&llama)));
    group.bench_function("empty_probe", |b| b.iter(|| decode(&llama, &mut ())));
    group.bench_function("dynamic_probe", |b| b.iter(|| decode_dynamic(&llama)));
    group.finish();
    take_turns(&llama);
}

/// Runs the three variants in turn and prints their median times relative to `no_taps`.
fn take_turns(llama: &Llama) {
    let contenders: [&dyn Fn(); 3] =
        [&|| decode_without_taps(llama), &|| decode(llama, &mut ()), &|| decode_dynamic(llama)];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..2000 {
        for (contender, times) in contenders.iter().zip(&mut times) {
            let start = Instant::now();
            contender();
            times.push(start.elapsed());
        }
    }
    let [none, empty, dynamic] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    });
    println!("relative to no taps: empty probe {:.3}, dynamic probe {:.3}", empty / none, dynamic / none);
}

criterion_group!(benches, empty_probe);
criterion_main!(benches);
