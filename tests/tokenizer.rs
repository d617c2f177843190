//! Text becomes the ids that the model was trained on, and ids become text again, at once or one
//! by one. Real vocabularies are judged by checkpoint 00B; here small ones show the rules.

use std::collections::HashMap;

use proptest::prelude::*;
use rbees_check::tokenizer::Tokenizer;
use rstest::rstest;
use serde_json::{Value, json};

type Metadata = HashMap<String, Value>;

fn metadata(entries: &[(&str, Value)]) -> Metadata {
    entries.iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value.clone())).collect()
}

fn build(metadata: &Metadata) -> Tokenizer {
    Tokenizer::from_gguf(&|key| metadata.get(key).cloned(), "test").unwrap()
}

/// All 256 bytes in GPT-2's spelling, then `more`.
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

/// A byte-level BPE; the tokens from 256 on are `more`, of the types given with them.
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

/// A SentencePiece vocabulary: `<unk>`, `<s>`, `</s>`, the bytes from 3 on, then tokens from 259 on
/// with a score each.
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
#[case::gpt2_keeps_a_blank_before_digits("gpt-2", " 12", &["Ġ12"])]
#[case::smollm_parts_a_blank_from_digits("smollm", " 12", &["Ġ", "1", "2"])]
fn digits_are_grouped_as_the_vocabulary_was_trained(
    #[case] pre: &str,
    #[case] text: &str,
    #[case] want: &[&str],
) {
    // Merges for every group of digits that the cases could make.
    let more = ["12", "123", "1234", "Ġ12"].map(|token| (token, 1));
    let tokenizer = build(&byte_level(pre, &more, &["1 2", "12 3", "123 4", "Ġ 12"]));
    assert_eq!(pieces(&tokenizer, text), want);
}

#[test]
fn fractions_and_raised_digits_are_numbers_too() {
    // '²' and '½' are numbers in Unicode, though not decimal digits.
    let merges = ["Â ²", "Â ½", "Â² Â½"];
    let more = ["Â²", "Â½", "Â²Â½"].map(|token| (token, 1));
    assert_eq!(pieces(&build(&byte_level("gpt-2", &more, &merges)), "²½"), ["Â²Â½"]);
    assert_eq!(pieces(&build(&byte_level("smollm", &more, &merges)), "²½"), ["Â²", "Â½"]);
}

#[test]
fn clitics_split_in_any_case_only_where_the_vocabulary_did() {
    let more = ["'s", "'S"].map(|token| (token, 1));
    assert_eq!(pieces(&build(&byte_level("llama-bpe", &more, &["' S", "' s"])), "A'S"), ["A", "'S"]);
    assert_eq!(pieces(&build(&byte_level("gpt-2", &more, &["' S", "' s"])), "A'S"), ["A", "'", "S"]);
}

#[test]
fn llama_3_takes_a_word_that_is_a_token_whole() {
    // No merges lead to `abc`.
    let more = [("abc", 1)];
    assert_eq!(pieces(&build(&byte_level("llama-bpe", &more, &[])), "abc"), ["abc"]);
    assert_eq!(pieces(&build(&byte_level("gpt-2", &more, &[])), "abc"), ["a", "b", "c"]);
}

#[test]
fn control_tokens_are_found_in_text_and_left_out_on_request() {
    let tokenizer = build(&byte_level("gpt-2", &[("<|end|>", 3), ("<tag>", 4)], &[]));
    let ids = tokenizer.encode("a<|end|><tag>b", true).unwrap();
    assert_eq!(ids, [97, 256, 257, 98]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "a<|end|><tag>b");
    // A user-defined token stands for text, a control token does not.
    assert_eq!(tokenizer.decode_skipping_special(&ids).unwrap(), "a<tag>b");
    assert!(tokenizer.is_special(256) && !tokenizer.is_special(257));
}

