//! How a byte-level BPE cuts text into words before it merges: the regular expressions behind the
//! names that `tokenizer.ggml.pre` knows.
//!
//! The name decides the ids of every digit, accent and run of blanks, and a wrong one still gives
//! plausible text. So a name that is not here is an error, never GPT-2's splitting instead.
//! Source: `llm_tokenizer_bpe` in llama.cpp's src/llama-vocab.cpp, and the tokenizer.json files of
//! the models themselves, from which those expressions come.

use serde_json::{Value, json};

/// English clitics, words, numbers, other signs, each with one blank in front; then blanks, leaving
/// the last one to the word that follows.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3: clitics in any case, any one sign may lead a word, at most three digits together.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2: Llama 3's, with every digit alone.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";
const DEFAULT: &[&str] = &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"];

/// What a name means.
pub(super) struct Rules {
    /// Applied one after the other; each cuts the pieces that the one before has left.
    expressions: &'static [&'static str],
    /// Is a word that is a token taken whole, whatever the merges would make of it?
    pub(super) ignore_merges: bool,
    /// Does a text start with BOS unless the file says otherwise?
    pub(super) add_bos: bool,
}

/// The rules behind a name of `tokenizer.ggml.pre`.
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
    /// As the `pre_tokenizer` of a tokenizer.json.
    pub(super) fn to_json(&self) -> Value {
        let split = |expression: &&str| json!({ "type": "Split", "pattern": { "Regex": expression }, "behavior": "Isolated", "invert": false });
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
        let steps: Vec<Value> = self.expressions.iter().map(split).chain([bytes]).collect();
        json!({ "type": "Sequence", "pretokenizers": steps })
    }
}
