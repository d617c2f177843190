//! A Llama in plain loops over `Vec<f32>`, for one sequence. Only the weights are tensors. It taps its
//! arrays in its own layout: no batch axis, positions first, heads after positions.

use candle_core::{DType, Device};
use rbees_check::Result;
use rbees_check::check::Recorder;
use rbees_check::weights::Weights;

/// Receives the name, shape and values of an array.
type Tap<'a> = &'a mut dyn FnMut(&str, &[usize], &[f32]) -> Result<()>;

pub struct Plain {
    weights: Weights,
    pub eps: f32,
    pub theta: f64,
    /// The activation, as a function of gate and up.
    pub act: fn(f32, f32) -> f32,
    /// The key head of query head `h`, given the numbers of query and key heads.
    pub key_head: fn(usize, usize, usize) -> usize,
    /// True: elements i and i + head_dim/2 of a head rotate as a pair. False: elements 2i and 2i + 1 do.
    pub half_split: bool,
}

impl Plain {
    pub fn new(weights: &Weights) -> Self {
        let config = weights.config();
        Self {
            weights: weights.clone(),
            eps: config.rms_norm_eps as f32,
            theta: config.rope_theta,
            act: |gate, up| gate / (1.0 + (-gate).exp()) * up,
            key_head: |h, heads, kv_heads| h / (heads / kv_heads),
            half_split: true,
        }
    }

    /// The weight with its rows as stored. In a GGUF file, the rows of q and k are interleaved.
    fn weight(&self, name: &str) -> Result<Vec<f32>> {
        let weight = self.weights.tensor(&format!("{name}.weight"), DType::F32, &Device::Cpu)?;
        Ok(weight.flatten_all()?.to_vec1()?)
    }

    /// Multiplies rows of `width` entries by a matrix `[out, width]`.
    fn linear(&self, name: &str, x: &[f32], width: usize) -> Result<Vec<f32>> {
        let w = self.weight(name)?;
        let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>();
        Ok(x.chunks(width).flat_map(|x| w.chunks(width).map(move |w| dot(x, w))).collect())
    }

    fn norm(&self, name: &str, x: &[f32], width: usize) -> Result<Vec<f32>> {
        let w = self.weight(name)?;
        let row = |x: &[f32]| {
            let mean = x.iter().map(|x| x * x).sum::<f32>() / width as f32;
            let over = 1.0 / (mean + self.eps).sqrt();
            x.iter().zip(&w).map(|(x, w)| x * over * w).collect::<Vec<_>>()
        };
        Ok(x.chunks(width).flat_map(row).collect())
    }

    /// Rotates `[s, heads, d]` in place.
    fn rope(&self, x: &mut [f32], heads: usize, d: usize) {
        for (at, head) in x.chunks_mut(d).enumerate() {
            for i in 0..d / 2 {
                let angle = (at / heads) as f64 * self.theta.powf(-2.0 * i as f64 / d as f64);
                let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
                let (left, right) = if self.half_split { (i, i + d / 2) } else { (2 * i, 2 * i + 1) };
                let (a, b) = (head[left], head[right]);
                (head[left], head[right]) = (a * cos - b * sin, b * cos + a * sin);
            }
        }
    }

