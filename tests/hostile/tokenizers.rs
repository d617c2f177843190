//! `tokenizer.json`, read by a command that needs text.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const GENERATE: &[&str] = &["generate", "the king", "--unchecked", "--model", "."];

/// tiny-llama with a changed tokenizer.
fn changed(pointer: &str, value: Value) -> TempDir {
    let folder = linked(&["tokenizer.json"]);
    let mut json: Value =
        serde_json::from_slice(&fs::read(fixtures("tiny-llama/tokenizer.json")).unwrap()).unwrap();
    let (above, key) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(above).unwrap().as_object_mut().unwrap().insert(key.into(), value);
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    folder
}

fn replace(pattern: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
}

#[rstest]
#[case::fixed_length_0("/pre_tokenizer", json!({"type": "FixedLength", "length": 0}), "\"FixedLength\" is not supported")]
#[case::precompiled("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "\"Precompiled\" is not supported")]
#[case::unknown_part("/normalizer", json!({"type": "\u{1b}[2J"}), "\\u{1b}[2J")]
#[case::long_part("/normalizer", json!({"type": "x".repeat(200_000)}), "xxx")]
#[case::replace_nothing("/normalizer", replace("", "x"), "pattern is empty")]
#[case::doubling("/normalizer", json!({"type": "Sequence", "normalizers": vec![replace("a", "aa"); 40]}), "times longer")]
#[case::prepend("/normalizer", json!({"type": "Prepend", "prepend": "x".repeat(1 << 20)}), "prepend is longer than 64 bytes")]
#[case::many_parts("/normalizer", json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFC"}); 100]}), "more than 64")]
#[case::strip("/decoder", json!({"type": "Strip", "content": " ", "start": 9, "stop": 9}), "only a stop of 0")]
#[case::template("/post_processor", json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}], "pair": [], "special_tokens": {}}), "\"[X]\" is not one of its special_tokens")]
#[case::part_is_a_list("/pre_tokenizer", json!([]), "pre_tokenizer is not an object")]
#[case::expression("/pre_tokenizer", json!({"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated", "invert": false}), "tokenizer.json: ")]
#[case::long_expression("/pre_tokenizer", json!({"type": "Split", "pattern": {"Regex": "a".repeat(1 << 20)}, "behavior": "Isolated", "invert": false}), "pattern is longer")]
#[case::model_kind("/model/type", json!("Unigram"), "model type \"Unigram\" is not supported")]
#[case::vocabulary("/model/vocab", json!([]), "has no BPE vocabulary")]
#[case::no_vocabulary("/model/vocab", json!({}), "tokenizer.json: ")]
#[case::negative_id("/model/vocab", json!({"a": -1}), "tokenizer.json: ")]
#[case::long_token("/model/vocab", json!({"x".repeat(20_000): 0}), "a token is 20000 bytes long")]
#[case::merge("/model/merges", json!(["a b c\u{1b}"]), "tokenizer.json: merge")]
#[case::merge_without_result("/model/merges", json!(["Ġthe Ġthe"]), "which is not a token")]
#[case::merge_is_a_number("/model/merges", json!([1]), "is not a pair")]
#[case::long_merge("/model/merges", json!([["x".repeat(200_000), "y"]]), "tokenizer.json: merge")]
#[case::dropout("/model/dropout", json!(0.5), "dropout 0.5")]
#[case::prefix("/model/continuing_subword_prefix", json!("##"), "continuing_subword_prefix")]
#[case::added("/added_tokens", json!([{"id": 0, "content": "x".repeat(20_000), "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}]), "an added token is longer")]
#[case::id_of_2_pow_32("/model/vocab", json!({"x": u32::MAX}), "tokenizer.json: merge")]
#[case::id_is_a_fraction("/model/vocab", json!({"x": 0.5}), "tokenizer.json: ")]
#[case::very_many_tokens("/model/vocab", (0..530_000).map(|id| (format!("t{id}"), json!(id))).collect(), "has 530000 tokens, more than the limit of 524288")]
fn a_hostile_tokenizer_is_refused(#[case] pointer: &str, #[case] value: Value, #[case] why: &str) {
    refused(changed(pointer, value).path(), GENERATE, why);
}

#[rstest]
#[case::empty(b"", "tokenizer.json: ")]
#[case::not_utf_8(b"{\"a\": \"\xff\"}", "tokenizer.json: ")]
#[case::cut(b"{\"version\": \"1.0\", \"model\": {", "tokenizer.json: ")]
#[case::list(b"[]", "tokenizer.json: ")]
#[case::key_twice(b"{\"model\": 1, \"model\": 2}", "duplicate key \"model\"")]
fn a_tokenizer_that_is_not_json_is_refused(#[case] bytes: &[u8], #[case] why: &str) {
    let folder = linked(&["tokenizer.json"]);
    fs::write(folder.path().join("tokenizer.json"), bytes).unwrap();
    refused(folder.path(), GENERATE, why);
}

/// Every id that a tokenizer gives is a row of the embedding.
#[test]
fn a_tokenizer_with_ids_beyond_the_embedding_is_refused() {
    let folder = linked(&["tokenizer.json"]);
    let text = fs::read_to_string(fixtures("tiny-llama/tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    for id in
        json["model"]["vocab"].as_object_mut().unwrap().values_mut().filter(|id| id.as_u64() > Some(300))
    {
        *id = json!(id.as_u64().unwrap() + 1_000_000);
    }
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    refused(folder.path(), GENERATE, "but the embedding has 512 rows");
}

/// Such an expression would take time that grows exponentially with the text; the number of steps back is limited.
#[test]
fn a_splitting_expression_that_backtracks_ends_in_time() {
    let split = json!({"type": "Split", "pattern": {"Regex": "(a|aa)+(?!a)b"}, "behavior": "Isolated", "invert": false});
    let folder = changed("/pre_tokenizer", split);
    let text = "a".repeat(60);
    let run = run(folder.path(), &["generate", &text, "--unchecked", "--max-tokens", "1", "--model", "."]);
    assert!(
        [0, 2].contains(&run.code) && run.seconds <= SECONDS,
        "{} after {} s {}",
        run.code,
        run.seconds,
        run.stderr
    );
}
