//! Facts of a model that belong to no single case: its config and tensors as PyTorch reads them,
//! token ids, greedy continuations, sampling distributions.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::source::{REGENERATE, Source};
use super::{Reference, npz};
use crate::probe::Arithmetic;
use crate::{Error, Result};

/// The name of a case that is no folder below its source.
const ITSELF: &str = ".";

/// All references of one model.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Where the files lie.
    pub source: Source,
    /// Names of the cases, alphabetical; `.` where the source is one itself.
    pub cases: Vec<String>,
}

impl Fixture {
    /// The references in `source`.
    ///
    /// # Errors
    /// No case in it: a fixture without cases proves nothing.
    pub fn open(source: Source) -> Result<Self> {
        let cases = match source.read("manifest.json")? {
            Some(_) => vec![ITSELF.to_owned()],
            None => source.cases()?,
        };
        if cases.is_empty() {
            return Err(Error::input(format!("{}: no cases", source.name_of("")), REGENERATE));
        }
        Ok(Self { source, cases })
    }

    /// Case `name`.
    pub fn case(&self, name: &str) -> Result<Reference> {
        if !self.cases.iter().any(|case| case == name) {
            let hint = format!("it has {}", self.cases.join(", "));
            return Err(Error::input(format!("{}: no case `{name}`", self.source.name_of("")), hint));
        }
        Reference::read(&self.source, if name == ITSELF { "" } else { name })
    }

    /// Does it hold facts of the model as a whole? One of their files is enough to demand them all.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub fn has_facts(&self) -> Result<bool> {
        for file in ["facts.json", "tokens.json", "greedy.json", "sampling.json"] {
            if self.source.read(file)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Config and tensors.
    pub fn facts(&self) -> Result<Facts> {
        self.source.json("facts.json")
    }

    /// Token ids of texts.
    pub fn tokens(&self) -> Result<Tokens> {
        self.source.json("tokens.json")
    }

    /// Greedy continuations.
    pub fn greedy(&self) -> Result<Greedy> {
        self.source.json("greedy.json")
    }

    /// Sampling distributions.
    pub fn sampling(&self) -> Result<Sampling> {
        #[derive(Deserialize)]
        struct File {
            cases: Vec<SamplingCase>,
        }
        let file: File = self.source.json("sampling.json")?;
        let name = self.source.name_of("sampling.npz");
        let mut arrays = npz::Archive::open(self.source.demand("sampling.npz")?, name)?;
        let logits: Vec<f32> = arrays.f32("logits")?.into_iter().map(|v| v as f32).collect();
        let mut cases = Vec::new();
        for mut case in file.cases {
            case.probabilities = arrays.f64(&case.key, &[logits.len()])?;
            cases.push(case);
        }
        arrays.all_read()?;
        Ok(Sampling { logits, cases })
    }
}

/// `facts.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Facts {
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
    /// Prompts and how the float64 model goes on.
    pub prompts: Vec<Prompt>,
    /// The same prompts on quantised arithmetics.
    #[serde(default)]
    pub quantized: BTreeMap<Arithmetic, Vec<Prompt>>,
}

impl Greedy {
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