#[rstest]
#[case::smollm_adds_nothing("smollm", &[], &[97])]
#[case::llama_3_adds_bos("llama-bpe", &[("bos_token_id", json!(256))], &[256, 97])]
#[case::unless_told_not_to("llama-bpe", &[("add_bos_token", json!(false))], &[97])]
#[case::both_on_request("smollm", &[("add_bos_token", json!(true)), ("bos_token_id", json!(256)), ("add_eos_token", json!(true)), ("eos_token_id", json!(257))], &[256, 97, 257])]
fn bos_and_eos_are_added_as_the_file_says(
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
    // `bc` beats `ab`, and then `▁a` is all that is left to make.
    assert_eq!(pieces(&tokenizer, "abc"), ["▁a", "bc"]);
    assert_eq!(tokenizer.encode("abc", true).unwrap()[0], 1);
}

#[test]
fn sentence_piece_falls_back_to_bytes_and_back() {
    let tokenizer = build(&sentence_piece(&[("▁", -1.0), ("a", -1.0)]));
    assert_eq!(pieces(&tokenizer, "aé\n"), ["▁", "a", "<0xC3>", "<0xA9>", "<0x0A>"]);
    let ids = tokenizer.encode("aé\n", false).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "aé\n");
}

#[test]
fn sentence_piece_puts_a_blank_in_front_and_takes_one_away() {
    let mut vocabulary = sentence_piece(&[("▁", -1.0), ("a", -1.0)]);
    let tokenizer = build(&vocabulary);
    for text in ["a", " a", "  a", "a a ", ""] {
        let ids = tokenizer.encode(text, false).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    // The blank comes after a special token too: the text starts anew there.
    assert_eq!(pieces(&tokenizer, "a</s>a"), ["▁", "a", "</s>", "▁", "a"]);
    vocabulary.extend(metadata(&[("add_space_prefix", json!(false))]));
    assert_eq!(pieces(&build(&vocabulary), "a"), ["a"]);
}

#[test]
fn text_that_spells_a_byte_token_is_no_byte() {
    let letters = ["▁", "<", "0", "x", "A", ">", "<0x0", "A>"].map(|token| (token, -1.0));
    let tokenizer = build(&sentence_piece(&letters));
    assert!(!pieces(&tokenizer, "<0x0A>").contains(&"<0x0A>".to_owned()));
}

#[test]
fn an_id_without_a_token_is_an_error_and_not_left_out() {
    let tokenizer = build(&byte_level("gpt-2", &[], &[]));
    assert_eq!(tokenizer.vocab_size(), 256);
    assert!(
        tokenizer.decode(&[97, 256]).unwrap_err().to_string().contains("id 256 is not in the vocabulary")
    );
    assert!(tokenizer.stream(false).push(256).is_err());
}

#[test]
fn a_stream_never_splits_a_character() {
    let tokenizer = build(&byte_level("gpt-2", &[], &[]));
    let mut stream = tokenizer.stream(false);
    // Byte n has id n here.
    let given: Vec<String> = "é🦙x".bytes().map(|byte| stream.push(byte.into()).unwrap()).collect();
    assert_eq!(given, ["", "é", "", "", "", "🦙", "x"]);
    assert_eq!(stream.finish().unwrap(), "");
}

#[test]
fn a_stream_that_ends_inside_a_character_says_so() {
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

    /// Ids at random: broken characters, blanks, special and empty tokens in any order.
    #[test]
    fn streamed_pieces_are_together_what_decoding_at_once_gives(
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
    fn text_survives_the_way_to_ids_and_back(text in "[a-c é½🦙\n'0-9]{0,30}") {
        for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2", "default"] {
            let tokenizer = build(&byte_level(pre, &[("ab", 1)], &["a b"]));
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text, false).unwrap()).unwrap(), text.as_str());
        }
        let tokenizer = build(&sentence_piece(&[("▁", -1.0), ("a", -1.0), ("b", -2.0), ("ab", -1.5)]));
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text, false).unwrap()).unwrap(), text);
    }
}
