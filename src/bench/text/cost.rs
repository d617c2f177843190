//! What a pass must read from memory and compute at least.

use super::request::Request;
use crate::model::{Llama, Matmul};
use crate::models::Model;

/// What a pass must read and compute at least.
pub(super) struct Cost {
    /// Entries of all matrices of the layers.
    in_layers: f64,
    /// Entries of the last matrix.
    head: f64,
    /// Bytes of all of them, as the products read them.
    weight_bytes: f64,
    /// Bytes of the keys and values of one token.
    cache_bytes: f64,
    /// Additions and multiplications for one query and one key.
    attention: f64,
}

impl Cost {
    /// That of a model on the path of the request.
    pub(super) fn of(model: &Model, llama: &Llama, request: &Request) -> Self {
        let config = &llama.config;
        let weights = &model.weights;
        let (mut in_layers, mut head, mut weight_bytes) = (0.0, 0.0, 0.0);
        for name in weights.names() {
            let Some(&[rows, width]) = weights.shape(&name) else { continue };
            let embedding = name == "model.embed_tokens.weight";
            if embedding && !config.tie_word_embeddings {
                continue;
            }
            let entries = (rows * width) as f64;
            if embedding || name == "lm_head.weight" {
                head += entries;
            } else {
                in_layers += entries;
            }
            let dense = entries * request.dtype.size_in_bytes() as f64;
            weight_bytes += match (request.path.matmul, weights.stored(&name)) {
                (Matmul::Quantized, Some((_, bytes))) => bytes as f64,
                _ => dense,
            };
        }
        let (layers, head_dim) = (config.num_hidden_layers, config.head_dim);
        let kv = 2 * layers * config.num_key_value_heads * head_dim * request.dtype.size_in_bytes();
        let attention = 4 * layers * config.num_attention_heads * head_dim;
        Self { in_layers, head, weight_bytes, cache_bytes: kv as f64, attention: attention as f64 }
    }

    /// Bytes and operations of a prompt of `tokens`, whose logits are computed for the last token only.
    pub(super) fn prefill(&self, tokens: usize) -> (f64, f64) {
        let n = tokens as f64;
        let products = 2.0 * (self.in_layers * n + self.head);
        (self.weight_bytes + self.cache_bytes * n, products + self.attention * n * (n + 1.0) / 2.0)
    }

    /// The same of `tokens` tokens one by one, after `past`.
    pub(super) fn decode(&self, past: usize, tokens: usize) -> (f64, f64) {
        let n = tokens as f64;
        let keys = n * past as f64 + n * (n + 1.0) / 2.0;
        let products = 2.0 * (self.in_layers + self.head) * n;
        (self.weight_bytes * n + self.cache_bytes * keys, products + self.attention * keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two layers of 2 x 3 matrices and a head of 10 x 2 in float32.
    #[test]
    fn the_cost_of_a_pass_counts_each_weight_once_per_token() {
        let cost =
            Cost { in_layers: 12.0, head: 20.0, weight_bytes: 128.0, cache_bytes: 16.0, attention: 4.0 };
        assert_eq!(cost.prefill(3), (128.0 + 48.0, 2.0 * (36.0 + 20.0) + 4.0 * 6.0));
        assert_eq!(cost.decode(3, 2), (256.0 + 16.0 * 9.0, 2.0 * 32.0 * 2.0 + 4.0 * 9.0));
    }
}
