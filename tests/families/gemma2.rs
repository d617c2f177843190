//! Gemma 2 (Gemma Team, 2024): four norms per layer, softcaps of scores and logits, a sliding window in every
//! other layer.

use rbees_check::Result;
use rbees_check::graph::{
    Activation, Builder, Context, FrequencyLaw, Gain, Graph, HeadMap, Linear, Mask, NormCast, NormRule, Role,
    Rope, Scores,
};

use super::Sizes;

pub struct Config {
    pub sizes: Sizes,
    pub theta: f64,
    pub query_pre_attn_scalar: f64,
    pub score_cap: f64,
    pub logit_cap: f64,
    pub window: usize,
}

pub const SMALL: Config = Config {
    sizes: Sizes {
        hidden: 36,
        ffn: 56,
        layers: 4,
        heads: 4,
        kv_heads: 2,
        head_dim: 10,
        vocab: 99,
        eps: 1e-6,
    },
    theta: 10_000.0,
    query_pre_attn_scalar: 9.0,
    score_cap: 50.0,
    logit_cap: 30.0,
    window: 3,
};

/// Multiplies by 1 + w before the cast.
pub fn norm(eps: f64) -> NormRule {
    NormRule { gain: Gain::OnePlusWeight, cast: NormCast::AfterWeight, ..NormRule::rms(eps) }
}

pub fn graph(config: &Config) -> Result<Graph> {
    let s = config.sizes;
    let norm = norm(s.eps);
    let rope = Rope::whole(FrequencyLaw::Base { theta: config.theta }, s.head_dim);
    let heads = HeadMap::grouped(s.heads, s.kv_heads);
    let scores = |mask| Scores {
        heads: heads.clone(),
        head_dim: s.head_dim,
        scale: config.query_pre_attn_scalar.powf(-0.5),
        softcap: Some(config.score_cap),
        mask,
    };
    let context = Context { heads: heads.clone(), head_dim: s.head_dim };

    let mut g = Builder::default();
    let mut x = g.embedding(Role::Embed, "model.embed_tokens", s.hidden, (s.hidden as f64).sqrt()); // [hidden]
    for layer in 0..s.layers {
        g.enter_layer(layer, format!("model.layers.{layer}"));
        let windowed = layer.is_multiple_of(2);
        let mask = if windowed { Mask::Window { window: config.window } } else { Mask::Causal };
        let normed = g.norm(Role::AttnPreNorm, "input_layernorm", x, norm); // [hidden]
        let q = g.linear(Role::QProj, "self_attn.q_proj", normed, s.query_width()); // [heads * head_dim]
        let k = g.linear(Role::KProj, "self_attn.k_proj", normed, s.key_width()); // [kv_heads * head_dim]
        let v = g.linear(Role::VProj, "self_attn.v_proj", normed, s.key_width()); // [kv_heads * head_dim]
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
    let tied = Linear::whole("model.embed_tokens.weight");
    let head = g.linear_of(Role::Head, "lm_head", normed, s.vocab, tied); // [vocab]
    g.softcap(Role::Logits, "logits", head, config.logit_cap); // [vocab]
    g.finish()
}
