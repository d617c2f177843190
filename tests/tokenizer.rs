//! Encoding text to ids, and decoding ids at once or one by one. Checkpoint 00B judges real vocabularies.
//! These tests check the rules with small ones.

use std::collections::HashMap;
use std::path::Path;

use proptest::prelude::*;
use rbees_check::tokenizer::Tokenizer;
use rbees_check::weights::gguf::Gguf;
use rstest::rstest;
use serde_json::{Value, json};

type Metadata = HashMap<String, Value>;

fn metadata(entries: &[(&str, Value)]) -> Metadata {
    entries.iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value.clone())).collect()
}

fn build(metadata: &Metadata) -> Tokenizer {
    Tokenizer::from_gguf(&|key| metadata.get(key).cloned(), "test").unwrap()
}

/// The tokens of all 256 bytes in GPT-2's spelling, followed by `more`.
fn byte_tokens(more: &[&str]) -> Vec<String> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut spare = 0x100;
    let mut spell = |byte| {
        if printable(byte) {
            return char::from_u32(byte).unwrap().to_string();
        }
        spare += 1;
        char::from_u32(spare - 1).unwrap().to_string()
    };
    (0..256).map(&mut spell).chain(more.iter().map(|token| token.to_string())).collect()
}

/// A byte-level BPE vocabulary. The tokens from id 256 on are `more`, with their types.
fn byte_level(pre: &str, more: &[(&str, i32)], merges: &[&str]) -> Metadata {
    let texts: Vec<&str> = more.iter().map(|(token, _)| *token).collect();
    let types: Vec<i32> = [1; 256].into_iter().chain(more.iter().map(|(_, code)| *code)).collect();
    metadata(&[
        ("model", json!("gpt2")),
        ("pre", json!(pre)),
        ("tokens", json!(byte_tokens(&texts))),
        ("token_type", json!(types)),
        ("merges", json!(merges)),
        ("add_bos_token", json!(false)),
    ])
}

/// A SentencePiece vocabulary: `<unk>`, `<s>`, `</s>`, the bytes from id 3 on, and from id 259 on `tokens`
/// with their scores.
fn sentence_piece(tokens: &[(&str, f64)]) -> Metadata {
    let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6));
    let first = [("<unk>", 2), ("<s>", 3), ("</s>", 3)].map(|(token, code)| (token.to_owned(), 0.0, code));
    let rest = tokens.iter().map(|(token, score)| (token.to_string(), *score, 1));
    let all: Vec<(String, f64, i32)> = first.into_iter().chain(bytes).chain(rest).collect();
    metadata(&[
        ("model", json!("llama")),
        ("tokens", all.iter().map(|(token, ..)| json!(token)).collect()),
        ("scores", all.iter().map(|(_, score, _)| json!(score)).collect()),
        ("token_type", all.iter().map(|(.., code)| json!(code)).collect()),
    ])
}

fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    tokenizer.encode(text, false).unwrap().into_iter().map(|id| tokenizer.token(id).unwrap()).collect()
}

#[rstest]
#[case::gpt2_takes_all_digits("gpt-2", "1234", &["1234"])]
#[case::smollm_takes_each_digit("smollm", "1234", &["1", "2", "3", "4"])]
#[case::llama3_takes_three_digits("llama-bpe", "1234", &["123", "4"])]
#[case::qwen_takes_each_digit("qwen2", "1234", &["1", "2", "3", "4"])]
#[case::default_takes_three_digits("default", "1234", &["123", "4"])]
#[case::gpt2_joins_a_space_to_digits("gpt-2", " 12", &["Ġ12"])]
#[case::smollm_splits_a_space_from_digits("smollm", " 12", &["Ġ", "1", "2"])]
fn digits_are_grouped_as_the_vocabulary_was_trained(
    #[case] pre: &str,
    #[case] text: &str,
    #[case] want: &[&str],
) {
    // Merges for every group of digits that can occur in the cases.
    let more = ["12", "123", "1234", "Ġ12"].map(|token| (token, 1));
    let tokenizer = build(&byte_level(pre, &more, &["1 2", "12 3", "123 4", "Ġ 12"]));
    assert_eq!(pieces(&tokenizer, text), want);
}

#[test]
fn fractions_and_superscripts_are_split_like_digits() {
    // '²' and '½' are numbers in Unicode, though not decimal digits.
    let merges = ["Â ²", "Â ½", "Â² Â½"];
    let more = ["Â²", "Â½", "Â²Â½"].map(|token| (token, 1));
    assert_eq!(pieces(&build(&byte_level("gpt-2", &more, &merges)), "²½"), ["Â²Â½"]);
    assert_eq!(pieces(&build(&byte_level("smollm", &more, &merges)), "²½"), ["Â²", "Â½"]);
}

#[test]
fn llama_3_splits_clitics_in_any_letter_case_and_gpt_2_only_in_lower_case() {
    let more = ["'s", "'S"].map(|token| (token, 1));
    assert_eq!(pieces(&build(&byte_level("llama-bpe", &more, &["' S", "' s"])), "A'S"), ["A", "'S"]);
    assert_eq!(pieces(&build(&byte_level("gpt-2", &more, &["' S", "' s"])), "A'S"), ["A", "'", "S"]);
}

