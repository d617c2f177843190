//! A Llama of one's own, on plain Candle tensors: it shares nothing with the project's model. Every
//! line with a `tap` hands a tensor to the probe and goes on with what comes back; that is all a port
//! needs to be judged.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{D, DType, Device, Tensor, safetensors};
use rbees_check::judge::{Port, Traits};
use rbees_check::model::Input;
use rbees_check::probe::{Arithmetic, Kind, Probe, Site};
use rbees_check::{Error, Result};

pub struct Llama {
    weights: HashMap<String, Tensor>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    layers: usize,
    vocab: usize,
    context: usize,
    eps: f64,
    pub theta: f64,
    /// Keys and values of each layer, `[b, kv_heads, t, head_dim]`.
    cache: Vec<(Tensor, Tensor)>,
    /// Which slots of each row of the cache hold a token.
    real: Vec<Vec<bool>>,
}

impl Llama {
    /// In f32 on the CPU, from a Hugging Face directory.
    pub fn open(folder: &Path) -> Result<Self> {
        let text = std::fs::read(folder.join("config.json"))
            .map_err(|e| Error::file(folder, e, "give a Hugging Face directory"))?;
        let config: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|e| Error::file(folder, e, "give a Llama's config.json"))?;
        let size = |key: &str| config[key].as_u64().unwrap_or_default() as usize;
        let weights = safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
        let wide = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_dtype(DType::F32)?));
        Ok(Self {
            weights: weights.into_iter().map(wide).collect::<Result<_>>()?,
            heads: size("num_attention_heads"),
            kv_heads: size("num_key_value_heads"),
            head_dim: size("head_dim"),
            layers: size("num_hidden_layers"),
            vocab: size("vocab_size"),
            context: size("max_position_embeddings"),
            eps: config["rms_norm_eps"].as_f64().unwrap_or_default(),
            theta: config["rope_theta"].as_f64().unwrap_or_default(),
            cache: vec![],
            real: vec![],
        })
    }

    fn weight(&self, name: &str) -> Result<&Tensor> {
        let missing = || Error::input(format!("{name}.weight: missing"), "are the weights those of a Llama?");
        self.weights.get(&format!("{name}.weight")).ok_or_else(missing)
    }

    /// x Wᵀ, `[b, s, in]` → `[b, s, out]`.
    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_matmul(&self.weight(name)?.t()?)?)
    }

    /// x / √(mean(x²) + ε) · weight.
    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?; // [b, s, 1]
        Ok(x.broadcast_div(&(mean + self.eps)?.sqrt()?)?.broadcast_mul(self.weight(name)?)?)
    }

    /// Element i turns with i + head_dim/2 by position / θ^(2i/head_dim).
    fn rope(&self, x: &Tensor, positions: &[Vec<usize>]) -> Result<Tensor> {
        let (b, _, s, _) = x.dims4()?;
        let half = self.head_dim / 2;
        let frequency = |i: usize| self.theta.powf(-2.0 * i as f64 / self.head_dim as f64);
        let angles =
            positions.iter().flatten().flat_map(|&p| (0..half).map(move |i| p as f64 * frequency(i)));
        let angles: Vec<f64> = angles.collect();
        let of = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&angle| f(angle) as f32).collect();
            Tensor::from_vec(values, (b, 1, s, half), x.device())
        };
        let (cos, sin) = (of(f64::cos)?, of(f64::sin)?); // [b, 1, s, head_dim / 2]
        let (left, right) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
        let turned = |a: &Tensor, b: &Tensor| a.broadcast_mul(&cos)? + b.broadcast_mul(&sin)?;
        Ok(Tensor::cat(&[turned(&left, &right.neg()?)?, turned(&right, &left)?], 3)?)
    }

    /// 0 where a query may look, −inf elsewhere, `[b, 1, s, t]`. Padding sees itself, so that no row
    /// of the softmax is empty; nobody else sees it.
    fn mask(&self, s: usize) -> Result<Tensor> {
        let (b, t) = (self.real.len(), self.real[0].len());
        let mut mask = Vec::with_capacity(b * s * t);
        for (row, query) in self.real.iter().flat_map(|row| (t - s..t).map(move |query| (row, query))) {
            let seen = |key: usize| key == query || key < query && row[key];
            mask.extend((0..t).map(|key| if seen(key) { 0f32 } else { f32::NEG_INFINITY }));
        }
        Ok(Tensor::from_vec(mask, (b, 1, s, t), &Device::Cpu)?)
    }

    /// `[b, s, n * head_dim]` → `[b, n, s, head_dim]`.
    fn split(&self, x: &Tensor, n: usize) -> Result<Tensor> {
        let (b, s, _) = x.dims3()?;
        Ok(x.reshape((b, s, n, self.head_dim))?.transpose(1, 2)?.contiguous()?)
    }

    /// Every query head with its key head: `[b, kv_heads, t, d]` → `[b, heads, t, d]`.
    fn spread(&self, x: &Tensor) -> Result<Tensor> {
        let (b, n, t, d) = x.dims4()?;
        let group = self.heads / n;
        Ok(x.unsqueeze(2)?.expand((b, n, group, t, d))?.reshape((b, self.heads, t, d))?)
    }

    fn attention(&mut self, i: usize, x: &Tensor, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        let here = format!("model.layers.{i}.self_attn");
        let mut tap = |kind, tensor| probe.tap(Site::layer(i, kind), tensor);
        let q = tap(Kind::QProj, self.linear(&format!("{here}.q_proj"), x)?)?; // [b, s, heads * head_dim]
        let k = tap(Kind::KProj, self.linear(&format!("{here}.k_proj"), x)?)?; // [b, s, kv_heads * head_dim]
        let v = tap(Kind::VProj, self.linear(&format!("{here}.v_proj"), x)?)?;
        let q = tap(Kind::QRope, self.rope(&self.split(&q, self.heads)?, &input.positions)?)?;
        let k = tap(Kind::KRope, self.rope(&self.split(&k, self.kv_heads)?, &input.positions)?)?;
        let (mut keys, mut values) = (k, self.split(&v, self.kv_heads)?);
        if let Some((k, v)) = self.cache.get(i) {
            (keys, values) = (Tensor::cat(&[k, &keys], 2)?, Tensor::cat(&[v, &values], 2)?);
            self.cache[i] = (keys.clone(), values.clone());
        } else {
            self.cache.push((keys.clone(), values.clone()));
        }
        let scale = 1.0 / (self.head_dim as f64).sqrt();
        let scores = (q.matmul(&self.spread(&keys)?.t()?)? * scale)?; // [b, heads, s, t]
        let scores = tap(Kind::Scores, scores.broadcast_add(&self.mask(input.len())?)?)?;
        let powers = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let probs = tap(Kind::Probs, powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?)?;
        let context = probs.matmul(&self.spread(&values)?)?; // [b, heads, s, head_dim]
        let context = tap(Kind::Context, context.transpose(1, 2)?.flatten_from(2)?)?; // [b, s, heads * head_dim]
        tap(Kind::OProj, self.linear(&format!("{here}.o_proj"), &context)?)
    }

    fn block(&mut self, i: usize, x: Tensor, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        let here = format!("model.layers.{i}");
        let normed = self.norm(&format!("{here}.input_layernorm"), &x)?; // [b, s, hidden]
        let normed = probe.tap(Site::layer(i, Kind::InputNorm), normed)?;
        let attended = self.attention(i, &normed, input, probe)?;
        let mut tap = |kind, tensor| probe.tap(Site::layer(i, kind), tensor);
        let x = tap(Kind::PostNormInput, (x + attended)?)?;
        let normed = tap(Kind::PostNorm, self.norm(&format!("{here}.post_attention_layernorm"), &x)?)?;
        let gate = tap(Kind::Gate, self.linear(&format!("{here}.mlp.gate_proj"), &normed)?)?; // [b, s, ffn]
        let up = tap(Kind::Up, self.linear(&format!("{here}.mlp.up_proj"), &normed)?)?; // [b, s, ffn]
        let act = tap(Kind::Act, (gate.silu()? * up)?)?;
        let down = tap(Kind::Down, self.linear(&format!("{here}.mlp.down_proj"), &act)?)?; // [b, s, hidden]
        tap(Kind::Block, (x + down)?)
    }
}

