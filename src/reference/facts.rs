//! Facts of a model that belong to no single case: its config and tensors as PyTorch reads them,
//! token ids, greedy continuations, sampling distributions.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::probe::Arithmetic;

/// `facts.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Facts {
    /// Version of the format: this reader knows 2. Format 1 did not list the other files.
    pub format: u32,
    /// The other files of the model, by their names: SHA-256 of their bytes.
    pub files: BTreeMap<String, String>,
    /// The config, as transformers understands it.
    pub config: Config,
    /// Every tensor by its Hugging Face name.
    pub tensors: BTreeMap<String, TensorFact>,
}

/// The config, as transformers understands it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[allow(missing_docs, reason = "Hugging Face's own names")]
pub struct Config {
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
    /// Version of the format: this reader knows 1.
    pub format: u32,
    /// Texts and their ids.
    pub encode: Vec<Encode>,
    /// Chats and what the model's template makes of them.
    #[serde(default)]
    pub chat: Vec<Chat>,
}

/// A text, its ids, and what these decode to.
#[derive(Clone, Debug, Deserialize)]
pub struct Encode {
    /// The text.
    pub text: String,
    /// Whether BOS and the like are added.
    pub add_special_tokens: bool,
    /// Its ids.
    pub ids: Vec<u32>,
    /// The text of the ids, special tokens kept.
    pub decoded: String,
}

/// A chat and its rendering.
#[derive(Clone, Debug, Deserialize)]
pub struct Chat {
    /// What was said.
    pub messages: Vec<Message>,
    /// Does the text end where the assistant is to begin?
    pub add_generation_prompt: bool,
    /// What the template makes of it.
    pub text: String,
    /// The ids of that text.
    pub ids: Vec<u32>,
}

/// One turn of a chat.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What they say.
    pub content: String,
}

/// `greedy.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Greedy {
    /// Version of the format: this reader knows 1.
    pub format: u32,
    /// Prompts and how the float64 model goes on.
    pub prompts: Vec<Prompt>,
    /// The same prompts on quantised arithmetics.
    #[serde(default)]
    pub quantized: BTreeMap<Arithmetic, Vec<Prompt>>,
}

impl Facts {
    pub(super) const FORMAT: u32 = 2;

    /// What is wrong with it, in words.
    pub(super) fn fault(&self) -> Option<String> {
        self.tensors.is_empty().then(|| "it lists no tensor".into())
    }
}

impl Tokens {
    pub(super) fn fault(&self) -> Option<String> {
        self.encode.is_empty().then(|| "it holds no text: `encode` is empty".into())
    }
}

impl Greedy {
    pub(super) fn fault(&self) -> Option<String> {
        if self.prompts.is_empty() {
            return Some("it holds no prompt: `prompts` is empty".into());
        }
        if let Some((name, _)) = self.quantized.iter().find(|(_, all)| all.len() != self.prompts.len()) {
            return Some(format!("on {} arithmetic it has other prompts than on dense", name.name()));
        }
        self.prompts.iter().chain(self.quantized.values().flatten()).find_map(Prompt::fault)
    }

    /// The prompts and their continuations on `arithmetic`.
    pub fn on(&self, arithmetic: Arithmetic) -> Option<&[Prompt]> {
        match arithmetic {
            Arithmetic::Dense => Some(&self.prompts),
            quantized => self.quantized.get(&quantized).map(Vec::as_slice),
        }
    }
}

/// A prompt and its greedy continuation. All lists but `ids` have one entry a step.
#[derive(Clone, Debug, Deserialize)]
pub struct Prompt {
    /// The text.
    pub prompt: String,
    /// Its ids.
    pub ids: Vec<u32>,
    /// The continuation; an end-of-sequence token is its last.
    pub tokens: Vec<u32>,
    /// Its text.
    pub text: String,
    /// How far the first logit is above the second.
    pub gap: Vec<f64>,
    /// The second token.
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
        Some(format!("prompt {prompt:?} has {steps} tokens, and {n} entries in `{list}`"))
    }
}

/// `sampling.json`.
#[derive(Deserialize)]
pub(super) struct SamplingFile {
    pub format: u32,
    pub cases: Vec<SamplingCase>,
}

impl SamplingFile {
    pub(super) fn fault(&self) -> Option<String> {
        let keys: BTreeSet<&str> = self.cases.iter().map(|case| case.key.as_str()).collect();
        match keys.len() {
            0 => Some("it holds no case: `cases` is empty".into()),
            n if n != self.cases.len() => Some("two cases have one key".into()),
            _ => None,
        }
    }
}

/// `sampling.json` and `sampling.npz`.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// The logits that all cases start from, `[vocab]`.
    pub logits: Vec<f32>,
    /// What the processors make of them.
    pub cases: Vec<SamplingCase>,
}

/// One setting of the processors and its distribution.
#[derive(Clone, Debug, Deserialize)]
pub struct SamplingCase {
    /// Its name.
    pub key: String,
    /// The setting.
    pub processors: Processors,
    /// The ids that a repetition penalty looks at.
    #[serde(default)]
    pub context: Vec<u32>,
    /// Probabilities, `[vocab]`.
    #[serde(skip)]
    pub probabilities: Vec<f64>,
}

/// Settings of transformers' logits processors; absent ones are not applied.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[allow(missing_docs, reason = "transformers' own names")]
pub struct Processors {
    pub temperature: Option<f64>,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
    pub min_p: Option<f64>,
    pub repetition_penalty: Option<f64>,
    #[serde(default)]
    pub sequence_bias: Option<Vec<([u32; 1], f64)>>,
}
