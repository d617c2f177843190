//! Self-attention, built on `Tensor::matmul` and `candle_nn::ops::softmax_last_dim`, the only softmax with a
//! kernel.
//!
//! Grouped-query attention needs no copies of keys and values: the query heads of a group are consecutive, so
//! `[b, heads, s, d]` is also `[b, kv_heads, group * s, d]`, a plain batch of products. The matrix product
//! accepts the cache's strided views and the transposed keys without copies. Softmax sums in its input's
//! dtype (512 equal scores in bf16 would sum to 2), so half precision is converted to f32 and back.

use candle_core::{DType, Module, Tensor};
use candle_nn::kv_cache::KvCache;
use candle_nn::ops::softmax_last_dim;

use super::fused;
use super::lane::filled;
use super::load::Loader;
use super::mask::Mask;
use super::norm::Norm;
use super::pass::{Taps, View};
use super::path::Attention;
use super::projection::Projection;
use super::softcap::softcap;
use crate::Result;
use crate::probe::{Kind, Probe};
use crate::weights::Config;

/// Causal self-attention with grouped queries, rotary positions and a cache.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    /// `[heads * head_dim, hidden]`.
    pub q_proj: Projection,
    /// `[kv_heads * head_dim, hidden]`.
    pub k_proj: Projection,
    /// `[kv_heads * head_dim, hidden]`.
    pub v_proj: Projection,
    /// `[hidden, heads * head_dim]`.
    pub o_proj: Projection,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; query head h uses h / (heads / kv_heads).
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// The norms of each head of q and k, `[head_dim]`, if the family has them.
    pub q_norm: Option<Norm>,
    /// That of k.
    pub k_norm: Option<Norm>,
    /// The factor of scores: 1 / √head_dim, unless the config has another.
    pub scale: f64,
    /// The c of c · tanh(x / c) of the scores, if they are capped.
    pub softcap: Option<f64>,
    /// How the context is computed.
    pub path: Attention,
}

impl SelfAttention {
    /// Loads the tensors under the layer `prefix`.
    pub fn load(loader: &Loader, prefix: &str, config: &Config, path: Attention) -> Result<Self> {
        let (hidden, head_dim) = (config.hidden_size, config.head_dim);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let linear = |name: &str, outputs, inputs| {
            loader.projection(prefix, &format!("self_attn.{name}"), (outputs, inputs), config)
        };
        let norm = |name: &str| {
            let load = || Norm::load(loader, &format!("{prefix}.self_attn.{name}.weight"), head_dim, config);
            config.family.norms_heads().then(load).transpose()
        };
        Ok(Self {
            q_proj: linear("q_proj", heads * head_dim, hidden)?,
            k_proj: linear("k_proj", kv_heads * head_dim, hidden)?,
            v_proj: linear("v_proj", kv_heads * head_dim, hidden)?,
            o_proj: linear("o_proj", hidden, heads * head_dim)?,
            heads,
            kv_heads,
            head_dim,
            q_norm: norm("q_norm")?,
            k_norm: norm("k_norm")?,
            scale: config.attention_scale(),
            softcap: config.attn_logit_softcapping,
            path,
        })
    }

