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
/// Qwen 3.5: like Qwen 2, with combining marks as letters.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Mistral Nemo: a word begins anew where a capital follows a small letter.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Falcon: punctuation, then GPT-2, then groups of three digits.
const FALCON: &[&str] = &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"];
/// DeepSeek Coder: lines, words, punctuation and digits, each with an optional space before it; runs of Chinese,
/// Japanese and Korean characters.
const DEEPSEEK_CODER: &[&str] = &[
    r"[\r\n]",
    r"\s?\p{L}+",
    r"\s?\p{P}+",
    r"[\x{4e00}-\x{9fa5}\x{0800}-\x{4e00}\x{ac00}-\x{d7ff}]+",
    r"\p{N}",
];
/// DeepSeek LLM: as before, but only letters of alphabets with capitals, only some punctuation, and whole numbers.
const DEEPSEEK_LLM: &[&str] = &[
    r"[\r\n]",
    r"\s?[\p{Lu}\p{Ll}\p{Lt}&&[^ªºĸƻǀ-ǃʔ]]+",
    r"\s?[!-/:-~！-／：-～‘-‟\x{3000}-。]+",
    r"\s+$",
    r"[\x{4e00}-\x{9fa5}\x{0800}-\x{4e00}\x{ac00}-\x{d7ff}]+",
    r"\p{N}+",
];
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
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
            plain(&[DIGIT, GPT2])
        }
        "qwen2" | "stablelm2" | "deepseek-r1-qwen" => plain(&[QWEN2]),
        "qwen35" => plain(&[QWEN35]),
        "falcon" => plain(FALCON),
        "deepseek-coder" => plain(DEEPSEEK_CODER),
        "deepseek-llm" => plain(DEEPSEEK_LLM),
        "default" => plain(DEFAULT),
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" => {
            Some(Rules { expressions: &[LLAMA3], ignore_merges: true, add_bos: true })
        }
        "tekken" => Some(Rules { expressions: &[TEKKEN], ignore_merges: true, add_bos: true }),
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
