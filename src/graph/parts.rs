//! The parts of a graph that the families share. What differs between families is read from the config.

use super::attention::{Context, HeadMap, Mask, Scores};
use super::builder::Builder;
use super::node::NodeId;
use super::norm::{Gain, NormCast, NormRule};
use super::operation::{Activation, Linear};
use super::role::Role;
use super::rope::{FrequencyLaw, Rope};
use crate::weights::{self, Config, LayerType, RopeScaling};

/// The rule of every norm: Llama's, or that of Gemma, which multiplies by 1 + w before the cast.
pub(super) fn norm(config: &Config) -> NormRule {
    let rms = NormRule::rms(config.rms_norm_eps);
    match config.family.norm_offset() {
        0.0 => rms,
        _ => NormRule { gain: Gain::OnePlusWeight, cast: NormCast::AfterWeight, ..rms },
    }
}

/// Attention of a layer to x, with its output projection: `[hidden]`.
pub(super) fn attention(g: &mut Builder, config: &Config, layer: usize, x: NodeId) -> NodeId {
    let head_dim = config.head_dim;
    let rope = Rope::whole(law(config, layer), head_dim);
    let heads = HeadMap::grouped(config.num_attention_heads, config.num_key_value_heads);
    let scoring = Scores {
        heads: heads.clone(),
        head_dim,
        scale: config.attention_scale(),
        softcap: config.attn_logit_softcapping,
        mask: config.window(layer).map_or(Mask::Causal, |window| Mask::Window { window }),
    };

    let q = linear(g, config, Role::QProj, "self_attn.q_proj", x, config.query_width()); // [heads * head_dim]
    let k = linear(g, config, Role::KProj, "self_attn.k_proj", x, config.key_width()); // [kv_heads * head_dim]
    let v = linear(g, config, Role::VProj, "self_attn.v_proj", x, config.key_width()); // [kv_heads * head_dim]
    let (q, k) = if config.family.norms_heads() {
        let each = norm(config).per_head(head_dim);
        let q = g.norm(Role::QNorm, "self_attn.q_norm", q, each); // [heads * head_dim]
        (q, g.norm(Role::KNorm, "self_attn.k_norm", k, each)) // [kv_heads * head_dim]
    } else {
        (q, k)
    };
    let q = g.rope(Role::QRope, "self_attn.q_rope", q, rope.clone()); // [heads, head_dim]
    let k = g.rope(Role::KRope, "self_attn.k_rope", k, rope); // [kv_heads, head_dim]
    let scores = g.scores(Role::Scores, "self_attn.scores", q, k, scoring); // [heads, keys]
    let probs = g.softmax(Role::Probs, "self_attn.probs", scores); // [heads, keys]
    let merged = g.context(Role::Context, "self_attn.context", probs, v, Context { heads, head_dim }); // [heads * head_dim]
    linear(g, config, Role::OProj, "self_attn.o_proj", merged, config.hidden_size) // [hidden]
}

/// The feed-forward network of x: `[hidden]`.
pub(super) fn feed_forward(g: &mut Builder, config: &Config, x: NodeId) -> NodeId {
    let ffn = config.intermediate_size;
    let function = match config.family.activation() {
        weights::Activation::Silu => Activation::Silu,
        weights::Activation::GeluTanh => Activation::GeluTanh,
    };
    let gate = linear(g, config, Role::Gate, "mlp.gate_proj", x, ffn); // [ffn]
    let up = linear(g, config, Role::Up, "mlp.up_proj", x, ffn); // [ffn]
    let active = g.activation(Role::Activation, "mlp.act_fn", gate, function); // [ffn]
    let gated = g.product(Role::Gated, "mlp.act", active, up); // [ffn]
    linear(g, config, Role::Down, "mlp.down_proj", gated, config.hidden_size) // [hidden]
}

/// The logits of the last norm x: `[vocab]`.
pub(super) fn logits(g: &mut Builder, config: &Config, x: NodeId) {
    let head = if config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
    let head = Linear::whole(format!("{head}.weight"));
    let logits = g.linear_of(Role::Head, "lm_head", x, config.vocab_size, head); // [vocab]
    if let Some(cap) = config.final_logit_softcapping {
        g.softcap(Role::Logits, "lm_head.softcap", logits, cap); // [vocab]
    }
}

/// A projection, which adds a bias if the config has one there.
fn linear(g: &mut Builder, config: &Config, role: Role, name: &str, x: NodeId, out: usize) -> NodeId {
    if config.biases.contains(name) {
        g.linear_with_bias(role, name, x, out)
    } else {
        g.linear(role, name, x, out)
    }
}

/// The frequencies that the config asks for in a layer.
fn law(config: &Config, layer: usize) -> FrequencyLaw {
    if let (LayerType::Sliding, Some(theta)) = (config.layer_type(layer), config.local_rope_theta) {
        return FrequencyLaw::Base { theta };
    }
    let theta = config.rope_theta;
    match config.rope_scaling {
        RopeScaling::None => FrequencyLaw::Base { theta },
        RopeScaling::Linear { factor } => FrequencyLaw::Linear { theta, factor },
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: original,
        } => FrequencyLaw::Llama3 { theta, factor, low_freq_factor, high_freq_factor, original },
        RopeScaling::PerPair { ref factors } => {
            FrequencyLaw::Divided { theta, divisors: factors.iter().copied().map(f64::from).collect() }
        }
    }
}
