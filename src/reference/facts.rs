//! Facts about a model as a whole: its config and tensors as PyTorch reads them, token ids, greedy
//! continuations.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::probe::Arithmetic;

/// `facts.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Facts {
    /// Version of the format; this reader supports 2. Format 1 did not list the other files.
    pub format: u32,
    /// The SHA-256 of each of the model's other files, by file name.
    pub files: BTreeMap<String, String>,
    /// The config as transformers reads it.
    pub config: Config,
    /// Hashes of the tokenizer, if they were captured.
    #[serde(default)]
    pub tokenizer: Option<TokenizerFacts>,
    /// Every tensor by its Hugging Face name.
    pub tensors: BTreeMap<String, TensorFact>,
}

/// SHA-256 of the parts of a tokenizer; `tokenizer::Hashes` defines what is hashed.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct TokenizerFacts {
    /// Of all tokens with their ids.
    pub vocabulary: String,
    /// Of all merges.
    pub merges: String,
    /// Of the ids of tokens without text.
    pub special_tokens: String,
    /// Of the chat template, if there is one.
    pub chat_template: Option<String>,
}

/// The config as transformers reads it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[allow(missing_docs, reason = "Hugging Face's own names")]
pub struct Config {
    /// transformers' `model_type`; files without it are of a Llama.
    #[serde(default = "llama")]
    pub model_type: String,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    pub tie_word_embeddings: bool,
    pub bos_token_id: Option<u32>,
    pub eos_token_ids: Vec<u32>,
    /// transformers' `rope_parameters` without θ, if its type is not `default`.
    #[serde(default)]
    pub rope_scaling: Option<RopeScaling>,
    /// The largest number of keys that a query sees, its own included.
    #[serde(default)]
    pub sliding_window: Option<usize>,
    /// transformers' `layer_types`; absent if all layers are alike.
    #[serde(default)]
    pub layer_types: Option<Vec<String>>,
    /// θ of the layers with a window, if they rotate differently.
    #[serde(default)]
    pub local_rope_theta: Option<f64>,
    /// Scores are divided by the root of it; absent if it is `head_dim`.
    #[serde(default)]
    pub query_pre_attn_scalar: Option<f64>,
    /// The softcap of the scores.
    #[serde(default)]
    pub attn_logit_softcapping: Option<f64>,
    /// The softcap of the logits.
    #[serde(default)]
    pub final_logit_softcapping: Option<f64>,
    /// The modules of a layer whose product a bias is added to.
    #[serde(default)]
    pub biases: BTreeSet<String>,
}

fn llama() -> String {
    "llama".into()
}

/// How the frequencies of a rotation are scaled, by transformers' type.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
#[allow(missing_docs, reason = "transformers' own names")]
pub enum RopeScaling {
    Linear {
        factor: f64,
    },
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: usize,
    },
}

/// One weight tensor as PyTorch reads it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct TensorFact {
    /// Its shape.
    pub shape: Vec<usize>,
    /// SHA-256 of its little-endian float32 bytes, in Hugging Face layout.
    pub sha256: String,
}

/// `tokens.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Tokens {
    /// Version of the format; this reader supports 1.
    pub format: u32,
    /// Texts and their ids.
    pub encode: Vec<Encode>,
    /// Chats and their renderings by the model's template.
    #[serde(default)]
    pub chat: Vec<Chat>,
}

/// A text, its ids, and the text that the ids decode to.
#[derive(Clone, Debug, Deserialize)]
pub struct Encode {
    /// The text.
    pub text: String,
    /// Are special tokens such as BOS added?
    pub add_special_tokens: bool,
    /// Its ids.
    pub ids: Vec<u32>,
    /// The text decoded from the ids, with special tokens kept.
    pub decoded: String,
}

/// A chat and its rendering.
#[derive(Clone, Debug, Deserialize)]
pub struct Chat {
    /// The turns of the chat.
    pub messages: Vec<Message>,
    /// Does the rendering end with the start of the assistant's turn?
    pub add_generation_prompt: bool,
    /// The rendering by the template.
    pub text: String,
    /// The ids of the rendering.
    pub ids: Vec<u32>,
}

/// One turn of a chat.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text of the turn.
    pub content: String,
}

/// `greedy.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Greedy {
    /// Version of the format; this reader supports 1.
    pub format: u32,
    /// Prompts and their continuations by the float64 model.
    pub prompts: Vec<Prompt>,
    /// The same prompts with quantised arithmetic.
    #[serde(default)]
    pub quantized: BTreeMap<Arithmetic, Vec<Prompt>>,
}

impl Facts {
    pub(super) const FORMAT: u32 = 2;

    /// What is wrong with it, in words, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        self.tensors.is_empty().then(|| "it lists no tensors".into())
    }
}

impl Tokens {
    pub(super) fn fault(&self) -> Option<String> {
        self.encode.is_empty().then(|| "it contains no texts: `encode` is empty".into())
    }
}

impl Greedy {
    pub(super) fn fault(&self) -> Option<String> {
        if self.prompts.is_empty() {
            return Some("it contains no prompts: `prompts` is empty".into());
        }
        if let Some((name, _)) = self.quantized.iter().find(|(_, all)| all.len() != self.prompts.len()) {
            return Some(format!(
                "the number of prompts for {} arithmetic differs from dense arithmetic",
                name.name()
            ));
        }
        self.prompts.iter().chain(self.quantized.values().flatten()).find_map(Prompt::fault)
    }

    /// The prompts and their continuations with this arithmetic.
    pub fn on(&self, arithmetic: Arithmetic) -> Option<&[Prompt]> {
        match arithmetic {
            Arithmetic::Dense => Some(&self.prompts),
            quantized => self.quantized.get(&quantized).map(Vec::as_slice),
        }
    }
}

/// A prompt and its greedy continuation. All lists except `ids` have one entry per step.
#[derive(Clone, Debug, Deserialize)]
pub struct Prompt {
    /// The text.
    pub prompt: String,
    /// Its ids.
    pub ids: Vec<u32>,
    /// The continuation; if it contains an end-of-sequence token, that is the last one.
    pub tokens: Vec<u32>,
    /// Its text.
    pub text: String,
    /// The difference between the largest and the second largest logit.
    pub gap: Vec<f64>,
    /// The token with the second largest logit.
    pub runner_up: Vec<u32>,
    /// Error of that gap in PyTorch, by dtype.
    pub gap_error: BTreeMap<String, Vec<f64>>,
}

impl Prompt {
    pub(super) fn fault(&self) -> Option<String> {
        let Self { prompt, ids, tokens, text: _, gap, runner_up, gap_error } = self;
        let steps = tokens.len();
        let lists = [("gap", gap.len()), ("runner_up", runner_up.len())].into_iter();
        let errors = gap_error.iter().map(|(dtype, errors)| (dtype.as_str(), errors.len()));
        if ids.is_empty() || tokens.is_empty() {
            return Some(format!(
                "prompt {prompt:?} has no {}",
                if ids.is_empty() { "ids" } else { "tokens" }
            ));
        }
        let mut all = lists.chain(errors);
        let (list, n) = all.find(|(_, n)| *n != steps)?;
        Some(format!("prompt {prompt:?} has {steps} tokens, but {n} entries in `{list}`"))
    }
}
