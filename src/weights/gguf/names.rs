//! Converts llama.cpp's tensor names to Hugging Face's.

/// `blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`. `None` for names that no supported model
/// has. `architecture` decides what `ffn_norm` is: Gemma has a norm after attention too.
pub(super) fn hugging_face(name: &str, architecture: &str) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    if !matches!(suffix, "weight" | "bias") {
        return None;
    }
    let outside = match stem {
        "token_embd" => Some("model.embed_tokens"),
        "output_norm" => Some("model.norm"),
        "output" => Some("lm_head"),
        _ => None,
    };
    if let Some(module) = outside {
        return Some(format!("{module}.{suffix}"));
    }
    let (layer, part) = stem.strip_prefix("blk.")?.split_once('.')?;
    // Only one spelling per layer: `blk.03` must not be read as `blk.3`.
    let layer = layer.parse::<u16>().ok().filter(|n| n.to_string() == layer)?;
    let gemma = architecture.starts_with("gemma");
    let module = match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_norm" if gemma => "pre_feedforward_layernorm",
        "post_attention_norm" if gemma => "post_attention_layernorm",
        "post_ffw_norm" if gemma => "post_feedforward_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{module}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::hugging_face;

    #[test]
    fn names_inside_and_outside_the_layers_become_hugging_face_paths() {
        for (gguf, name) in [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output.weight", "lm_head.weight"),
            ("output_norm.weight", "model.norm.weight"),
            ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"),
            ("blk.29.ffn_down.weight", "model.layers.29.mlp.down_proj.weight"),
            ("blk.7.attn_q.bias", "model.layers.7.self_attn.q_proj.bias"),
            ("blk.7.attn_k_norm.weight", "model.layers.7.self_attn.k_norm.weight"),
            ("blk.7.ffn_norm.weight", "model.layers.7.post_attention_layernorm.weight"),
        ] {
            assert_eq!(hugging_face(gguf, "llama").as_deref(), Some(name));
        }
    }

    #[test]
    fn a_gemma_has_four_norms_in_a_layer() {
        for (gguf, name) in [
            ("blk.1.attn_norm.weight", "model.layers.1.input_layernorm.weight"),
            ("blk.1.post_attention_norm.weight", "model.layers.1.post_attention_layernorm.weight"),
            ("blk.1.ffn_norm.weight", "model.layers.1.pre_feedforward_layernorm.weight"),
            ("blk.1.post_ffw_norm.weight", "model.layers.1.post_feedforward_layernorm.weight"),
        ] {
            assert_eq!(hugging_face(gguf, "gemma2").as_deref(), Some(name));
        }
    }

    #[test]
    fn names_that_a_llama_does_not_have_are_unknown() {
        for name in
            ["", "output", "rope_freqs.weight", "blk.03.attn_q.weight", "blk.x.attn_q.weight", "blk.0.weight"]
        {
            assert_eq!(hugging_face(name, "llama"), None, "{name}");
        }
    }
}
