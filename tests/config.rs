//! The configuration matches `config.json` or the GGUF metadata, and unsupported or invalid values are
//! refused.

mod made;

use made::{
    CONFIG, GgufFile, config_with, safetensors, tensors, value_f32, value_text, value_u32, write_directory,
};
use rbees_check::weights::{Config, RopeLayout, Weights};
use rstest::rstest;

fn directory(config: &str) -> rbees_check::Result<Weights> {
    let dir = tempfile::tempdir().unwrap();
    write_directory(dir.path(), config, &tensors());
    Weights::open(dir.path())
}

fn gguf(file: &GgufFile) -> rbees_check::Result<Weights> {
    let dir = tempfile::tempdir().unwrap();
    Weights::open(&file.write(dir.path()))
}

fn refusal<T: std::fmt::Debug>(result: rbees_check::Result<T>) -> String {
    let error = result.unwrap_err();
    let line = error.to_string();
    assert!(!line.contains('\n') && error.hint().is_some_and(|hint| !hint.is_empty()), "{line}");
    line
}

#[test]
fn config_json_and_gguf_give_the_same_configuration_except_the_rope_layout() {
    let (directory, gguf) = (directory(CONFIG).unwrap(), gguf(&GgufFile::tiny()).unwrap());
    let want = Config {
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 6,
        vocab_size: 11,
        max_position_embeddings: 128,
        rms_norm_eps: 3e-5,
        rope_theta: 30000.0,
        tie_word_embeddings: false,
        bos_token_id: None,
        eos_token_ids: vec![2],
        rope_layout: RopeLayout::HalfSplit,
    };
    assert_eq!(directory.config(), &want);
    // A GGUF file stores ε as f32.
    let eps = f64::from(3e-5f32);
    assert_eq!(gguf.config(), &Config { rms_norm_eps: eps, rope_layout: RopeLayout::Interleaved, ..want });
}

#[rstest]
#[case::theta_of_transformers_5("rope_parameters", r#"{"rope_theta": 5e5, "rope_type": "default"}"#, |c: &Config| c.rope_theta == 5e5)]
#[case::no_scaling("rope_scaling", "null", |c: &Config| c.rope_theta == 3e4)]
#[case::several_end_tokens("eos_token_id", "[7, 3, 7]", |c: &Config| c.eos_token_ids == [3, 7])]
#[case::no_end_token("eos_token_id", "null", |c: &Config| c.eos_token_ids.is_empty())]
#[case::saved_from_gguf("quantization_config", r#"{"quant_method": "gguf", "gguf_file": "a.gguf", "dequantize": false}"#, |c: &Config| c.hidden_size == 32)]
#[case::the_gguf_method_alone("quantization_config", r#"{"quant_method": "gguf"}"#, |c: &Config| c.rope_layout == RopeLayout::HalfSplit)]
#[case::the_gguf_method_as_a_top_level_key("quant_method", "\"gguf\"", |c: &Config| c.hidden_size == 32)]
#[case::no_quantization("quantization_config", "null", |c: &Config| c.hidden_size == 32)]
fn alternative_spellings_of_configuration_keys_are_read(
    #[case] key: &str,
    #[case] value: &str,
    #[case] holds: fn(&Config) -> bool,
) {
    let weights = directory(&config_with(key, value)).unwrap();
    assert!(holds(weights.config()), "{:?}", weights.config());
}