#[test]
fn llama_3_encodes_a_word_that_is_a_token_without_merges() {
    // No merge produces `abc`.
    let more = [("abc", 1)];
    assert_eq!(pieces(&build(&byte_level("llama-bpe", &more, &[])), "abc"), ["abc"]);
    assert_eq!(pieces(&build(&byte_level("gpt-2", &more, &[])), "abc"), ["a", "b", "c"]);
}

#[test]
fn control_tokens_are_encoded_from_text_and_skipped_when_decoding_on_request() {
    let tokenizer = build(&byte_level("gpt-2", &[("<|end|>", 3), ("<tag>", 4)], &[]));
    let ids = tokenizer.encode("a<|end|><tag>b", true).unwrap();
    assert_eq!(ids, [97, 256, 257, 98]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "a<|end|><tag>b");
    // A user-defined token is text. A control token is not.
    assert_eq!(tokenizer.decode_skipping_special(&ids).unwrap(), "a<tag>b");
    assert!(tokenizer.is_special(256) && !tokenizer.is_special(257));
}

#[rstest]
#[case::smollm_adds_nothing("smollm", &[], &[97])]
#[case::llama_3_adds_bos("llama-bpe", &[("bos_token_id", json!(256))], &[256, 97])]
#[case::llama_3_with_add_bos_false_adds_nothing("llama-bpe", &[("add_bos_token", json!(false))], &[97])]
#[case::smollm_with_both_flags_adds_both("smollm", &[("add_bos_token", json!(true)), ("bos_token_id", json!(256)), ("add_eos_token", json!(true)), ("eos_token_id", json!(257))], &[256, 97, 257])]
fn bos_and_eos_are_added_according_to_the_metadata(
    #[case] pre: &str,
    #[case] extra: &[(&str, Value)],
    #[case] want: &[u32],
) {
    let mut all = byte_level(pre, &[("<s>", 3), ("</s>", 3)], &[]);
    all.remove("tokenizer.ggml.add_bos_token");
    all.extend(metadata(extra));
    let tokenizer = build(&all);
    assert_eq!(tokenizer.encode("a", true).unwrap(), want);
    assert_eq!(tokenizer.encode("a", false).unwrap(), [97]);
}

#[test]
fn sentence_piece_merges_the_best_score_first() {
    let tokens =
        [("▁", -9.0), ("a", -9.0), ("b", -9.0), ("c", -9.0), ("ab", -2.0), ("bc", -1.0), ("▁a", -3.0)];
    let tokenizer = build(&sentence_piece(&tokens));
    // `bc` has a better score than `ab`. After that merge only `▁a` is possible.
    assert_eq!(pieces(&tokenizer, "abc"), ["▁a", "bc"]);
    assert_eq!(tokenizer.encode("abc", true).unwrap()[0], 1);
}

#[test]
fn sentence_piece_encodes_unknown_characters_as_bytes_and_decodes_them() {
    let tokenizer = build(&sentence_piece(&[("▁", -1.0), ("a", -1.0)]));
    assert_eq!(pieces(&tokenizer, "aé\n"), ["▁", "a", "<0xC3>", "<0xA9>", "<0x0A>"]);
    let ids = tokenizer.encode("aé\n", false).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "aé\n");
}

