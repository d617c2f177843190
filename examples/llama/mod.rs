//! Your own Llama, on plain Candle tensors. It does not depend on this project: where it computes a tensor to
//! check, it calls `tap`, and continues with the tensor that `tap` returns.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{D, DType, Device, Result, Tensor, bail, safetensors};

/// In production, pass `&mut |_, tensor| Ok(tensor)`.
pub type Tap<'a> = &'a mut dyn FnMut(&str, Tensor) -> Result<Tensor>;

/// Keys and values of each layer, `[b, kv_heads, t, head_dim]`.
pub type Cache = Vec<(Tensor, Tensor)>;

pub struct Llama {
    weights: HashMap<String, Tensor>,
    pub config: serde_json::Value,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    pub theta: f64,
}

/// θ from the key that transformers 5 writes, or else from the key of earlier versions.
fn theta(config: &serde_json::Value) -> Option<f64> {
    config["rope_parameters"]["rope_theta"].as_f64().or(config["rope_theta"].as_f64())
}

impl Llama {
    /// Opens a Hugging Face directory, in f32 on the CPU.
    pub fn open(folder: &Path) -> Result<Self> {
        let config: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)
            .map_err(candle_core::Error::wrap)?;
        let weights = safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
        let wide = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_dtype(DType::F32)?));
        let mut llama = Self {
            weights: weights.into_iter().map(wide).collect::<Result<_>>()?,
            theta: theta(&config).unwrap_or(10_000.0),
            config,
            heads: 0,
            kv_heads: 0,
            head_dim: 0,
        };
        (llama.heads, llama.kv_heads) =
            (llama.size("num_attention_heads"), llama.size("num_key_value_heads"));
        llama.head_dim = llama.size("head_dim");
        Ok(llama)
    }

    pub fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().unwrap_or_default() as usize
    }

    fn weight(&self, name: &str) -> Result<&Tensor> {
        let Some(weight) = self.weights.get(&format!("{name}.weight")) else {
            bail!("{name}.weight: missing")
        };
        Ok(weight)
    }

    /// x Wᵀ, `[b, s, in]` → `[b, s, out]`.
    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        x.broadcast_matmul(&self.weight(name)?.t()?)
    }

    /// x / √(mean(x²) + ε) · weight.
    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let eps = self.config["rms_norm_eps"].as_f64().unwrap_or_default();
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?; // [b, s, 1]
        x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(self.weight(name)?)
    }

    /// Rotates elements i and i + head_dim/2 by the angle position / θ^(2i/head_dim).
    fn rope(&self, x: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let half = self.head_dim / 2;
        let speed = |i| self.theta.powf(-2.0 * i as f64 / self.head_dim as f64);
        let speeds = Tensor::from_iter((0..half).map(speed), &Device::Cpu)?;
        let angles = positions.to_dtype(DType::F64)?.unsqueeze(2)?.broadcast_mul(&speeds)?.unsqueeze(1)?;
        let (cos, sin) = (angles.cos()?.to_dtype(DType::F32)?, angles.sin()?.to_dtype(DType::F32)?); // [b, 1, s, half]
        let (left, right) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
        let turned = |a: &Tensor, b: &Tensor| a.broadcast_mul(&cos)? + b.broadcast_mul(&sin)?;
        Tensor::cat(&[turned(&left, &right.neg()?)?, turned(&right, &left)?], 3)
    }

    /// The additive mask, `[b, 1, s, t]`: 0 for the query's own position and earlier tokens that are not
    /// padding, −inf elsewhere.
    fn bars(&self, mask: &Tensor, s: usize) -> Result<Tensor> {
        let (real, (b, t)) = (mask.to_vec2::<u8>()?, mask.dims2()?);
        let sees = |row: &[u8], query: usize, key: usize| key == query || key < query && row[key] == 1;
        let bar = |sees: bool| if sees { 0f32 } else { f32::NEG_INFINITY };
        let rows = real.iter().flat_map(|row| (t - s..t).map(move |query| (row, query)));
        let bars = rows.flat_map(|(row, query)| (0..t).map(move |key| bar(sees(row, query, key))));
        Tensor::from_iter(bars, &Device::Cpu)?.reshape((b, 1, s, t))
    }

    /// `[b, s, n * head_dim]` → `[b, n, s, head_dim]`.
    fn split(&self, x: &Tensor, n: usize) -> Result<Tensor> {
        let (b, s, _) = x.dims3()?;
        x.reshape((b, s, n, self.head_dim))?.transpose(1, 2)?.contiguous()
    }

    /// Repeats each key or value head for its query heads: `[b, kv_heads, t, d]` → `[b, heads, t, d]`.
    fn spread(&self, x: &Tensor) -> Result<Tensor> {
        let (b, n, t, d) = x.dims4()?;
        let group = self.heads / n;
        x.unsqueeze(2)?.expand((b, n, group, t, d))?.reshape((b, self.heads, t, d))
    }

    fn block(
        &self,
        i: usize,
        x: Tensor,
        at: (&Tensor, &Tensor),
        cache: &mut Cache,
        tap: Tap,
    ) -> Result<Tensor> {
        let here = format!("model.layers.{i}");
        let mut tap = |name: &str, tensor: Tensor| tap(&format!("{here}.{name}"), tensor);
        let linear = |name: &str, x: &Tensor| self.linear(&format!("{here}.{name}"), x);
        let norm = |name: &str, x: &Tensor| self.norm(&format!("{here}.{name}"), x);
        let (positions, bars) = at;
        let normed = tap("input_layernorm", norm("input_layernorm", &x)?)?; // [b, s, hidden]
        let q = tap("self_attn.q_proj", linear("self_attn.q_proj", &normed)?)?; // [b, s, heads * head_dim]
        let k = tap("self_attn.k_proj", linear("self_attn.k_proj", &normed)?)?; // [b, s, kv_heads * head_dim]
        let v = tap("self_attn.v_proj", linear("self_attn.v_proj", &normed)?)?;
        let q = tap("self_attn.q_rope", self.rope(&self.split(&q, self.heads)?, positions)?)?;
        let k = tap("self_attn.k_rope", self.rope(&self.split(&k, self.kv_heads)?, positions)?)?;
        let (mut keys, mut values) = (k, self.split(&v, self.kv_heads)?);
        if let Some((k, v)) = cache.get(i) {
            (keys, values) = (Tensor::cat(&[k, &keys], 2)?, Tensor::cat(&[v, &values], 2)?);
            cache.remove(i);
        }
        cache.insert(i, (keys.clone(), values.clone()));
        let scores = (q.matmul(&self.spread(&keys)?.t()?)? / (self.head_dim as f64).sqrt())?; // [b, heads, s, t]
        let scores = tap("self_attn.scores", scores.broadcast_add(bars)?)?;
        let powers = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let probs = tap("self_attn.probs", powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?)?;
        let context = probs.matmul(&self.spread(&values)?)?; // [b, heads, s, head_dim]
        let context = tap("self_attn.context", context.transpose(1, 2)?.flatten_from(2)?)?; // [b, s, heads * head_dim]
        let attended = tap("self_attn.o_proj", linear("self_attn.o_proj", &context)?)?;
        let x = tap("post_attention_layernorm.input", (x + attended)?)?;
        let normed = tap("post_attention_layernorm", norm("post_attention_layernorm", &x)?)?;
        let gate = tap("mlp.gate_proj", linear("mlp.gate_proj", &normed)?)?; // [b, s, ffn]
        let up = tap("mlp.up_proj", linear("mlp.up_proj", &normed)?)?;
        let act = tap("mlp.act", (gate.silu()? * up)?)?;
        let down = tap("mlp.down_proj", linear("mlp.down_proj", &act)?)?; // [b, s, hidden]
        x + down
    }

    /// Logits `[b, s, vocab]` of token ids `[b, s]` at `positions` `[b, s]`, which follow the tokens in
    /// `cache`. `mask` is 1 where a key is a token and 0 where it is padding, `[b, t]`, including the keys in
    /// the cache.
    pub fn forward(
        &self,
        ids: &Tensor,
        positions: &Tensor,
        mask: &Tensor,
        cache: &mut Cache,
        tap: Tap,
    ) -> Result<Tensor> {
        let (b, s) = ids.dims2()?;
        let rows = self.weight("model.embed_tokens")?.index_select(&ids.flatten_all()?, 0)?;
        let mut x = tap("model.embed_tokens", rows.reshape((b, s, ()))?)?; // [b, s, hidden]
        let bars = self.bars(mask, s)?;
        for i in 0..self.size("num_hidden_layers") {
            let block = self.block(i, x, (positions, &bars), cache, tap)?;
            x = tap(&format!("model.layers.{i}"), block)?;
        }
        let x = tap("model.norm", self.norm("model.norm", &x)?)?;
        let tied = !self.weights.contains_key("lm_head.weight");
        tap("lm_head", self.linear(if tied { "model.embed_tokens" } else { "lm_head" }, &x)?)
    }
}
