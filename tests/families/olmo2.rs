//! OLMo 2 (Groeneveld et al., 2024): norms after the branches instead of before them, and norms of whole
//! rows of q and k.

use rbees_check::Result;
use rbees_check::graph::{
    Activation, Builder, Context, FrequencyLaw, Graph, HeadMap, Mask, NormCast, NormRule, Role, Rope,
    RopeCast, Scores,
};

use super::Sizes;

pub struct Config {
    pub sizes: Sizes,
    pub theta: f64,
}

pub const SMALL: Config = Config {
    sizes: Sizes {
        hidden: 40,
        ffn: 56,
        layers: 2,
        heads: 6,
        kv_heads: 3,
        head_dim: 12,
        vocab: 99,
        eps: 1e-6,
    },
    theta: 500_000.0,
};

pub fn graph(config: &Config) -> Result<Graph> {
    let s = config.sizes;
    let norm = NormRule { cast: NormCast::AfterWeight, ..NormRule::rms(s.eps) };
    let law = FrequencyLaw::Base { theta: config.theta };
    let rope = Rope { cast: RopeCast::Sum, ..Rope::whole(law, s.head_dim) };
    let heads = HeadMap::grouped(s.heads, s.kv_heads);
    let scale = 1.0 / (s.head_dim as f64).sqrt();
    let scores =
        Scores { heads: heads.clone(), head_dim: s.head_dim, scale, softcap: None, mask: Mask::Causal };
    let context = Context { heads, head_dim: s.head_dim };

    let mut g = Builder::default();
    let mut x = g.embedding(Role::Embed, "model.embed_tokens", s.hidden, 1.0); // [hidden]
    for layer in 0..s.layers {
        g.enter_layer(layer, format!("model.layers.{layer}"));
        let q = g.linear(Role::QProj, "self_attn.q_proj", x, s.query_width()); // [heads * head_dim]
        let k = g.linear(Role::KProj, "self_attn.k_proj", x, s.key_width()); // [kv_heads * head_dim]
        let v = g.linear(Role::VProj, "self_attn.v_proj", x, s.key_width()); // [kv_heads * head_dim]
        let q = g.norm(Role::QNorm, "self_attn.q_norm", q, norm); // [heads * head_dim]
        let k = g.norm(Role::KNorm, "self_attn.k_norm", k, norm); // [kv_heads * head_dim]
        let q = g.rope(Role::QRope, "self_attn.q_rope", q, rope.clone()); // [heads, head_dim]
        let k = g.rope(Role::KRope, "self_attn.k_rope", k, rope.clone()); // [kv_heads, head_dim]
        let scored = g.scores(Role::Scores, "self_attn.scores", q, k, scores.clone()); // [heads, keys]
        let probs = g.softmax(Role::Probs, "self_attn.probs", scored); // [heads, keys]
        let merged = g.context(Role::Context, "self_attn.context", probs, v, context.clone()); // [heads * head_dim]
        let attended = g.linear(Role::OProj, "self_attn.o_proj", merged, s.hidden); // [hidden]
        let attended = g.norm(Role::AttnPostNorm, "post_attention_layernorm", attended, norm); // [hidden]
        x = g.sum(Role::AttnResidual, "mlp.input", x, attended); // [hidden]

        let gate = g.linear(Role::Gate, "mlp.gate_proj", x, s.ffn); // [ffn]
        let up = g.linear(Role::Up, "mlp.up_proj", x, s.ffn); // [ffn]
        let active = g.activation(Role::Activation, "mlp.act_fn", gate, Activation::Silu); // [ffn]
        let gated = g.product(Role::Gated, "mlp.act", active, up); // [ffn]
        let down = g.linear(Role::Down, "mlp.down_proj", gated, s.hidden); // [hidden]
        let down = g.norm(Role::FfnPostNorm, "post_feedforward_layernorm", down, norm); // [hidden]
        x = g.sum(Role::Block, "", x, down); // [hidden]
    }
    g.leave_layers();
    let normed = g.norm(Role::FinalNorm, "model.norm", x, norm); // [hidden]
    g.linear(Role::Head, "lm_head", normed, s.vocab); // [vocab]
    g.finish()
}