#[test]
fn sentence_piece_adds_a_space_prefix_and_removes_it_when_decoding() {
    let mut vocabulary = sentence_piece(&[("▁", -1.0), ("a", -1.0)]);
    let tokenizer = build(&vocabulary);
    for text in ["a", " a", "  a", "a a ", ""] {
        let ids = tokenizer.encode(text, false).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    // The prefix is also added after a special token, where a new piece of text starts.
    assert_eq!(pieces(&tokenizer, "a</s>a"), ["▁", "a", "</s>", "▁", "a"]);
    vocabulary.extend(metadata(&[("add_space_prefix", json!(false))]));
    assert_eq!(pieces(&build(&vocabulary), "a"), ["a"]);
}

#[test]
fn text_that_spells_a_byte_token_is_not_encoded_as_that_token() {
    let letters = ["▁", "<", "0", "x", "A", ">", "<0x0", "A>"].map(|token| (token, -1.0));
    let tokenizer = build(&sentence_piece(&letters));
    assert!(!pieces(&tokenizer, "<0x0A>").contains(&"<0x0A>".to_owned()));
}

#[test]
fn decoding_an_id_without_a_token_is_an_error() {
    let tokenizer = build(&byte_level("gpt-2", &[], &[]));
    assert_eq!(tokenizer.vocab_size(), 256);
    assert!(
        tokenizer.decode(&[97, 256]).unwrap_err().to_string().contains("id 256 is not in the vocabulary")
    );
    assert!(tokenizer.stream(false).push(256).is_err());
}

#[test]
fn a_stream_outputs_only_complete_characters() {
    let tokenizer = build(&byte_level("gpt-2", &[], &[]));
    let mut stream = tokenizer.stream(false);
    // In this vocabulary, byte n has id n.
    let given: Vec<String> = "é🦙x".bytes().map(|byte| stream.push(byte.into()).unwrap()).collect();
    assert_eq!(given, ["", "é", "", "", "", "🦙", "x"]);
    assert_eq!(stream.finish().unwrap(), "");
}

#[test]
fn a_stream_that_ends_inside_a_character_outputs_a_replacement_character() {
    let tokenizer = build(&byte_level("gpt-2", &[], &[]));
    let mut stream = tokenizer.stream(false);
    assert_eq!(stream.push(0xc3).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
    let mut stream = tokenizer.stream(skip_special);
    let mut text: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    text += &stream.finish().unwrap();
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random ids give broken characters, spaces, special tokens and empty tokens in any order.
    #[test]
    fn streamed_pieces_concatenate_to_the_text_decoded_at_once(
        bytes in prop::collection::vec(prop_oneof![Just(0xe2u32), Just(0x82), Just(0xac), 0u32..262], 0..40),
        mixed in prop::collection::vec(prop_oneof![3 => 259u32..265, 1 => 0u32..3, 1 => 0xc0u32..0xcf, 1 => 0x83u32..0xb0], 0..40),
        skip in any::<bool>(),
    ) {
        let more = [("<|end|>", 3), ("Ã©", 1), ("©x", 1), ("<tag>", 4), ("", 1), ("ï¿½", 1)];
        let byte_level = build(&byte_level("gpt-2", &more, &[]));
        let tokens = ["▁", "▁a", "b", "▁▁", "é", ""].map(|token| (token, -1.0));
        let sentence_piece = build(&sentence_piece(&tokens));
        for (tokenizer, ids) in [(&byte_level, &bytes), (&sentence_piece, &mixed)] {
            let whole = if skip { tokenizer.decode_skipping_special(ids) } else { tokenizer.decode(ids) };
            prop_assert_eq!(streamed(tokenizer, ids, skip), whole.unwrap(), "{:?}", ids);
        }
    }

    #[test]
    fn encoding_then_decoding_returns_the_text(text in "[a-c é½🦙\n'0-9]{0,30}") {
        for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2", "default"] {
            let tokenizer = build(&byte_level(pre, &[("ab", 1)], &["a b"]));
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text, false).unwrap()).unwrap(), text.as_str());
        }
        let tokenizer = build(&sentence_piece(&[("▁", -1.0), ("a", -1.0), ("b", -2.0), ("ab", -1.5)]));
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text, false).unwrap()).unwrap(), text);
    }
}

/// The metadata of tiny-llama2's GGUF file with the changes of one variant of `scripts/spm_vectors.py`.
fn changed(file: &Gguf, changes: &Value, key: &str) -> Option<Value> {
    let mut value = changes.get(key).cloned().or_else(|| file.metadata(key))?;
    let defined = changes["user_defined"].as_object();
    for (id, token) in defined.into_iter().flatten() {
        let id: usize = id.parse().unwrap();
        match key {
            "tokenizer.ggml.tokens" => value[id] = token.clone(),
            "tokenizer.ggml.token_type" => value[id] = json!(4),
            _ => {}
        }
    }
    if key == "tokenizer.ggml.scores" && changes.get("scores").is_some() {
        let count = value.as_array().unwrap().len() as i64;
        value = (0..count).map(|id| json!(-(id / 8) as f64)).collect();
    }
    Some(value)
}

/// SentencePiece vocabularies as Llama 2's and Gemma's files have them: with and without a space in front, with tokens
/// that are matched before anything else, with equal scores, with bytes for unknown characters.
#[rstest]
#[case::of_llama_2("as_llama_2")]
#[case::without_a_space_in_front("no_space_in_front")]
#[case::of_gemma("as_gemma")]
#[case::with_equal_scores("equal_scores")]
#[case::without_bos("no_bos")]
fn a_sentence_piece_vocabulary_gives_the_ids_of_llama_cpp(#[case] variant: &str) {
    let stored: Value = serde_json::from_str(include_str!("spm_vectors.json")).unwrap();
    let variant = &stored["variants"][variant];
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-llama2/gguf/tiny-llama2-f16.gguf");
    let file = Gguf::open(Path::new(file)).unwrap();
    let tokenizer = Tokenizer::from_gguf(&|key| changed(&file, &variant["changed"], key), "test").unwrap();
    let texts = stored["texts"].as_array().unwrap();
    assert_eq!(variant["ids"].as_array().unwrap().len(), texts.len());
    let mut wrong = Vec::new();
    for (text, want) in texts.iter().zip(variant["ids"].as_array().unwrap()) {
        let got = json!(tokenizer.encode(text.as_str().unwrap(), true).unwrap());
        if got != *want {
            wrong.push(format!("{text}\n  got  {got}\n  want {want}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} texts:\n{}", wrong.len(), texts.len(), wrong.join("\n"));
}