impl Port for Llama {
    fn traits(&self) -> Traits {
        let (layers, vocab, context) = (self.layers, self.vocab, self.context);
        Traits {
            path: "own",
            dtype: DType::F32,
            arithmetic: Arithmetic::Dense,
            layers,
            vocab,
            context,
            hides: &[],
            layouts: vec![],
        }
    }

    fn begin(&mut self) {
        self.cache.clear();
        self.real.clear();
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        input.check(self.vocab)?;
        self.real.resize(input.batch(), vec![]);
        if self.real[0].len() + input.len() > self.context {
            return Err(Error::input("the context is full", "shorten the prompt"));
        }
        self.real.iter_mut().zip(&input.real).for_each(|(row, new)| row.extend(new));
        let ids = Tensor::from_vec(input.ids.concat(), input.batch() * input.len(), &Device::Cpu)?;
        let rows = self.weight("model.embed_tokens")?.index_select(&ids, 0)?;
        let x = rows.reshape((input.batch(), input.len(), ()))?; // [b, s, hidden]
        let mut x = probe.tap(Site::model(Kind::Embed), x)?;
        for i in 0..self.layers {
            x = self.block(i, x, input, probe)?;
        }
        let x = probe.tap(Site::model(Kind::FinalNorm), self.norm("model.norm", &x)?)?;
        let tied = !self.weights.contains_key("lm_head.weight");
        let logits = self.linear(if tied { "model.embed_tokens" } else { "lm_head" }, &x)?; // [b, s, vocab]
        probe.tap(Site::model(Kind::Logits), logits)
    }
}
