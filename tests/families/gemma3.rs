//! Gemma 3, text only (Gemma Team, 2025): Gemma 2 without softcaps, with norms of queries and keys, and with
//! different rotations in layers with and without a window.

use rbees_check::Result;
use rbees_check::graph::{
    Activation, Builder, Context, FrequencyLaw, Graph, HeadMap, Linear, Mask, Role, Rope, Scores,
};

use super::{Sizes, gemma2};

pub struct Config {
    pub sizes: Sizes,
    pub local_theta: f64,
    pub global_theta: f64,
    pub global_factor: f64,
    pub query_pre_attn_scalar: f64,
    pub window: usize,
    /// Every `pattern`-th layer has no window.
    pub pattern: usize,
}

pub const SMALL: Config = Config {
    sizes: Sizes {
        hidden: 36,
        ffn: 56,
        layers: 7,
        heads: 4,
        kv_heads: 1,
        head_dim: 10,
        vocab: 99,
        eps: 1e-6,
    },
    local_theta: 10_000.0,
    global_theta: 1_000_000.0,
    global_factor: 8.0,
    query_pre_attn_scalar: 9.0,
    window: 3,
    pattern: 6,
};

pub fn graph(config: &Config) -> Result<Graph> {
    let s = config.sizes;
    let norm = gemma2::norm(s.eps);
    let head_norm = norm.per_head(s.head_dim);
    let local = Rope::whole(FrequencyLaw::Base { theta: config.local_theta }, s.head_dim);
    let law = FrequencyLaw::Linear { theta: config.global_theta, factor: config.global_factor };
    let global = Rope::whole(law, s.head_dim);
    let heads = HeadMap::grouped(s.heads, s.kv_heads);
    let scale = config.query_pre_attn_scalar.powf(-0.5);
    let scores = |mask| Scores { heads: heads.clone(), head_dim: s.head_dim, scale, softcap: None, mask };
    let context = Context { heads: heads.clone(), head_dim: s.head_dim };

    let mut g = Builder::default();
    let mut x = g.embedding(Role::Embed, "model.embed_tokens", s.hidden, (s.hidden as f64).sqrt()); // [hidden]
    for layer in 0..s.layers {
        g.enter_layer(layer, format!("model.layers.{layer}"));
        let (mask, rope) = if (layer + 1).is_multiple_of(config.pattern) {
            (Mask::Causal, &global)
        } else {
            (Mask::Window { window: config.window }, &local)
        };
        let normed = g.norm(Role::AttnPreNorm, "input_layernorm", x, norm); // [hidden]
        let q = g.linear(Role::QProj, "self_attn.q_proj", normed, s.query_width()); // [heads * head_dim]
        let k = g.linear(Role::KProj, "self_attn.k_proj", normed, s.key_width()); // [kv_heads * head_dim]
        let v = g.linear(Role::VProj, "self_attn.v_proj", normed, s.key_width()); // [kv_heads * head_dim]
        let q = g.norm(Role::QNorm, "self_attn.q_norm", q, head_norm); // [heads * head_dim]
        let k = g.norm(Role::KNorm, "self_attn.k_norm", k, head_norm); // [kv_heads * head_dim]
        let q = g.rope(Role::QRope, "self_attn.q_rope", q, rope.clone()); // [heads, head_dim]
        let k = g.rope(Role::KRope, "self_attn.k_rope", k, rope.clone()); // [kv_heads, head_dim]
        let scored = g.scores(Role::Scores, "self_attn.scores", q, k, scores(mask)); // [heads, keys]
        let probs = g.softmax(Role::Probs, "self_attn.probs", scored); // [heads, keys]
        let merged = g.context(Role::Context, "self_attn.context", probs, v, context.clone()); // [heads * head_dim]
        let attended = g.linear(Role::OProj, "self_attn.o_proj", merged, s.hidden); // [hidden]
        let attended = g.norm(Role::AttnPostNorm, "post_attention_layernorm", attended, norm); // [hidden]
        x = g.sum(Role::AttnResidual, "pre_feedforward_layernorm.input", x, attended); // [hidden]

        let normed = g.norm(Role::FfnPreNorm, "pre_feedforward_layernorm", x, norm); // [hidden]
        let gate = g.linear(Role::Gate, "mlp.gate_proj", normed, s.ffn); // [ffn]
        let up = g.linear(Role::Up, "mlp.up_proj", normed, s.ffn); // [ffn]
        let active = g.activation(Role::Activation, "mlp.act_fn", gate, Activation::GeluTanh); // [ffn]
        let gated = g.product(Role::Gated, "mlp.act", active, up); // [ffn]
        let down = g.linear(Role::Down, "mlp.down_proj", gated, s.hidden); // [hidden]
        let down = g.norm(Role::FfnPostNorm, "post_feedforward_layernorm", down, norm); // [hidden]
        x = g.sum(Role::Block, "", x, down); // [hidden]
    }
    g.leave_layers();
    let normed = g.norm(Role::FinalNorm, "model.norm", x, norm); // [hidden]
    g.linear_of(Role::Head, "lm_head", normed, s.vocab, Linear::whole("model.embed_tokens.weight")); // [vocab]
    g.finish()
}
