//! `inspect` on models in whose files two statements contradict each other: it names both values and both places.

mod made;
mod program;

use std::fs;
use std::path::Path;

use made::{CONFIG, GgufFile, value_u32};
use program::{home, rbees_in, stderr, stdout};
use rstest::rstest;
use serde_json::{Value, json};

/// What `inspect` prints about the model in a folder, or about a file in it. `run` begins with the same lines.
fn inspected(folder: &Path, model: &str) -> String {
    let printed = |args: &[&str]| {
        let output = rbees_in(folder, &home(), args).output().unwrap();
        (stderr(&output), stdout(&output))
    };
    let (errors, text) = printed(&["inspect", model]);
    let (of_run, _) = printed(&["run", "00", "--model", model, "--references", "tiny-llama2"]);
    let first = errors.lines().next().unwrap_or_default();
    assert_eq!(of_run.lines().next().unwrap_or_default(), first);
    errors + &text
}

/// A copy of tiny-llama, with a file changed.
fn changed(file: &str, alter: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let (folder, fixture) = (home(), Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama"));
    for name in [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(fixture.join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join(file);
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    alter(&mut value);
    fs::write(path, value.to_string()).unwrap();
    folder
}

fn set(key: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |json| json[key] = value
}

#[rstest]
#[case::rows("config.json", "vocab_size", json!(600), &["has shape [512, 128]", "vocab_size is 600 in config.json"])]
#[case::heads("config.json", "num_key_value_heads", json!(3), &["`model.layers.0.self_attn.k_proj.weight` has shape [64, 128]", "num_key_value_heads is 3 and head_dim is 32 in config.json"])]
#[case::layers("config.json", "num_hidden_layers", json!(3), &["num_hidden_layers is 3 in config.json", "the tensors are those of 4 layers"])]
#[case::theta("config.json", "rotary_emb_base", json!(10_000.0), &["rotary_emb_base is 10000.0, but ", "rope_theta is 30000.0"])]
#[case::family("config.json", "architectures", json!(["Qwen2ForCausalLM"]), &["model_type is \"llama\"", "architectures is [\"Qwen2ForCausalLM\"]"])]
#[case::end("tokenizer_config.json", "eos_token", json!("Ġthe"), &["eos_token is `Ġthe`, id ", "in tokenizer_config.json", "eos_token_id is [0, 2] in config.json"])]
#[case::start("config.json", "bos_token_id", json!(7), &["bos_token is `<|endoftext|>`, id 0, in tokenizer_config.json", "bos_token_id is 7 in config.json"])]
fn a_contradiction_in_a_directory_is_named(
    #[case] file: &str,
    #[case] key: &'static str,
    #[case] value: Value,
    #[case] parts: &[&str],
) {
    let folder = changed(file, set(key, value));
    let text = inspected(folder.path(), ".");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn tokens_without_a_row_are_named() {
    let folder = changed("tokenizer.json", |json| {
        let added = json["added_tokens"].as_array_mut().unwrap();
        let mut token = added[0].clone();
        (token["id"], token["content"]) = (json!(512), json!("<pad>"));
        added.push(token);
    });
    let text = inspected(folder.path(), ".");
    assert!(
        text.contains("`<pad>` has the id 512 in tokenizer.json, but vocab_size is 512 in config.json"),
        "{text}"
    );
}

#[test]
fn a_total_size_in_the_index_that_the_tensors_do_not_have_is_named() {
    let folder = home();
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    fs::write(folder.path().join("a.safetensors"), made::safetensors(&made::tensors())).unwrap();
    let index = json!({"metadata": {"total_size": 1}, "weight_map": {"lm_head.weight": "a.safetensors"}});
    fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let text = inspected(folder.path(), ".");
    assert!(
        text.contains("total_size is 1 in model.safetensors.index.json, but the tensors in the files have "),
        "{text}"
    );
}

#[rstest]
#[case::rows("llama.vocab_size", 12, &["has shape [11, 32]", "`llama.vocab_size` is 12 in the metadata"])]
#[case::layers("llama.block_count", 1, &["`llama.block_count` is 1 in the metadata", "the tensors are those of 2 layers"])]
#[case::rotated("llama.rope.dimension_count", 4, &["metadata `llama.rope.dimension_count` is 4", "metadata `llama.attention.key_length` is 6"])]
#[case::file_type("general.file_type", 2, &["general.file_type is 2 in the metadata, which means Q4_0", "most weights are F32 in the tensors"])]
#[case::end("tokenizer.ggml.eos_token_id", 11, &["eos_token_id: 11", "the vocabulary of 11"])]
fn a_contradiction_in_a_gguf_file_is_named(#[case] key: &str, #[case] value: u32, #[case] parts: &[&str]) {
    let folder = home();
    GgufFile::tiny().set(key, value_u32(value)).write(folder.path());
    let text = inspected(folder.path(), "model.gguf");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

/// What is not contradictory is not noted.
#[rstest]
#[case("tiny-llama")]
#[case("tiny-llama2")]
#[case("tiny-llama/gguf/tiny-llama-q8_0.gguf")]
#[case("tiny-llama/gguf/tiny-llama-q4_0.gguf")]
#[case("tiny-qwen2")]
#[case("tiny-mistral")]
fn consistent_files_have_no_notes(#[case] model: &str) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let output = rbees_in(&fixtures, &home(), &["inspect", model]).output().unwrap();
    assert_eq!(stderr(&output), "");
}
