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
use crate::weights::{Config, LayerType};

/// One decoder layer.
#[derive(Clone, Debug)]
pub struct Block {
    /// Which keys its queries see.
    pub layer_type: LayerType,
    /// The norm before attention.
    pub input_layernorm: Norm,
    /// Attention: mixes positions.
    pub self_attn: SelfAttention,
    /// The norm of the attention's output, if the family has one.
    pub attn_post_norm: Option<Norm>,
    /// The norm before the feed-forward network.
    pub ffn_norm: Norm,
    /// The feed-forward network: mixes channels.
    pub mlp: Mlp,
    /// The norm of the network's output, if the family has one.
    pub ffn_post_norm: Option<Norm>,
}

impl Block {
    /// Loads layer number `layer`, whose tensors are under `prefix`.
    pub fn load(
        loader: &Loader,
        (layer, prefix): (usize, &str),
        config: &Config,
        path: Attention,
    ) -> Result<Self> {
        let norm = |kind: Kind| {
            let name = format!("{prefix}.{}.weight", kind.name());
            Norm::load(loader, &name, config.hidden_size, config)
        };
        let branches = config.family.norms_branches();
        Ok(Self {
            layer_type: config.layer_type(layer),
            input_layernorm: norm(Kind::InputNorm)?,
            self_attn: SelfAttention::load(loader, prefix, config, path)?,
            // Gemma calls this norm what Llama calls the next one.
            attn_post_norm: branches.then(|| norm(Kind::PostNorm)).transpose()?,
            ffn_norm: norm(if branches { Kind::FfnNorm } else { Kind::PostNorm })?,
            mlp: Mlp::load(loader, prefix, config)?,
            ffn_post_norm: branches.then(|| norm(Kind::FfnPostNorm)).transpose()?,
        })
    }

    /// Its seven matrices, in forward order.
    pub fn matrices(&self) -> [&Projection; 7] {
        let (attn, mlp) = (&self.self_attn, &self.mlp);
        [&attn.q_proj, &attn.k_proj, &attn.v_proj, &attn.o_proj, &mlp.gate_proj, &mlp.up_proj, &mlp.down_proj]
    }

    /// Its norms in forward order, with the kind of site that each one computes.
    pub fn norms(&mut self) -> Vec<(Kind, &mut Norm)> {
        let (sum_normed, _) = self.ffn_sites();
        let all = [
            (Kind::InputNorm, Some(&mut self.input_layernorm)),
            (Kind::QNorm, self.self_attn.q_norm.as_mut()),
            (Kind::KNorm, self.self_attn.k_norm.as_mut()),
            (Kind::PostNorm, self.attn_post_norm.as_mut()),
            (sum_normed, Some(&mut self.ffn_norm)),
            (Kind::FfnPostNorm, self.ffn_post_norm.as_mut()),
        ];
        all.into_iter().filter_map(|(kind, norm)| Some((kind, norm?))).collect()
    }

    /// `[b, s, hidden]` → the same shape. Appends the keys and values of the new tokens to their caches.
    pub fn forward<P: Probe>(
        &self,
        x: Tensor,
        pass: &Pass,
        caches: &mut [&mut KvCache],
        taps: &mut Taps<P>,
    ) -> Result<Tensor> {
        let (sum_normed, sum) = self.ffn_sites();
        let normed = taps.tap(Kind::InputNorm, self.input_layernorm.forward(&x)?)?; // [b, s, hidden]
        let attended = self.self_attn.forward(&normed, pass.of(self.layer_type)?, caches, taps)?; // [b, s, hidden]
        let attended = after(&self.attn_post_norm, Kind::PostNorm, attended, taps)?; // [b, s, hidden]
        let x = taps.tap(sum, (x + attended)?)?; // [b, s, hidden]

        let normed = taps.tap(sum_normed, self.ffn_norm.forward(&x)?)?; // [b, s, hidden]
        let mixed = self.mlp.forward(&normed, taps)?; // [b, s, hidden]
        let mixed = after(&self.ffn_post_norm, Kind::FfnPostNorm, mixed, taps)?; // [b, s, hidden]
        taps.tap(Kind::Block, (x + mixed)?) // [b, s, hidden]
    }

    /// The names of the norm before the feed-forward network, and of its input.
    fn ffn_sites(&self) -> (Kind, Kind) {
        match self.attn_post_norm {
            None => (Kind::PostNorm, Kind::PostNormInput),
            Some(_) => (Kind::FfnNorm, Kind::FfnNormInput),
        }
    }
}

/// The norm of a branch's output, `[b, s, hidden]`, if there is one.
fn after<P: Probe>(norm: &Option<Norm>, kind: Kind, x: Tensor, taps: &mut Taps<P>) -> Result<Tensor> {
    match norm {
        None => Ok(x),
        Some(norm) => taps.tap(kind, norm.forward(&x)?),
    }
}