#[test]
fn end_tokens_of_the_generation_configuration_are_added() {
    let bytes: &'static [u8] = safetensors(&tensors()).leak();
    let weights =
        Weights::from_parts("built-in", CONFIG, Some(r#"{"eos_token_id": [5, 2]}"#), bytes).unwrap();
    assert_eq!(weights.config().eos_token_ids, [2, 5]);
}

#[rstest]
#[case("model_type", "\"mistral\"", "model_type \"mistral\" is not supported")]
#[case("architectures", "[\"Phi3ForCausalLM\"]", "[\"Phi3ForCausalLM\"]")]
#[case("rope_scaling", r#"{"rope_type": "llama3", "factor": 8.0}"#, "rope_scaling")]
#[case("rope_scaling", r#"{"type": "linear", "factor": 2.0}"#, "rope_scaling")]
#[case("rope_scaling", r#"{"factor": 2.0}"#, "rope_scaling")]
#[case("rope_parameters", r#"{"rope_type": "yarn", "rope_theta": 1e4}"#, "rope_parameters")]
#[case("rope_parameters", r#"{"rope_theta": 1e4, "partial_rotary_factor": 0.5}"#, "rope_parameters")]
#[case("attention_bias", "true", "attention_bias true is not supported")]
#[case("mlp_bias", "true", "mlp_bias")]
#[case("hidden_act", "\"gelu\"", "hidden_act \"gelu\"")]
#[case("quantization_config", r#"{"quant_method": "gptq"}"#, "quantization_config")]
#[case("quantization_config", r#"{"bits": 4}"#, "quantization_config {\"bits\":4} is not supported")]
#[case("quant_method", "\"awq\"", "quant_method \"awq\" is not supported")]
#[case("num_key_value_heads", "3", "num_key_value_heads: 4 query heads cannot share 3")]
#[case("num_key_value_heads", "0", "num_key_value_heads: 0")]
#[case("num_attention_heads", "0", "num_attention_heads: 0")]
#[case("head_dim", "5", "head_dim: 5 is odd")]
#[case("head_dim", "null", "q_proj.weight` has shape [24, 32], but the configuration requires [32, 32]")]
#[case("rms_norm_eps", "0.0", "rms_norm_eps: 0e0")]
#[case("rms_norm_eps", "1.0", "rms_norm_eps: 1e0")]
#[case("rms_norm_eps", "null", "invalid type: null")]
#[case("rope_theta", "-1.0", "rope_theta: -1e0")]
#[case("eos_token_id", "11", "eos_token_id: 11 is outside the vocabulary of 11")]
#[case("num_hidden_layers", "70000", "num_hidden_layers: 70000")]
#[case("num_hidden_layers", "3", "`model.layers.2.input_layernorm.weight` is missing (and 8 more)")]
#[case("hidden_size", "18446744073709551615", "hidden_size: 18446744073709551615")]
#[case("vocab_size", "12", "has shape [11, 32], but the configuration requires [12, 32]")]
fn an_unsupported_or_invalid_configuration_is_refused(
    #[case] key: &str,
    #[case] value: &str,
    #[case] why: &str,
) {
    let line = refusal(directory(&config_with(key, value)));
    assert!(line.contains(why), "{line}");
}

#[rstest]
#[case("general.architecture", value_text("falcon"), "`general.architecture` is \"falcon\"")]
#[case("llama.rope.scaling.type", value_text("yarn"), "`llama.rope.scaling.type` is \"yarn\"")]
#[case("llama.rope.scaling.factor", value_f32(4.0), "`llama.rope.scaling.factor` is 4.0")]
#[case("llama.expert_count", value_u32(8), "`llama.expert_count` is 8")]
#[case("llama.attention.value_length", value_u32(4), "`llama.attention.value_length` is 4")]
#[case("llama.rope.dimension_count", value_u32(4), "`llama.rope.dimension_count` is 4")]
#[case("llama.block_count", value_text("two"), "`llama.block_count` is \"two\"")]
#[case("llama.attention.head_count", value_u32(0), "num_attention_heads: 0")]
#[case("llama.attention.head_count_kv", value_u32(3), "num_key_value_heads: 4 query heads cannot share 3")]
#[case("split.count", value_u32(3), "is one of 3 parts")]
#[case("general.alignment", value_u32(0), "`general.alignment` is 0")]
#[case("general.alignment", value_u32(24), "`general.alignment` is 24")]
fn unsupported_or_invalid_gguf_metadata_is_refused(
    #[case] key: &str,
    #[case] value: Vec<u8>,
    #[case] why: &str,
) {
    let line = refusal(gguf(GgufFile::tiny().set(key, value)));
    assert!(line.contains(why) && line.contains("model.gguf"), "{line}");
}

/// The model, in which one matrix has another dtype and shape with the same number of bytes.
fn stored_as(dtype_and_shape: &str, config: &str) -> rbees_check::Result<Weights> {
    let mut file = safetensors(&tensors());
    let floats = br#""model.layers.1.mlp.up_proj.weight":{"dtype":"F32","shape":[64,32]"#;
    let at = file.windows(floats.len()).position(|part| part == floats).unwrap();
    let other = format!(r#""model.layers.1.mlp.up_proj.weight":{dtype_and_shape}"#);
    assert_eq!(other.len(), floats.len());
    file[at..][..other.len()].copy_from_slice(other.as_bytes());
    Weights::from_parts("built-in", config, None, file.leak())
}

#[rstest]
#[case::packed(r#"{"dtype":"U8","shape":[64,128]"#, "U8")]
#[case::not_floats(r#"{"dtype":"I32","shape":[64,32]"#, "I32")]
fn packed_weights_are_refused_with_the_key_and_the_tensor(
    #[case] dtype_and_shape: &str,
    #[case] dtype: &str,
    #[values("quantization_config", "quant_method")] key: &str,
) {
    let value = if key == "quant_method" { r#""gguf""# } else { r#"{"quant_method":"gguf"}"# };
    let line = refusal(stored_as(dtype_and_shape, &config_with(key, value)));
    let want = format!("{key} {value} is not supported with packed weights: ");
    assert!(line.starts_with(&format!("built-in/config.json: {want}")), "{line}");
    assert!(line.ends_with(&format!("`model.layers.1.mlp.up_proj.weight` is {dtype}")), "{line}");
}

#[test]
fn weights_saved_from_a_gguf_file_are_read_as_floats() {
    let config = config_with("quantization_config", r#"{"quant_method": "gguf"}"#);
    let (saved, plain) = (directory(&config).unwrap(), directory(CONFIG).unwrap());
    let values = |weights: &Weights| {
        let tensor = weights.canonical("model.layers.1.self_attn.q_proj.weight").unwrap();
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(values(&saved), values(&plain));
    assert!(!saved.is_quantized());
}
