//! A decoder block: two residual branches, each after a norm. Beyond its parts it needs only tensor addition.

use candle_core::Tensor;
use candle_nn::kv_cache::KvCache;

use super::attention::SelfAttention;
use super::load::Loader;
use super::mlp::Mlp;
use super::norm::Norm;
use super::pass::{Pass, Taps};
use super::path::Attention;
use super::projection::Projection;
use crate::Result;
use crate::probe::{Kind, Probe};
use crate::weights::Config;

/// One decoder layer.
#[derive(Clone, Debug)]
pub struct Block {
    /// The norm before attention.
    pub input_layernorm: Norm,
    /// Attention: mixes positions.
    pub self_attn: SelfAttention,
    /// The norm before the feed-forward network.
    pub post_attention_layernorm: Norm,
    /// The feed-forward network: mixes channels.
    pub mlp: Mlp,
}

impl Block {
    /// Loads the tensors under `prefix`.
    pub fn load(loader: &Loader, prefix: &str, config: &Config, path: Attention) -> Result<Self> {
        let norm = |name: &str| {
            Norm::load(loader, &format!("{prefix}.{name}.weight"), config.hidden_size, config.rms_norm_eps)
        };
        Ok(Self {
            input_layernorm: norm("input_layernorm")?,
            self_attn: SelfAttention::load(loader, prefix, config, path)?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            mlp: Mlp::load(loader, prefix, config)?,
        })
    }

    /// Its seven matrices, in forward order.
    pub fn matrices(&self) -> [&Projection; 7] {
        let (attn, mlp) = (&self.self_attn, &self.mlp);
        [&attn.q_proj, &attn.k_proj, &attn.v_proj, &attn.o_proj, &mlp.gate_proj, &mlp.up_proj, &mlp.down_proj]
    }

    /// `[b, s, hidden]` → the same shape. Appends the keys and values of the new tokens to `cache`.
    pub fn forward<P: Probe>(
        &self,
        x: Tensor,
        pass: &Pass,
        cache: &mut KvCache,
        taps: &mut Taps<P>,
    ) -> Result<Tensor> {
        let normed = taps.tap(Kind::InputNorm, self.input_layernorm.forward(&x)?)?; // [b, s, hidden]
        let attended = self.self_attn.forward(&normed, pass, cache, taps)?; // [b, s, hidden]
        let x = taps.tap(Kind::PostNormInput, (x + attended)?)?; // [b, s, hidden]

        let normed = taps.tap(Kind::PostNorm, self.post_attention_layernorm.forward(&x)?)?; // [b, s, hidden]
        let mixed = self.mlp.forward(&normed, taps)?; // [b, s, hidden]
        taps.tap(Kind::Block, (x + mixed)?) // [b, s, hidden]
    }
}
