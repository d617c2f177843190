//! The families of models, whose files differ in names and in what they leave unsaid.

use super::RopeLayout;

/// A family: what transformers calls a model type and llama.cpp an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 1 to 3, and what has the same structure.
    Llama,
    /// Qwen 2 and 2.5: q, k and v have biases.
    Qwen2,
    /// Qwen 3: each head of q and k is normed before it is rotated.
    Qwen3,
    /// Mistral 7B and what has the same structure: a query sees a window of keys.
    Mistral,
    /// Gemma 2: norms before and after each branch that multiply by 1 + w, a scaled embedding, softcaps, GELU,
    /// and a window in every other layer.
    Gemma2,
    /// Gemma 3, text only: as Gemma 2 without softcaps, with Qwen 3's norms, and with another rotation in the
    /// layers that have a window.
    Gemma3,
}

/// The function of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x · σ(x).
    Silu,
    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))), `gelu_pytorch_tanh` in config.json.
    GeluTanh,
}

impl Family {
    const ALL: [Self; 6] = [Self::Llama, Self::Qwen2, Self::Mistral, Self::Qwen3, Self::Gemma2, Self::Gemma3];

    /// The family with this [`Family::name`].
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// The family with this architecture in GGUF metadata. llama.cpp's converter calls a Mistral `llama`.
    pub(super) fn of_gguf(architecture: &str) -> Option<Self> {
        let own = |family: &Self| family.architecture() == architecture && *family != Self::Mistral;
        Self::ALL.into_iter().find(own)
    }

    /// The family with this [`Family::class`].
    pub(super) fn of_class(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.class() == class)
    }

    /// `model_type` in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Mistral => "mistral",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
        }
    }

    /// The architecture in GGUF metadata, and the first part of its keys there.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Self::Llama | Self::Mistral => "llama",
            Self::Gemma3 => "gemma3",
            Self::Qwen2 | Self::Qwen3 | Self::Gemma2 => self.name(),
        }
    }

    /// transformers' class, which config.json lists in `architectures`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Gemma2 => "Gemma2ForCausalLM",
            Self::Gemma3 => "Gemma3ForCausalLM",
        }
    }

    /// Whether it is a Gemma.
    pub(super) fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }

    /// Whether each head of q and k is normed before it is rotated.
    pub fn norms_heads(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Gemma3)
    }

    /// Whether the outputs of attention and feed-forward network are normed before they are added.
    pub fn norms_branches(self) -> bool {
        self.is_gemma()
    }

    /// The number that is added to the weight of every norm.
    pub fn norm_offset(self) -> f64 {
        if self.is_gemma() { 1.0 } else { 0.0 }
    }

    /// The function of the gate.
    pub fn activation(self) -> Activation {
        if self.is_gemma() { Activation::GeluTanh } else { Activation::Silu }
    }

    /// The row order of q and k in GGUF files: llama.cpp's converter reorders them for `llama` only.
    pub fn gguf_layout(self) -> RopeLayout {
        match self {
            Self::Llama | Self::Mistral => RopeLayout::Interleaved,
            Self::Qwen2 | Self::Qwen3 | Self::Gemma2 | Self::Gemma3 => RopeLayout::HalfSplit,
        }
    }

    /// The tokens that start and end a text, if config.json does not contain them: transformers' defaults.
    pub(super) fn default_tokens(self) -> [Option<u32>; 2] {
        match self {
            Self::Llama | Self::Mistral => [Some(1), Some(2)],
            Self::Qwen2 | Self::Qwen3 => [None, None],
            Self::Gemma2 | Self::Gemma3 => [Some(2), Some(1)],
        }
    }

    /// The width of a head if config.json does not contain it: transformers' default. `None` means that heads
    /// divide the width of the model.
    pub(super) fn default_head_dim(self) -> Option<usize> {
        match self {
            Self::Llama | Self::Mistral | Self::Qwen2 => None,
            Self::Qwen3 => Some(128),
            Self::Gemma2 | Self::Gemma3 => Some(256),
        }
    }

    /// Whether the output matrix is the embedding's, if config.json does not say it.
    pub(super) fn is_tied_by_default(self) -> bool {
        self.is_gemma()
    }

    /// Whether transformers applies `sliding_window` only if `use_sliding_window` is true.
    pub(super) fn switches_windows(self) -> bool {
        matches!(self, Self::Qwen2 | Self::Qwen3)
    }

    /// Whether `sliding_window` is a number of its config.
    pub(super) fn has_a_window(self) -> bool {
        self == Self::Mistral || self.is_gemma()
    }

    /// `"llama", "qwen2"`: the names of all families.
    pub(super) fn names() -> String {
        Self::ALL.map(|family| format!("\"{}\"", family.name())).join(", ")
    }

    /// `"llama", "qwen2"`: the architectures of all families in GGUF metadata.
    pub(super) fn architectures() -> String {
        let own = Self::ALL.into_iter().filter(|family| *family != Self::Mistral);
        own.map(|family| format!("\"{}\"", family.architecture())).collect::<Vec<_>>().join(", ")
    }
}
