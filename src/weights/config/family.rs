//! The families of models, whose files differ in names and in what they leave unsaid.

use super::RopeLayout;

/// A family: what transformers calls a model type and llama.cpp an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Llama 1 to 3, and what has the same structure.
    Llama,
    /// Qwen 2 and 2.5: q, k and v have biases.
    Qwen2,
    /// Mistral 7B and what has the same structure: a query sees a window of keys.
    Mistral,
}

impl Family {
    const ALL: [Self; 3] = [Self::Llama, Self::Qwen2, Self::Mistral];

    /// The family with this [`Family::name`].
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// The family with this architecture in GGUF metadata. llama.cpp's converter calls a Mistral `llama`.
    pub(super) fn of_gguf(architecture: &str) -> Option<Self> {
        Self::named(architecture).filter(|family| *family != Self::Mistral)
    }

    /// The family with this [`Family::class`].
    pub(super) fn of_class(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.class() == class)
    }

    /// `model_type` in config.json, the architecture in GGUF metadata, and the first part of its keys there.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Mistral => "mistral",
        }
    }

    /// transformers' class, which config.json lists in `architectures`.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Mistral => "MistralForCausalLM",
        }
    }

    /// The row order of q and k in GGUF files: llama.cpp's converter reorders them for `llama` only.
    pub(super) fn gguf_layout(self) -> RopeLayout {
        match self {
            Self::Llama | Self::Mistral => RopeLayout::Interleaved,
            Self::Qwen2 => RopeLayout::HalfSplit,
        }
    }

    /// The tokens that start and end a text, if config.json does not contain them: transformers' defaults.
    pub(super) fn default_tokens(self) -> [Option<u32>; 2] {
        match self {
            Self::Llama | Self::Mistral => [Some(1), Some(2)],
            Self::Qwen2 => [None, None],
        }
    }

    /// Whether transformers applies `sliding_window` only if `use_sliding_window` is true.
    pub(super) fn switches_windows(self) -> bool {
        match self {
            Self::Llama | Self::Mistral => false,
            Self::Qwen2 => true,
        }
    }

    /// Whether `sliding_window` is a number of its config.
    pub(super) fn has_a_window(self) -> bool {
        self == Self::Mistral
    }

    /// `"llama", "qwen2"`: the names of all families.
    pub(super) fn names() -> String {
        Self::ALL.map(|family| format!("\"{}\"", family.name())).join(", ")
    }
}