    /// Returns the logits, `[s, vocab]`.
    pub fn forward(&self, ids: &[u32], probe: &mut Recorder<'_>) -> Result<Vec<f32>> {
        let c = self.weights.config().clone();
        let (s, width, heads, kv_heads, d) =
            (ids.len(), c.hidden_size, c.num_attention_heads, c.num_key_value_heads, c.head_dim);
        let table = self.weight("model.embed_tokens")?;
        let row = |&id: &u32| table[id as usize * width..][..width].to_vec();
        let mut x: Vec<f32> = ids.iter().flat_map(row).collect(); // [s, width]
        probe.tap_raw("model.embed_tokens", &[s, width], &x)?;
        for layer in 0..c.num_hidden_layers {
            let here = format!("model.layers.{layer}");
            let mut tap = |name: &str, dims: &[usize], values: &[f32]| {
                probe.tap_raw(format!("{here}.{name}"), dims, values)
            };
            let normed = self.norm(&format!("{here}.input_layernorm"), &x, width)?;
            tap("input_layernorm", &[s, width], &normed)?;
            let project = |name: &str| self.linear(&format!("{here}.self_attn.{name}"), &normed, width);
            let (mut q, mut k, v) = (project("q_proj")?, project("k_proj")?, project("v_proj")?);
            tap("self_attn.q_proj", &[s, heads * d], &q)?;
            tap("self_attn.k_proj", &[s, kv_heads * d], &k)?;
            tap("self_attn.v_proj", &[s, kv_heads * d], &v)?;
            self.rope(&mut q, heads, d);
            self.rope(&mut k, kv_heads, d);
            tap("self_attn.q_rope", &[s, heads, d], &q)?;
            tap("self_attn.k_rope", &[s, kv_heads, d], &k)?;
            let context = self.attend(&q, &k, &v, (s, heads, kv_heads, d), &mut tap)?;
            tap("self_attn.context", &[s, heads * d], &context)?;
            let attended = self.linear(&format!("{here}.self_attn.o_proj"), &context, heads * d)?;
            tap("self_attn.o_proj", &[s, width], &attended)?;
            x.iter_mut().zip(&attended).for_each(|(x, a)| *x += a);
            tap("post_attention_layernorm.input", &[s, width], &x)?;
            let normed = self.norm(&format!("{here}.post_attention_layernorm"), &x, width)?;
            tap("post_attention_layernorm", &[s, width], &normed)?;
            let ffn = c.intermediate_size;
            let gate = self.linear(&format!("{here}.mlp.gate_proj"), &normed, width)?;
            let up = self.linear(&format!("{here}.mlp.up_proj"), &normed, width)?;
            tap("mlp.gate_proj", &[s, ffn], &gate)?;
            tap("mlp.up_proj", &[s, ffn], &up)?;
            let act: Vec<f32> = gate.iter().zip(&up).map(|(&gate, &up)| (self.act)(gate, up)).collect();
            tap("mlp.act", &[s, ffn], &act)?;
            let down = self.linear(&format!("{here}.mlp.down_proj"), &act, ffn)?;
            tap("mlp.down_proj", &[s, width], &down)?;
            x.iter_mut().zip(&down).for_each(|(x, d)| *x += d);
            probe.tap_raw(&here, &[s, width], &x)?;
        }
        let x = self.norm("model.norm", &x, width)?;
        probe.tap_raw("model.norm", &[s, width], &x)?;
        let head = if c.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
        let logits = self.linear(head, &x, width)?;
        probe.tap_raw("lm_head", &[s, c.vocab_size], &logits)?;
        Ok(logits)
    }

    /// Taps scores and probabilities, `[heads, s, s]`, and returns the context, `[s, heads * d]`.
    fn attend(
        &self,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        (s, heads, kv_heads, d): (usize, usize, usize, usize),
        tap: Tap,
    ) -> Result<Vec<f32>> {
        let mut scores = vec![f32::NEG_INFINITY; heads * s * s];
        let of = |x: &[f32], at: usize, n: usize, head: usize| x[(at * n + head) * d..][..d].to_vec();
        let key_head = |h| (self.key_head)(h, heads, kv_heads);
        for (h, query, key) in
            (0..heads).flat_map(|h| (0..s).flat_map(move |i| (0..=i).map(move |j| (h, i, j))))
        {
            let (q, k) = (of(q, query, heads, h), of(k, key, kv_heads, key_head(h)));
            scores[(h * s + query) * s + key] =
                q.iter().zip(&k).map(|(q, k)| q * k).sum::<f32>() / (d as f32).sqrt();
        }
        tap("self_attn.scores", &[heads, s, s], &scores)?;
        let mut probs = scores;
        for row in probs.chunks_mut(s) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|score| *score = (*score - largest).exp());
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|power| *power /= sum);
        }
        tap("self_attn.probs", &[heads, s, s], &probs)?;
        let mut context = vec![0.0; s * heads * d];
        for (query, h) in (0..s).flat_map(|query| (0..heads).map(move |h| (query, h))) {
            for key in 0..=query {
                let (p, v) = (probs[(h * s + query) * s + key], of(v, key, kv_heads, key_head(h)));
                let out = &mut context[(query * heads + h) * d..][..d];
                out.iter_mut().zip(&v).for_each(|(out, v)| *out += p * v);
            }
        }
        Ok(context)
    }
}
