//! The tensors that a config requires, with their shapes.

use super::Config;

impl Config {
    /// Every tensor of this model with its shape (`[out, in]` for a matrix). A tied model has no
    /// `lm_head.weight`. Call it only on a config that passes [`Config::lint`].
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, ffn) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.query_width(), self.key_width());
        let mut layer = vec![
            ("input_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![q, hidden]),
            ("self_attn.k_proj", vec![kv, hidden]),
            ("self_attn.v_proj", vec![kv, hidden]),
            ("self_attn.o_proj", vec![hidden, q]),
            ("post_attention_layernorm", vec![hidden]),
            ("mlp.gate_proj", vec![ffn, hidden]),
            ("mlp.up_proj", vec![ffn, hidden]),
            ("mlp.down_proj", vec![hidden, ffn]),
        ];
        if self.family.norms_heads() {
            let norms = ["self_attn.q_norm", "self_attn.k_norm"];
            layer.extend(norms.map(|norm| (norm, vec![self.head_dim])));
        }
        if self.family.norms_branches() {
            let norms = ["pre_feedforward_layernorm", "post_feedforward_layernorm"];
            layer.extend(norms.map(|norm| (norm, vec![hidden])));
        }
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, hidden])];
        for n in 0..self.num_hidden_layers {
            for (part, shape) in &layer {
                let module = format!("model.layers.{n}.{part}");
                if self.biases.contains(*part) {
                    all.push((format!("{module}.bias"), shape[..1].to_vec()));
                }
                all.push((format!("{module}.weight"), shape.clone()));
            }
        }
        all.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tie_word_embeddings {
            all.push(("lm_head.weight".to_owned(), vec![self.vocab_size, hidden]));
        }
        all
    }
}

/// The keys of the config that give each dimension of a tensor, with the dimensions that are products of two.
pub(in crate::weights) fn dimension_keys(name: &str) -> &'static [&'static [&'static str]] {
    const HIDDEN: &[&str] = &["hidden_size"];
    const FFN: &[&str] = &["intermediate_size"];
    const VOCAB: &[&str] = &["vocab_size"];
    const Q: &[&str] = &["num_attention_heads", "head_dim"];
    const KV: &[&str] = &["num_key_value_heads", "head_dim"];
    let (module, bias) = match name.strip_suffix(".bias") {
        Some(module) => (module, true),
        None => (name.trim_end_matches(".weight"), false),
    };
    let keys: &[&[&str]] = match module.rsplit('.').next().unwrap_or_default() {
        "embed_tokens" | "lm_head" => &[VOCAB, HIDDEN],
        "q_proj" => &[Q, HIDDEN],
        "k_proj" | "v_proj" => &[KV, HIDDEN],
        "o_proj" => &[HIDDEN, Q],
        "gate_proj" | "up_proj" => &[FFN, HIDDEN],
        "down_proj" => &[HIDDEN, FFN],
        "input_layernorm" | "post_attention_layernorm" | "norm" => &[HIDDEN],
        "pre_feedforward_layernorm" | "post_feedforward_layernorm" => &[HIDDEN],
        "q_norm" | "k_norm" => &[&["head_dim"]],
        _ => &[],
    };
    // A bias has one entry for each row of its matrix.
    if bias { keys.get(..1).unwrap_or_default() } else { keys }
}
