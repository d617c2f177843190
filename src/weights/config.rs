//! The configuration of a model: one struct, read from `config.json` or from GGUF metadata.

mod family;
mod gguf;
mod harmless;
mod json;
mod layers;
mod lint;
mod quantization;
mod rope;
mod tensors;
mod value;

use std::collections::BTreeSet;
use std::fmt;

pub use family::{Activation, Family};
pub(super) use gguf::from_gguf;
pub(super) use json::from_json;
pub use layers::LayerType;
pub(super) use quantization::refuse_packed;
pub use rope::RopeScaling;
pub(super) use tensors::dimension_keys;

/// The order of the rows of q and k, which determines the elements that a rotation pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeLayout {
    /// Element i of a head is paired with i + head_dim/2: Hugging Face, `candle_nn::rotary_emb::rope`.
    HalfSplit,
    /// Element 2i is paired with 2i + 1: GGUF files of Llamas and Meta's own files, `candle_nn::rotary_emb::rope_i`.
    Interleaved,
}

/// What defines a model, with the names of Hugging Face's configs.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The structure of the model. A GGUF file does not tell a Mistral from a Llama.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; each serves `num_attention_heads / num_key_value_heads` query heads.
    pub num_key_value_heads: usize,
    /// Width of one head. Not always `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Context length in tokens.
    pub max_position_embeddings: usize,
    /// ε inside the norms' square root. From GGUF it is the exact value of an f32: compare as f32.
    pub rms_norm_eps: f64,
    /// Base of the rotation's wavelengths. From GGUF it is the exact value of an f32.
    pub rope_theta: f64,
    /// How the rotation's wavelengths are stretched for longer contexts.
    pub rope_scaling: RopeScaling,
    /// θ of the layers with a window, whose rotation is not scaled; `None` if all layers rotate alike.
    pub local_rope_theta: Option<f64>,
    /// The largest number of keys that a query of a [`LayerType::Sliding`] layer sees, its own included; `None`
    /// if there are no such layers.
    pub sliding_window: Option<usize>,
    /// Which keys the queries of each layer see.
    pub layer_types: Vec<LayerType>,
    /// Scores are divided by the root of it; `None` means `head_dim`.
    pub query_pre_attn_scalar: Option<f64>,
    /// The c of c · tanh(x / c) of the scores, if they are capped.
    pub attn_logit_softcapping: Option<f64>,
    /// The c of c · tanh(x / c) of the logits, if they are capped.
    pub final_logit_softcapping: Option<f64>,
    /// Is the output matrix the same as the embedding's?
    pub tie_word_embeddings: bool,
    /// The modules of every layer whose product a bias is added to: `self_attn.q_proj`.
    pub biases: BTreeSet<String>,
    /// The token that starts a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a generation, in ascending order.
    pub eos_token_ids: Vec<u32>,
    /// The layout that the rotation must use with these weights.
    pub rope_layout: RopeLayout,
}

/// A configuration, and what a user should know about the file that it was read from.
pub(super) struct Parsed {
    pub(super) config: Config,
    /// One line each.
    pub(super) notes: Vec<String>,
}

/// A note that lists the unknown keys of `file`, each given with its value; none if there are none.
fn unknown_keys(file: &str, keys: &[String]) -> Vec<String> {
    /// More are only counted.
    const LISTED: usize = 8;
    let more = keys.len().saturating_sub(LISTED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    match keys {
        [] => vec![],
        [only] => vec![format!("{file} has an unknown key, which is ignored: {only}")],
        keys => {
            let listed = keys.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
            vec![format!("{file} has {} unknown keys, which are ignored: {listed}{more}", keys.len())]
        }
    }
}

/// The modules of a layer that Llama's `attention_bias` concerns.
const ATTENTION: [&str; 4] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];

/// The modules of a layer that Llama's `mlp_bias` concerns.
const MLP: [&str; 3] = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

impl Config {
    /// Width of all query heads together, `heads · head_dim`.
    pub fn query_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key heads together (the values' too), `kv_heads · head_dim`.
    pub fn key_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// A width or a number of heads, by its key.
    pub(super) fn size(&self, key: &str) -> Option<usize> {
        Some(match key {
            "hidden_size" => self.hidden_size,
            "intermediate_size" => self.intermediate_size,
            "num_attention_heads" => self.num_attention_heads,
            "num_key_value_heads" => self.num_key_value_heads,
            "head_dim" => self.head_dim,
            "vocab_size" => self.vocab_size,
            _ => return None,
        })
    }

    /// The angle that a rotation adds with each position, in radians, for each pair: `[head_dim / 2]`. If layers
    /// rotate differently, that of the layers without a window.
    pub fn frequencies(&self) -> Vec<f64> {
        self.turns(self.rope_theta, &self.rope_scaling)
    }

    /// The same for the layers with a window, if they rotate differently.
    pub fn local_frequencies(&self) -> Option<Vec<f64>> {
        self.local_rope_theta.map(|theta| self.turns(theta, &RopeScaling::None))
    }

    fn turns(&self, theta: f64, scaling: &RopeScaling) -> Vec<f64> {
        let whole = |pair: usize| theta.powf(-2.0 * pair as f64 / self.head_dim as f64);
        (0..self.head_dim / 2).map(|pair| scaling.scaled(pair, whole(pair))).collect()
    }

    /// The factor of the products of queries and keys.
    pub fn attention_scale(&self) -> f64 {
        self.query_pre_attn_scalar.unwrap_or(self.head_dim as f64).sqrt().recip()
    }

    /// The factor of the embedding rows.
    pub fn embedding_scale(&self) -> Option<f64> {
        self.family.is_gemma().then(|| (self.hidden_size as f64).sqrt())
    }

    /// The type of a layer.
    pub fn layer_type(&self, layer: usize) -> LayerType {
        self.layer_types.get(layer).copied().unwrap_or_default()
    }

    /// The largest number of keys that a query of this layer sees; `None` if it sees all earlier ones.
    pub fn window(&self, layer: usize) -> Option<usize> {
        match self.layer_type(layer) {
            LayerType::Full => None,
            LayerType::Sliding => self.sliding_window,
        }
    }
}

/// The GGUF key of a config key, without the architecture in front.
pub fn gguf_key(key: &str) -> Option<&'static str> {
    Some(match key {
        "hidden_size" => "embedding_length",
        "intermediate_size" => "feed_forward_length",
        "num_hidden_layers" => "block_count",
        "num_attention_heads" => "attention.head_count",
        "num_key_value_heads" => "attention.head_count_kv",
        "head_dim" => "attention.key_length",
        "vocab_size" => "vocab_size",
        "max_position_embeddings" => "context_length",
        "rms_norm_eps" => "attention.layer_norm_rms_epsilon",
        "rope_theta" => "rope.freq_base",
        _ => return None,
    })
}

/// `30 layers, width 576, 9 heads on 3 kv heads`, and the window if some layers have one.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads, .. } = self;
        write!(f, "{num_hidden_layers} layers, width {hidden_size}, {num_attention_heads} heads")?;
        if num_attention_heads != num_key_value_heads {
            write!(f, " on {num_key_value_heads} kv heads")?;
        }
        if let Some(window) = self.sliding_window {
            write!(f, ", window of {window} tokens")?;
            let sliding = self.layer_types.iter().filter(|of| **of == LayerType::Sliding).count();
            if sliding < *num_hidden_layers {
                write!(f, " in {sliding} of the layers")?;
            }
        }
        Ok(())
    }
}
