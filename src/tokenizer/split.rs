//! How a byte-level BPE splits text into words before it merges: the regular expressions for the values of
//! `tokenizer.ggml.pre`.
//!
//! The value decides the ids of every digit, accent and run of spaces, and a wrong one still gives plausible
//! text. So an unknown value is an error; we never fall back to GPT-2's rules. Sources: `llm_tokenizer_bpe`
//! in llama.cpp's src/llama-vocab.cpp, and the models' own tokenizer.json files, which contain the original
//! expressions.

use serde_json::{Value, json};

/// GPT-2: English clitics, words, numbers, other symbols, each with an optional leading space; then spaces,
/// except the last one, which belongs to the following word.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3: clitics in any case, words with any one leading symbol, at most three digits together.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2: like Llama 3, but with every digit separate.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";
const DEFAULT: &[&str] = &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"];

/// The splitting rules of one vocabulary type.
pub(super) struct Rules {
    /// Applied one after another; each one splits the pieces that the previous one left.
    expressions: &'static [&'static str],
    /// Whether a word that is a token is taken whole, without applying merges.
    pub(super) ignore_merges: bool,
    /// Whether a text starts with BOS if the file does not say.
    pub(super) add_bos: bool,
}

/// The rules for a value of `tokenizer.ggml.pre`.
pub(super) fn rules(pre: &str) -> Option<Rules> {
    let plain = |expressions| Some(Rules { expressions, ignore_merges: false, add_bos: false });
    match pre {
        "gpt-2" | "phi-2" | "olmo" | "mpt" => plain(&[GPT2]),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => plain(&[DIGIT, GPT2]),
        "qwen2" | "stablelm2" => plain(&[QWEN2]),
        "default" => plain(DEFAULT),
        "llama-bpe" | "llama3" | "llama-v3" => {
            Some(Rules { expressions: &[LLAMA3], ignore_merges: true, add_bos: true })
        }
        _ => None,
    }
}

impl Rules {
    /// The rules as the `pre_tokenizer` of a tokenizer.json.
    pub(super) fn to_json(&self) -> Value {
        let split = |expression: &&str| json!({ "type": "Split", "pattern": { "Regex": expression }, "behavior": "Isolated", "invert": false });
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
        let steps: Vec<Value> = self.expressions.iter().map(split).chain([bytes]).collect();
        json!({ "type": "Sequence", "pretokenizers": steps })
    }
}
