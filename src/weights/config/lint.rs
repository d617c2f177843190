//! The numbers of a config that no model can have.

use super::Config;
use super::layers::MOST_LAYERS;

/// Larger than any size in a real model, and products of two such sizes cannot overflow.
const MAX_SIZE: usize = 1 << 24;

impl Config {
    /// Every invalid number, one clause each: `key: value and reason`.
    pub fn lint(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let sizes = [
            ("hidden_size", self.hidden_size, MAX_SIZE),
            ("intermediate_size", self.intermediate_size, MAX_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, MOST_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MAX_SIZE),
            ("num_key_value_heads", self.num_key_value_heads, MAX_SIZE),
            ("head_dim", self.head_dim, MAX_SIZE),
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("max_position_embeddings", self.max_position_embeddings, MAX_SIZE),
        ];
        for (key, size, most) in sizes {
            if !(1..=most).contains(&size) {
                wrong.push(format!("{key}: {size} is not between 1 and {most}"));
            }
        }
        if !wrong.is_empty() {
            return wrong;
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            wrong.push(format!("num_key_value_heads: {heads} query heads cannot share {kv_heads} evenly"));
        }
        if !self.head_dim.is_multiple_of(2) {
            wrong.push(format!("head_dim: {} is odd, but a rotation needs pairs", self.head_dim));
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps <= 1e-2) {
            wrong.push(format!("rms_norm_eps: {:e} is not in (0, 1e-2]", self.rms_norm_eps));
        }
        if !(self.rope_theta > 1.0 && self.rope_theta.is_finite()) {
            wrong.push(format!("rope_theta: {:e} is not a number above 1", self.rope_theta));
        }
        if self.sliding_window == Some(0) {
            wrong.push("sliding_window: 0 hides every token from itself".into());
        }
        if self.layer_types.len() != self.num_hidden_layers.min(MOST_LAYERS) {
            let types = self.layer_types.len();
            wrong.push(format!("layer_types: it has {types} entries for {} layers", self.num_hidden_layers));
        }
        for (key, number) in [
            ("query_pre_attn_scalar", self.query_pre_attn_scalar),
            ("attn_logit_softcapping", self.attn_logit_softcapping),
            ("final_logit_softcapping", self.final_logit_softcapping),
        ] {
            if let Some(number) = number.filter(|number| !(*number > 0.0 && number.is_finite())) {
                wrong.push(format!("{key}: {number:e} is not a number above 0"));
            }
        }
        if let Some(theta) = self.local_rope_theta.filter(|theta| !(*theta > 1.0 && theta.is_finite())) {
            wrong.push(format!("rope_local_base_freq: {theta:e} is not a number above 1"));
        }
        wrong.extend(self.rope_scaling.fault().map(|fault| format!("rope_scaling: {fault}")));
        let bos = self.bos_token_id.map(|id| ("bos_token_id", id));
        for (key, id) in self.eos_token_ids.iter().map(|&id| ("eos_token_id", id)).chain(bos) {
            if id as usize >= self.vocab_size {
                wrong.push(format!("{key}: {id} is outside the vocabulary of {}", self.vocab_size));
            }
        }
        wrong
    }
}
