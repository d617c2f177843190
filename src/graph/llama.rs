//! The graph of the Llama family (Touvron et al., 2023; Llama 3: Grattafiori et al., 2024).

use super::attention::{Context, HeadMap, Mask, Scores};
use super::builder::Builder;
use super::node::NodeId;
use super::nodes::Graph;
use super::norm::NormRule;
use super::operation::{Activation, Linear};
use super::role::Role;
use super::rope::{FrequencyLaw, Rope};
use crate::Result;
use crate::weights::{Config, RopeScaling};

/// Builds the graph of a Llama. Rows of q and k are in Hugging Face's order, in which [`Weights::canonical`]
/// returns them for every file format.
///
/// [`Weights::canonical`]: crate::weights::Weights::canonical
///
/// # Errors
/// The configuration contradicts itself: see [`Config::lint`].
pub fn llama(config: &Config) -> Result<Graph> {
    let Config {
        hidden_size: hidden,
        intermediate_size: ffn,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim,
        vocab_size: vocab,
        rms_norm_eps: eps,
        rope_theta: theta,
        rope_scaling: ref scaling,
        sliding_window,
        tie_word_embeddings: tied,
        biases: _, // see `linear`
        // These keys do not affect the computation. They are listed so that the compiler reports any new key.
        max_position_embeddings: _,
        bos_token_id: _,
        eos_token_ids: _,
        rope_layout: _,
    } = *config;
    let norm = NormRule::rms(eps);
    let rope = Rope::whole(law(theta, scaling), head_dim);
    let looks_at = HeadMap::grouped(heads, kv_heads);
    let attention = Scores {
        heads: looks_at.clone(),
        head_dim,
        scale: 1.0 / (head_dim as f64).sqrt(),
        softcap: None,
        mask: sliding_window.map_or(Mask::Causal, |window| Mask::Window { window }),
    };
    let context = Context { heads: looks_at, head_dim };

    // A projection adds a bias if the family has one there.
    let linear = |g: &mut Builder, role: Role, name: &str, x: NodeId, out: usize| {
        if config.biases.contains(name) {
            g.linear_with_bias(role, name, x, out)
        } else {
            g.linear(role, name, x, out)
        }
    };

    let mut g = Builder::default();
    let mut x = g.embedding(Role::Embed, "model.embed_tokens", hidden, 1.0); // [hidden]
    for layer in 0..layers {
        g.enter_layer(layer, format!("model.layers.{layer}"));
        let normed = g.norm(Role::AttnPreNorm, "input_layernorm", x, norm); // [hidden]
        let q = linear(&mut g, Role::QProj, "self_attn.q_proj", normed, config.query_width()); // [heads * head_dim]
        let k = linear(&mut g, Role::KProj, "self_attn.k_proj", normed, config.key_width()); // [kv_heads * head_dim]
        let v = linear(&mut g, Role::VProj, "self_attn.v_proj", normed, config.key_width()); // [kv_heads * head_dim]
        let q = g.rope(Role::QRope, "self_attn.q_rope", q, rope.clone()); // [heads, head_dim]
        let k = g.rope(Role::KRope, "self_attn.k_rope", k, rope.clone()); // [kv_heads, head_dim]
        let scores = g.scores(Role::Scores, "self_attn.scores", q, k, attention.clone()); // [heads, keys]
        let probs = g.softmax(Role::Probs, "self_attn.probs", scores); // [heads, keys]
        let merged = g.context(Role::Context, "self_attn.context", probs, v, context.clone()); // [heads * head_dim]
        let attended = linear(&mut g, Role::OProj, "self_attn.o_proj", merged, hidden); // [hidden]
        x = g.sum(Role::AttnResidual, "post_attention_layernorm.input", x, attended); // [hidden]

        let normed = g.norm(Role::FfnPreNorm, "post_attention_layernorm", x, norm); // [hidden]
        let gate = linear(&mut g, Role::Gate, "mlp.gate_proj", normed, ffn); // [ffn]
        let up = linear(&mut g, Role::Up, "mlp.up_proj", normed, ffn); // [ffn]
        let active = g.activation(Role::Activation, "mlp.act_fn", gate, Activation::Silu); // [ffn]
        let gated = g.product(Role::Gated, "mlp.act", active, up); // [ffn]
        let down = linear(&mut g, Role::Down, "mlp.down_proj", gated, hidden); // [hidden]
        x = g.sum(Role::Block, "", x, down); // [hidden]
    }
    g.leave_layers();
    let normed = g.norm(Role::FinalNorm, "model.norm", x, norm); // [hidden]
    let head = if tied { "model.embed_tokens" } else { "lm_head" };
    let head = Linear::whole(format!("{head}.weight"));
    g.linear_of(Role::Head, "lm_head", normed, vocab, head); // [vocab]
    g.finish()
}

/// The frequencies that the config asks for.
fn law(theta: f64, scaling: &RopeScaling) -> FrequencyLaw {
    match *scaling {
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