    /// `[b, s, hidden]` → the same shape. Appends the keys and values of each of the view's spans to its cache.
    pub fn forward<P: Probe>(
        &self,
        x: &Tensor,
        view: &View,
        caches: &mut [&mut KvCache],
        taps: &mut Taps<P>,
    ) -> Result<Tensor> {
        let q = taps.tap(Kind::QProj, self.q_proj.forward(x)?)?; // [b, s, heads * head_dim]
        let k = taps.tap(Kind::KProj, self.k_proj.forward(x)?)?; // [b, s, kv_heads * head_dim]
        let v = taps.tap(Kind::VProj, self.v_proj.forward(x)?)?; // [b, s, kv_heads * head_dim]

        let q = self.norm_heads(Kind::QNorm, &self.q_norm, q, taps)?; // [b, s, heads * head_dim]
        let k = self.norm_heads(Kind::KNorm, &self.k_norm, k, taps)?; // [b, s, kv_heads * head_dim]
        let q = view.rotation.apply(&self.split(&q, self.heads)?)?; // [b, heads, s, head_dim]
        let q = taps.tap(Kind::QRope, q)?;
        let k = view.rotation.apply(&self.split(&k, self.kv_heads)?)?; // [b, kv_heads, s, head_dim]
        let k = taps.tap(Kind::KRope, k)?;
        let v = self.split(&v, self.kv_heads)?; // [b, kv_heads, s, head_dim]

        let mut contexts = Vec::with_capacity(caches.len());
        for (span, cache) in view.spans.iter().zip(caches) {
            let rows = |x: &Tensor| x.narrow(2, span.start, span.len)?.contiguous();
            let (k, v) = cache.append(&rows(&k)?, &rows(&v)?)?; // [b, kv_heads, t, head_dim]
            let q = rows(&q)?; // [b, heads, rows, head_dim]
            let context = match self.path {
                Attention::Plain => self.attend(&q, &k, &v, &span.mask, taps)?,
                Attention::Fused => fused::attend(&q, &k, &v, (self.scale, self.softcap), &span.mask)?,
            }; // [b, heads, rows, head_dim]
            contexts.push(context.transpose(1, 2)?.flatten_from(2)?); // [b, rows, heads * head_dim]
        }
        let context = filled(&Tensor::cat(&contexts, 1)?, x.dim(1)?)?; // [b, s, heads * head_dim]
        let context = taps.tap(Kind::Context, context)?;
        taps.tap(Kind::OProj, self.o_proj.forward(&context)?) // [b, s, hidden]
    }

    /// softmax(softcap(q kᵀ · scale) + mask) v, step by step with probes: `[b, heads, s, head_dim]`.
    fn attend<P: Probe>(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        mask: &Mask,
        taps: &mut Taps<P>,
    ) -> Result<Tensor> {
        let (b, heads, s, d) = q.dims4()?;
        let (_, kv_heads, t, _) = k.dims4()?;
        let rows = heads / kv_heads * s; // the queries of a group, head after head

        let q = q.reshape((b, kv_heads, rows, d))?; // [b, kv_heads, rows, d]
        let scores = (q.matmul(&k.t()?)? * self.scale)?; // [b, kv_heads, rows, t]
        let scores = softcap(scores, self.softcap)?; // [b, kv_heads, rows, t]
        let scores = mask.bar(scores.reshape((b, heads, s, t))?)?; // [b, heads, s, t]
        let scores = taps.tap(Kind::Scores, scores)?;

        let wide = scores.to_dtype(DType::F32)?; // [b, heads, s, t]
        let probs = softmax_last_dim(&wide)?.to_dtype(scores.dtype())?; // [b, heads, s, t]
        let probs = taps.tap(Kind::Probs, mask.clear_blind(probs)?)?;

        let probs = probs.reshape((b, kv_heads, rows, t))?; // [b, kv_heads, rows, t]
        Ok(probs.matmul(v)?.reshape((b, heads, s, d))?) // [b, heads, s, d]
    }

    /// The norm of each head of x, `[b, s, heads * head_dim]`, if there is one.
    fn norm_heads<P: Probe>(
        &self,
        kind: Kind,
        norm: &Option<Norm>,
        x: Tensor,
        taps: &mut Taps<P>,
    ) -> Result<Tensor> {
        let Some(norm) = norm else { return Ok(x) };
        let (b, s, _) = x.dims3()?;
        let normed = norm.forward(&x.reshape((b, s, (), self.head_dim))?)?; // [b, s, heads, head_dim]
        taps.tap(kind, normed.flatten_from(2)?) // [b, s, heads * head_dim]
    }

    /// `[b, s, heads * head_dim]` → contiguous `[b, heads, s, head_dim]`.
    fn split(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (b, s, _) = x.dims3()?;
        Ok(x.reshape((b, s, heads, self.head_dim))?.transpose(1, 2)?.contiguous()?)
    }
}
