//! Compares what this project reads from the tiny models' files, in every format, with what PyTorch and
//! transformers read: tensors bit by bit, configuration, tokens and chat texts.

use std::path::{Path, PathBuf};

use rbees_check::tokenizer::Tokenizer;
use rbees_check::weights::{Weights, sha256_of};
use rstest::rstest;
use serde_json::Value;

fn fixture(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(model)
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The model directory and the GGUF files made from it.
fn formats(model: &str) -> Vec<PathBuf> {
    let gguf = fixture(model).join("gguf");
    let files = ["f16", "q8_0", "q4_0"].map(|kind| gguf.join(format!("{model}-{kind}.gguf")));
    [fixture(model)].into_iter().chain(files.into_iter().filter(|file| file.exists())).collect()
}

fn tokenizer(path: &Path) -> Tokenizer {
    if path.is_dir() {
        return Tokenizer::from_dir(path).unwrap();
    }
    let weights = Weights::open(path).unwrap();
    Tokenizer::from_gguf(&|key| weights.gguf()?.metadata(key), &path.to_string_lossy()).unwrap()
}

#[rstest]
fn tensors_equal_pytorchs_bit_for_bit(
    #[values(
        "tiny-llama",
        "tiny-llama2",
        "tiny-llama3",
        "tiny-linear",
        "tiny-qwen2",
        "tiny-mistral",
        "tiny-qwen3",
        "tiny-gemma2",
        "tiny-gemma3"
    )]
    model: &str,
) {
    let facts = json(fixture(model).join("facts.json"));
    let tensors = facts["tensors"].as_object().unwrap();
    for path in formats(model) {
        let weights = Weights::open(&path).unwrap();
        assert_eq!(weights.names(), tensors.keys().cloned().collect::<Vec<_>>(), "{}", path.display());
        assert_eq!(weights.unread(), [], "{}", path.display());
        // No GGUF file says that a Mistral has a window.
        let notes = usize::from(model == "tiny-mistral" && weights.gguf().is_some());
        assert_eq!(weights.notes().len(), notes, "{}", path.display());
        for (name, fact) in tensors {
            assert_eq!(serde_json::json!(weights.shape(name).unwrap()), fact["shape"], "{name}");
            // Blocks of 4 or 8 bits hold rounded values. Norms are never quantised.
            if !weights.is_quantized() || name.contains("norm") {
                let hash = sha256_of(&weights.canonical(name).unwrap()).unwrap();
                assert_eq!(hash, fact["sha256"].as_str().unwrap(), "{name} in {}", path.display());
            }
        }
    }
}

#[rstest]
fn quantised_tensors_are_within_the_rounding_of_their_blocks(
    #[values("tiny-llama", "tiny-llama2")] model: &str,
) {
    let formats = formats(model);
    let exact = Weights::open(&formats[0]).unwrap();
    // The largest error relative to the largest value: half a step of 1/127 for Q8_0, and a whole step of 1/8
    // for Q4_0, whose range is not symmetric and is cut by up to a step at one end. The rounding of the scale
    // to f16 adds to both.
    let rounding = 1.0 / 2048.0;
    for (path, step) in [(&formats[2], 0.5 / 127.0), (&formats[3], 1.0 / 8.0)] {
        let quantized = Weights::open(path).unwrap();
        for name in exact.names() {
            let (want, got) = (exact.canonical(&name).unwrap(), quantized.canonical(&name).unwrap());
            let largest =
                |t: &candle_core::Tensor| t.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            let error = largest(&(&want - got).unwrap()) / largest(&want);
            assert!(error <= step + rounding, "{name}: {error} in {}", path.display());
        }
    }
}

#[rstest]
fn configurations_equal_those_of_transformers(
    #[values(
        "tiny-llama",
        "tiny-llama2",
        "tiny-llama3",
        "tiny-linear",
        "tiny-qwen2",
        "tiny-mistral",
        "tiny-qwen3",
        "tiny-gemma2",
        "tiny-gemma3"
    )]
    model: &str,
) {
    let facts = json(fixture(model).join("facts.json"));
    for path in formats(model) {
        let weights = Weights::open(&path).unwrap();
        let c = weights.config();
        let f32_of = |key: &str| facts["config"][key].as_f64().unwrap() as f32;
        assert_eq!(
            (c.rms_norm_eps as f32, c.rope_theta as f32),
            (f32_of("rms_norm_eps"), f32_of("rope_theta"))
        );
        for (key, value) in [
            ("hidden_size", c.hidden_size),
            ("intermediate_size", c.intermediate_size),
            ("num_hidden_layers", c.num_hidden_layers),
            ("num_attention_heads", c.num_attention_heads),
            ("num_key_value_heads", c.num_key_value_heads),
            ("head_dim", c.head_dim),
            ("vocab_size", c.vocab_size),
            ("max_position_embeddings", c.max_position_embeddings),
        ] {
            assert_eq!(facts["config"][key], value, "{key} in {}", path.display());
        }
        assert_eq!(facts["config"]["tie_word_embeddings"], c.tie_word_embeddings);
        assert_eq!(facts["config"]["bos_token_id"], serde_json::json!(c.bos_token_id), "{}", path.display());
        assert_eq!(
            facts["config"]["eos_token_ids"],
            serde_json::json!(c.eos_token_ids),
            "{}",
            path.display()
        );
    }
}

#[rstest]
fn encoded_and_decoded_tokens_equal_those_of_transformers(
    #[values("tiny-llama", "tiny-llama2")] model: &str,
) {
    let tokens = json(fixture(model).join("tokens.json"));
    for path in formats(model) {
        let tokenizer = tokenizer(&path);
        for row in tokens["encode"].as_array().unwrap() {
            let text = row["text"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
            let special = row["add_special_tokens"] == true;
            assert_eq!(tokenizer.encode(text, special).unwrap(), ids, "{text:?} in {}", path.display());
            let decoded = row["decoded"].as_str().unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), decoded, "{ids:?} in {}", path.display());
            let mut stream = tokenizer.stream(false);
            let pieces: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
            assert_eq!(pieces + &stream.finish().unwrap(), decoded, "{ids:?} in {}", path.display());
        }
    }
}

#[cfg(feature = "cli")]
#[test]
fn rendered_chat_texts_equal_those_of_transformers() {
    use rbees_check::tokenizer::chat::{ChatTemplate, Message};
    let tokens = json(fixture("tiny-llama").join("tokens.json"));
    for path in formats("tiny-llama") {
        let template = match Weights::open(&path).unwrap().gguf() {
            None => ChatTemplate::from_dir(&path),
            Some(file) => ChatTemplate::from_gguf(&|key| file.metadata(key), "test"),
        };
        let (template, tokenizer) = (template.unwrap(), tokenizer(&path));
        for row in tokens["chat"].as_array().unwrap() {
            let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
            let text = template.render(&messages, row["add_generation_prompt"] == true).unwrap();
            assert_eq!(text, row["text"].as_str().unwrap(), "{}", path.display());
            assert_eq!(serde_json::json!(tokenizer.encode(&text, false).unwrap()), row["ids"], "{text:?}");
        }
    }
    let none = ChatTemplate::from_dir(&fixture("tiny-llama2")).unwrap_err();
    assert!(none.to_string().ends_with("has no chat template"), "{none}");
}
