//! The graph of Gemma 2 and 3 (Gemma Team, 2024 and 2025): the embedding is scaled, and the output of each branch
//! is normed before it is added.

use super::builder::Builder;
use super::nodes::Graph;
use super::parts::{attention, feed_forward, logits, norm};
use super::role::Role;
use crate::Result;
use crate::weights::Config;

/// Builds the graph of a Gemma.
///
/// # Errors
/// The configuration contradicts itself: see [`Config::lint`].
pub fn gemma(config: &Config) -> Result<Graph> {
    let norm = norm(config);
    let scale = config.embedding_scale().unwrap_or(1.0);
    let mut g = Builder::default();
    let mut x = g.embedding(Role::Embed, "model.embed_tokens", config.hidden_size, scale); // [hidden]
    for layer in 0..config.num_hidden_layers {
        g.enter_layer(layer, format!("model.layers.{layer}"));
        let normed = g.norm(Role::AttnPreNorm, "input_layernorm", x, norm); // [hidden]
        let attended = attention(&mut g, config, layer, normed); // [hidden]
        let attended = g.norm(Role::AttnPostNorm, "post_attention_layernorm", attended, norm); // [hidden]
        x = g.sum(Role::AttnResidual, "pre_feedforward_layernorm.input", x, attended); // [hidden]

        let normed = g.norm(Role::FfnPreNorm, "pre_feedforward_layernorm", x, norm); // [hidden]
        let mixed = feed_forward(&mut g, config, normed); // [hidden]
        let mixed = g.norm(Role::FfnPostNorm, "post_feedforward_layernorm", mixed, norm); // [hidden]
        x = g.sum(Role::Block, "", x, mixed); // [hidden]
    }
    g.leave_layers();
    let normed = g.norm(Role::FinalNorm, "model.norm", x, norm); // [hidden]
    logits(&mut g, config, normed); // [vocab]
    g.finish()
}
