//! Recomputes attention with a mistake, from the queries, keys and values that the model hands over.
//!
//! It keeps its own keys and values, because a model's cache cannot be reached from outside. On the plain
//! path it hands over wrong scores and continues from them. On the fused path, where scores are hidden, it
//! replaces the context.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::faulty::{Fault, Faulty};
use crate::model::{Attention, Input, Llama};
use crate::port::LlamaPort;
use crate::probe::{Kind, Probe, Site};
use crate::{Error, Result};

/// The parts of attention in which a mistake can be planted. The default of each method is correct.
pub trait Attend: Send {
    /// Whether query i of row b sees slot j; `view` describes the slots.
    fn visible(&self, view: &AttentionView<'_>, b: usize, i: usize, j: usize) -> bool {
        view.causal(i, j) && view.within(i, j) && view.real[b][j]
    }

    /// The key head that query head `h` uses.
    fn key_head(&self, h: usize, heads: usize, kv_heads: usize) -> usize {
        h / (heads / kv_heads)
    }

    /// Keys or values in the cache, `[b, kv_heads, t, head_dim]` → as attention reads them, the same shape.
    fn read(&self, cached: &Tensor, _: &AttentionView<'_>) -> Result<Tensor> {
        Ok(cached.clone())
    }

    /// Scores → probabilities, both `[b, heads, s, t]`.
    fn softmax(&self, scores: &Tensor) -> Result<Tensor> {
        Ok(softmax_last_dim(&scores.to_dtype(DType::F32)?)?.to_dtype(scores.dtype())?)
    }
}

/// The slots that the queries of one forward pass can see.
pub struct AttentionView<'a> {
    /// `[b][slot]`: true for a token, false for padding.
    pub real: &'a [Vec<bool>],
    /// The number of queries of this forward pass; they are the last slots.
    pub queries: usize,
    /// The number of slots before them.
    pub past: usize,
    /// The largest number of keys that a query sees.
    pub window: usize,
}

impl AttentionView<'_> {
    /// Whether slot j is the slot of query i or an earlier one.
    pub fn causal(&self, i: usize, j: usize) -> bool {
        j <= i + self.past
    }

    /// Whether slot j is in the window of query i, or after it.
    pub fn within(&self, i: usize, j: usize) -> bool {
        i + self.past < j + self.window
    }
}

/// Keys and values of one layer, `[b, kv_heads, t, head_dim]`, of the whole sequence so far.
#[derive(Clone, Default)]
struct Cached {
    keys: Option<Tensor>,
    values: Option<Tensor>,
}

/// The fault that computes a port's attention with `attend`.
pub struct Attending<A> {
    attend: A,
    path: Attention,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    scale: f64,
    softcap: Option<f64>,
    /// The largest number of keys that a query of each layer sees.
    windows: Vec<usize>,
    cached: Vec<Cached>,
    real: Vec<Vec<bool>>,
    queries: usize,
    /// The last tensor of each kind that the model continued with.
    passed: BTreeMap<Kind, Tensor>,
}

/// The port of `llama` with the attention of `attend`.
pub fn attending<A: Attend>(llama: Llama, attend: A) -> Faulty<Attending<A>> {
    let (config, layers) = (&llama.config, llama.layers.len());
    let fault = Attending {
        attend,
        path: llama.path.attention,
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        scale: config.attention_scale(),
        softcap: config.attn_logit_softcapping,
        // Far below the largest number, to which a slot is added.
        windows: (0..layers).map(|layer| config.window(layer).unwrap_or(usize::MAX / 2)).collect(),
        cached: vec![Cached::default(); layers],
        real: vec![],
        queries: 0,
        passed: BTreeMap::new(),
    };
    Faulty::new(LlamaPort::new(llama), fault)
}

impl<A: Attend> Fault for Attending<A> {
    fn begin(&mut self) {
        self.cached.fill(Cached::default());
        self.real.clear();
    }

    fn input(&mut self, input: &Input) -> Input {
        if self.real.is_empty() {
            self.real = vec![vec![]; input.batch()];
        }
        self.real.iter_mut().zip(&input.real).for_each(|(slots, new)| slots.extend(new));
        self.queries = input.len();
        input.clone()
    }

