//! The graph of the Llama family (Touvron et al., 2023; Llama 3: Grattafiori et al., 2024) and of those that
//! differ from it within attention only: Mistral, Qwen 2 and Qwen 3.

use super::builder::Builder;
use super::nodes::Graph;
use super::parts::{attention, feed_forward, logits, norm};
use super::role::Role;
use crate::Result;
use crate::weights::Config;

/// Builds the graph of a Llama. Rows of q and k are in Hugging Face's order, in which [`Weights::canonical`]
/// returns them for every file format.
///
/// [`Weights::canonical`]: crate::weights::Weights::canonical
///
/// # Errors
/// The configuration contradicts itself: see [`Config::lint`].
pub fn llama(config: &Config) -> Result<Graph> {
    let norm = norm(config);
    let mut g = Builder::default();
    let mut x = g.embedding(Role::Embed, "model.embed_tokens", config.hidden_size, 1.0); // [hidden]
    for layer in 0..config.num_hidden_layers {
        g.enter_layer(layer, format!("model.layers.{layer}"));
        let normed = g.norm(Role::AttnPreNorm, "input_layernorm", x, norm); // [hidden]
        let attended = attention(&mut g, config, layer, normed); // [hidden]
        x = g.sum(Role::AttnResidual, "post_attention_layernorm.input", x, attended); // [hidden]

        let normed = g.norm(Role::FfnPreNorm, "post_attention_layernorm", x, norm); // [hidden]
        let mixed = feed_forward(&mut g, config, normed); // [hidden]
        x = g.sum(Role::Block, "", x, mixed); // [hidden]
    }
    g.leave_layers();
    let normed = g.norm(Role::FinalNorm, "model.norm", x, norm); // [hidden]
    logits(&mut g, config, normed); // [vocab]
    g.finish()
}