    fn tap(&mut self, site: Site, tensor: Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        let Some(layer) = site.layer.map(usize::from) else { return probe.tap(site, tensor) };
        let wrong = match site.kind {
            Kind::Scores => self.scores(layer)?,
            Kind::Probs => self.probs(layer)?,
            Kind::Context => {
                if self.path == Attention::Fused {
                    self.passed.insert(Kind::Scores, self.scores(layer)?);
                    self.passed.insert(Kind::Probs, self.probs(layer)?);
                }
                self.context(layer)?
            }
            _ => tensor,
        };
        let given = probe.tap(site, wrong)?;
        match site.kind {
            Kind::KRope => append(&mut self.cached[layer].keys, &given)?,
            Kind::VProj => {
                let (b, s, _) = given.dims3()?;
                let split = given.reshape((b, s, self.kv_heads, self.head_dim))?.transpose(1, 2)?;
                append(&mut self.cached[layer].values, &split.contiguous()?)?;
            }
            kind => {
                self.passed.insert(kind, given.clone());
            }
        }
        Ok(given)
    }
}

impl<A: Attend> Attending<A> {
    fn view(&self, layer: usize) -> AttentionView<'_> {
        let keys = self.real.first().map_or(0, Vec::len);
        AttentionView {
            real: &self.real,
            queries: self.queries,
            past: keys - self.queries,
            window: self.windows[layer],
        }
    }

    /// Masked scores, `[b, heads, s, t]`.
    fn scores(&self, layer: usize) -> Result<Tensor> {
        let q = &self.passed[&Kind::QRope]; // [b, heads, s, head_dim]
        let keys = self.read(layer, &self.cached[layer].keys)?; // [b, heads, t, head_dim]
        let scores = (q.matmul(&keys.t()?)? * self.scale)?; // [b, heads, s, t]
        let scores = match self.softcap {
            None => scores,
            Some(cap) => ((scores.to_dtype(DType::F32)? / cap)?.tanh()? * cap)?.to_dtype(scores.dtype())?,
        };
        let view = self.view(layer);
        let bar = self
            .per_entry(|b, i, j| if self.attend.visible(&view, b, i, j) { 0.0 } else { f32::NEG_INFINITY });
        Ok(scores.broadcast_add(&bar?.to_dtype(scores.dtype())?)?)
    }

    /// Probabilities, `[b, heads, s, t]`. As in the correct model, queries that see no token because all
    /// slots before them are padding get zeros.
    fn probs(&self, layer: usize) -> Result<Tensor> {
        let probs = self.attend.softmax(&self.passed[&Kind::Scores])?;
        let view = self.view(layer);
        let blind = |b: usize, i: usize| !(0..=i + view.past).any(|j| view.real[b][j]);
        let blind = self.per_entry(|b, i, _| f32::from(u8::from(blind(b, i))))?; // [b, 1, s, t]
        let blind = blind.gt(0f32)?.broadcast_as(probs.shape())?;
        Ok(blind.where_cond(&probs.zeros_like()?, &probs)?)
    }

    /// The context, `[b, s, heads * head_dim]`.
    fn context(&self, layer: usize) -> Result<Tensor> {
        let values = self.read(layer, &self.cached[layer].values)?; // [b, heads, t, head_dim]
        let context = self.passed[&Kind::Probs].matmul(&values)?; // [b, heads, s, head_dim]
        Ok(context.transpose(1, 2)?.contiguous()?.flatten_from(2)?)
    }

    /// Keys or values as the query heads read them, `[b, heads, t, head_dim]`.
    fn read(&self, layer: usize, cached: &Option<Tensor>) -> Result<Tensor> {
        let Some(cached) = cached else {
            return Err(Error::input("attention has no keys", "tap k_rope and v_proj before scores"));
        };
        let read = self.attend.read(cached, &self.view(layer))?; // [b, kv_heads, t, head_dim]
        let of = |h| self.attend.key_head(h, self.heads, self.kv_heads) as u32;
        let index: Vec<u32> = (0..self.heads).map(of).collect();
        Ok(read.index_select(&Tensor::new(index, read.device())?, 1)?)
    }

    /// The tensor of `entry(b, i, j)`, `[b, 1, s, t]`, f32.
    fn per_entry(&self, entry: impl Fn(usize, usize, usize) -> f32) -> Result<Tensor> {
        let (b, s, t) = (self.real.len(), self.queries, self.real.first().map_or(0, Vec::len));
        let mut values = Vec::with_capacity(b * s * t);
        for b in 0..b {
            for i in 0..s {
                values.extend((0..t).map(|j| entry(b, i, j)));
            }
        }
        let device = self.passed[&Kind::QRope].device();
        Ok(Tensor::from_vec(values, (b, 1, s, t), device)?)
    }
}

/// Appends `[b, kv_heads, s, head_dim]` along the slots.
fn append(cached: &mut Option<Tensor>, new: &Tensor) -> Result<()> {
    *cached = Some(match cached.take() {
        None => new.clone(),
        Some(old) => Tensor::cat(&[&old, new], 2)?,
    });
    Ok(())
}
