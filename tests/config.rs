//! The configuration matches `config.json` or the GGUF metadata, and unsupported or invalid values are
//! refused.

mod made;

use std::collections::{BTreeMap, BTreeSet};

use made::{
    CONFIG, GgufFile, config_with, safetensors, tensors, value_array, value_f32, value_text, value_u32,
    write_directory,
};
use rbees_check::weights::{Config, Family, LayerType, RopeLayout, RopeScaling, Weights};
use rstest::rstest;

const LLAMA_3_1: RopeScaling = RopeScaling::Llama3 {
    factor: 8.0,
    low_freq_factor: 1.0,
    high_freq_factor: 4.0,
    original_max_position_embeddings: 64,
};

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
        family: Family::Llama,
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
        rope_scaling: RopeScaling::None,
        local_rope_theta: None,
        sliding_window: None,
        layer_types: vec![LayerType::Full; 2],
        query_pre_attn_scalar: None,
        attn_logit_softcapping: None,
        final_logit_softcapping: None,
        tie_word_embeddings: false,
        biases: BTreeSet::new(),
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
#[case::equal_thetas_of_transformers_4_and_5("rope_parameters", r#"{"rope_theta": 3e4, "rope_type": "default"}"#, |c: &Config| c.rope_theta == 3e4)]
#[case::no_scaling("rope_scaling", "null", |c: &Config| c.rope_theta == 3e4)]
#[case::scaling_switched_off("rope_scaling", "false", |c: &Config| c.rope_scaling == RopeScaling::None)]
#[case::a_linear_factor_of_1("rope_scaling", r#"{"type": "linear", "factor": 1}"#, |c: &Config| c.rope_scaling == RopeScaling::None)]
#[case::linear_scaling_of_transformers_4("rope_scaling", r#"{"type": "linear", "factor": 2.0}"#, |c: &Config| c.rope_scaling == RopeScaling::Linear { factor: 2.0 })]
#[case::linear_scaling_of_transformers_5("rope_parameters", r#"{"rope_type": "linear", "factor": 2, "rope_theta": 3e4}"#, |c: &Config| c.rope_scaling == RopeScaling::Linear { factor: 2.0 })]
#[case::llama_3_1_of_transformers_4("rope_scaling", r#"{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}"#, |c: &Config| c.rope_scaling == LLAMA_3_1)]
#[case::llama_3_1_of_transformers_5("rope_parameters", r#"{"rope_type": "llama3", "rope_theta": 3e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}"#, |c: &Config| c.rope_scaling == LLAMA_3_1)]
#[case::no_beginning("bos_token_id", "-1", |c: &Config| c.bos_token_id.is_none())]
#[case::no_end("eos_token_id", "-1", |c: &Config| c.eos_token_ids.is_empty())]
#[case::an_integer_written_as_a_float("max_position_embeddings", "128.0", |c: &Config| c.max_position_embeddings == 128)]
#[case::several_end_tokens("eos_token_id", "[7, 3, 7]", |c: &Config| c.eos_token_ids == [3, 7])]
#[case::no_end_token("eos_token_id", "null", |c: &Config| c.eos_token_ids.is_empty())]
#[case::saved_from_gguf("quantization_config", r#"{"quant_method": "gguf", "gguf_file": "a.gguf", "dequantize": false}"#, |c: &Config| c.hidden_size == 32)]
#[case::the_gguf_method_alone("quantization_config", r#"{"quant_method": "gguf"}"#, |c: &Config| c.rope_layout == RopeLayout::HalfSplit)]
#[case::the_gguf_method_as_a_top_level_key("quant_method", "\"gguf\"", |c: &Config| c.hidden_size == 32)]
#[case::no_quantization("quantization_config", "null", |c: &Config| c.hidden_size == 32)]
#[case::an_empty_quantization("quantization_config", "{}", |c: &Config| c.hidden_size == 32)]
#[case::a_factor_of_1_without_a_type("rope_scaling", r#"{"factor": 1.0}"#, |c: &Config| c.rope_scaling == RopeScaling::None)]
fn alternative_spellings_of_configuration_keys_are_read(
    #[case] key: &str,
    #[case] value: &str,
    #[case] holds: fn(&Config) -> bool,
) {
    let weights = directory(&config_with(key, value)).unwrap();
    assert!(holds(weights.config()), "{:?}", weights.config());
}

/// `CONFIG` without `rope_theta`, and with these entries instead.
fn with_rope(entries: &str) -> String {
    CONFIG.replacen("\"rope_theta\": 30000.0,", &format!("{entries},"), 1)
}

#[rstest]
#[case::not_mentioned("\"use_cache\": true", 1e4)]
#[case::an_integer("\"rope_theta\": 500000", 5e5)]
#[case::transformers_5(r#""rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}"#, 5e5)]
#[case::in_the_scaling(r#""rope_scaling": {"rope_theta": 5e5}"#, 5e5)]
#[case::beside_empty_parameters(r#""rope_parameters": {}, "rope_theta": 5e5"#, 5e5)]
#[case::one_type_of_layer(
    r#""rope_parameters": {"full_attention": {"rope_theta": 5e5, "rope_type": "default"}}"#,
    5e5
)]
#[case::equal_for_all_types(r#""rope_parameters": {"full_attention": {"rope_theta": 5e5}, "sliding_attention": {"rope_theta": 500000}}"#, 5e5)]
#[case::the_type_that_the_model_has(r#""layer_types": ["full_attention", "full_attention"], "rope_parameters": {"full_attention": {"rope_theta": 5e5}, "sliding_attention": {"rope_theta": 1e4}}"#, 5e5)]
#[case::twice_nested(r#""rope_parameters": {"full_attention": {"default": {"rope_theta": 5e5}}}"#, 5e5)]
#[case::equal_in_another_place(r#""rope_theta": 5e5, "text_config": {"rope_theta": 5e5}"#, 5e5)]
fn theta_is_read_wherever_the_file_states_it(#[case] entries: &str, #[case] theta: f64) {
    assert_eq!(directory(&with_rope(entries)).unwrap().config().rope_theta, theta);
}

#[rstest]
#[case::null("\"rope_theta\": null", "rope_theta is null: a finite number is needed")]
#[case::text("\"rope_theta\": \"500000\"", "rope_theta is \"500000\": a finite number is needed")]
#[case::nan("\"rope_theta\": NaN", "rope_theta is NaN: a finite number is needed")]
#[case::infinite("\"rope_theta\": Infinity", "rope_theta is Infinity: a finite number is needed")]
#[case::inner_null(
    r#""rope_parameters": {"rope_theta": null}"#,
    "rope_parameters.rope_theta is null: a finite number is needed"
)]
#[case::inner_text(
    r#""rope_parameters": {"full_attention": {"rope_theta": "x"}}"#,
    "rope_parameters.full_attention.rope_theta is \"x\""
)]
#[case::two_values(
    r#""rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}"#,
    "rope_theta is 10000.0, but rope_parameters.rope_theta is 500000.0"
)]
#[case::layers_that_differ(
    r#""rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}"#,
    "rope_parameters.full_attention.rope_theta is 1000000.0, but rope_parameters.sliding_attention.rope_theta is 10000.0"
)]
#[case::layers_without_rotation(
    r#""layer_types": ["full_attention"], "rope_parameters": {"full_attention": null}"#,
    "rope_parameters.full_attention is null: layers without rotation"
)]
#[case::another_key(
    "\"rotary_emb_base\": 500000",
    "rotary_emb_base is 500000: θ, the base of the rotation, has an unknown key"
)]
#[case::another_key_inside(
    r#""rope_parameters": {"base": 1, "rope_base": 5e5}"#,
    "rope_parameters.rope_base is 500000.0: θ"
)]
#[case::another_object(r#""text_config": {"rope_theta": 5e5}"#, "text_config.rope_theta is 500000.0: θ")]
#[case::another_object_with_another_value(
    r#""rope_theta": 1e4, "text_config": {"rope_theta": 5e5}"#,
    "text_config.rope_theta is 500000.0, but rope_theta is 10000.0"
)]
#[case::two_types(
    r#""rope_scaling": {"rope_type": "default", "type": "mrope"}"#,
    "rope_scaling.rope_type is \"default\", but rope_scaling.type is \"mrope\""
)]
#[case::no_factor(r#""rope_scaling": {"type": "linear"}"#, "rope_scaling.factor is missing")]
#[case::a_factor_of_0(
    r#""rope_scaling": {"type": "linear", "factor": 0}"#,
    "rope_scaling: factor 0.0 is not above 0"
)]
#[case::llama_3_1_without_a_number(
    r#""rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}"#,
    "rope_scaling.high_freq_factor is missing"
)]
#[case::two_context_lengths(r#""original_max_position_embeddings": 32, "rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 64}"#, "rope_scaling.original_max_position_embeddings is 64, but original_max_position_embeddings is 32")]
fn a_rotation_that_is_unclear_or_not_supported_is_refused(#[case] entries: &str, #[case] why: &str) {
    let line = refusal(directory(&with_rope(entries)));
    assert!(line.contains(why), "{line}");
}

#[rstest]
#[case::fraction("num_hidden_layers", "2.5", "num_hidden_layers is 2.5: a whole number is needed")]
#[case::negative("hidden_size", "-32", "hidden_size is -32: a whole number is needed")]
#[case::text("vocab_size", "\"11\"", "vocab_size is \"11\": a whole number is needed")]
#[case::null("vocab_size", "null", "vocab_size is null: a whole number is needed")]
#[case::a_negative_end("eos_token_id", "-2", "eos_token_id is -2: a token id, or null for none, is needed")]
#[case::a_list_with_text(
    "eos_token_id",
    "[2, \"3\"]",
    "eos_token_id is [2,\"3\"]: a list of token ids is needed"
)]
#[case::not_a_truth_value(
    "tie_word_embeddings",
    "\"no\"",
    "tie_word_embeddings is \"no\": true or false is needed"
)]
fn a_value_of_the_wrong_type_is_refused_with_its_key(
    #[case] key: &str,
    #[case] value: &str,
    #[case] why: &str,
) {
    let line = refusal(directory(&config_with(key, value)));
    assert!(line.ends_with(&format!("config.json: {why}")), "{line}");
}

#[test]
fn a_byte_order_mark_and_nan_in_an_unused_key_are_accepted() {
    let config = CONFIG.replacen('{', "\u{feff}{\"initializer_range\": NaN,", 1);
    assert_eq!(directory(&config).unwrap().config(), directory(CONFIG).unwrap().config());
}

#[test]
fn end_tokens_of_the_generation_configuration_are_added() {
    let bytes: &'static [u8] = safetensors(&tensors()).leak();
    let weights =
        Weights::from_parts("built-in", CONFIG, Some(r#"{"eos_token_id": [5, 2]}"#), bytes).unwrap();
    assert_eq!(weights.config().eos_token_ids, [2, 5]);
}

#[rstest]
#[case("model_type", "\"phi3\"", "model_type \"phi3\" is not supported")]
#[case("architectures", "[\"Phi3ForCausalLM\"]", "[\"Phi3ForCausalLM\"]")]
#[case(
    "architectures",
    "[\"Qwen2ForCausalLM\"]",
    "model_type is \"llama\", but architectures is [\"Qwen2ForCausalLM\"]"
)]
#[case("model_type", "\"qwen2\"", "model_type is \"qwen2\", but architectures is [\"LlamaForCausalLM\"]")]
#[case("rope_scaling", r#"{"factor": 2.0}"#, "rope_scaling")]
#[case(
    "rope_parameters",
    r#"{"rope_type": "yarn", "rope_theta": 1e4}"#,
    "rope_parameters {\"rope_theta\":10000.0,\"rope_type\":\"yarn\"} is not supported yet"
)]
#[case(
    "rope_parameters",
    r#"{"rope_theta": 3e4, "partial_rotary_factor": 0.5}"#,
    "rope_parameters.partial_rotary_factor 0.5 is not supported"
)]
#[case("rope_parameters", "[]", "rope_parameters is []: an object is needed")]
#[case("attention_bias", "true", "tensor `model.layers.0.self_attn.q_proj.bias` is missing (and 7 more)")]
#[case("mlp_bias", "true", "tensor `model.layers.0.mlp.gate_proj.bias` is missing (and 5 more)")]
#[case("qkv_bias", "true", "qkv_bias true is not supported")]
#[case("hidden_act", "\"gelu\"", "hidden_act \"gelu\"")]
#[case("dtype", "\"flobt16\"", "dtype \"flobt16\" is not supported")]
#[case("torch_dtype", "\"float8_e4m3fn\"", "torch_dtype \"float8_e4m3fn\" is not supported")]
#[case("rope_interleaved", "true", "rope_interleaved true is not supported")]
#[case("partial_rotary_factor", "0.5", "partial_rotary_factor 0.5 is not supported")]
#[case("sliding_window", "64", "sliding_window 64 is not supported")]
#[case(
    "layer_types",
    r#"["full_attention", "sliding_attention"]"#,
    "layer_types [\"full_attention\",\"sliding_attention\"]"
)]
#[case("layer_types", r#"["full_attention"]"#, "layer_types [\"full_attention\"] is not supported")]
#[case("no_rope_layers", "[1, 0]", "no_rope_layers [1,0] is not supported")]
#[case("use_qk_norm", "true", "use_qk_norm true is not supported")]
#[case("num_local_experts", "8", "num_local_experts 8 is not supported")]
#[case("attention_multiplier", "0.5", "attention_multiplier 0.5 is not supported")]
#[case("logits_scaling", "8.0", "logits_scaling 8.0 is not supported")]
#[case("final_logit_softcapping", "30.0", "final_logit_softcapping 30.0 is not supported")]
#[case("quantization", r#"{"bits": 4}"#, "quantization {\"bits\":4} is not supported")]
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
#[case("rms_norm_eps", "null", "rms_norm_eps is null: a finite number is needed")]
#[case("rope_theta", "-1.0", "rope_theta: -1e0")]
#[case("eos_token_id", "11", "eos_token_id: 11 is outside the vocabulary of 11")]
#[case("num_hidden_layers", "70000", "num_hidden_layers: 70000")]
#[case("num_hidden_layers", "3", "`model.layers.2.input_layernorm.weight` is missing (and 8 more)")]
#[case("hidden_size", "18446744073709551615", "hidden_size: 18446744073709551615")]
#[case(
    "vocab_size",
    "12",
    "has shape [11, 32], but the configuration requires [12, 32]: vocab_size is 12 in config.json"
)]
fn an_unsupported_or_invalid_configuration_is_refused(
    #[case] key: &str,
    #[case] value: &str,
    #[case] why: &str,
) {
    let line = refusal(directory(&config_with(key, value)));
    assert!(line.contains(why), "{line}");
}

#[rstest]
#[case::window_switched_off("sliding_window", "null")]
#[case::no_type("model_type", "null")]
#[case::one_architecture("architectures", "\"LlamaForCausalLM\"")]
#[case::mlx("rope_traditional", "false")]
#[case::window_of_the_whole_context("sliding_window", "128")]
#[case::all_layers_alike("layer_types", r#"["full_attention", "full_attention"]"#)]
#[case::all_layers_rotated("no_rope_layers", "[1, 1]")]
#[case::another_name_of_silu("hidden_act", "\"swish\"")]
#[case::multiplied_by_1("embedding_multiplier", "1.0")]
#[case::the_usual_scale("attention_multiplier", "0.408248290463863")]
#[case::split_matrices("pretraining_tp", "2")]
#[case::bias_switched_off("qkv_bias", "false")]
#[case::how_it_was_stored("torch_dtype", "\"bfloat16\"")]
fn settings_that_change_nothing_are_accepted_silently(#[case] key: &str, #[case] value: &str) {
    let weights = directory(&config_with(key, value)).unwrap();
    assert_eq!((weights.config(), weights.notes()), (directory(CONFIG).unwrap().config(), &[][..]));
}

#[test]
fn unknown_keys_are_noted_with_their_values() {
    let one = directory(&config_with("mystery", "[1]")).unwrap();
    assert_eq!(one.notes(), [r#"config.json has an unknown key, which is ignored: "mystery" [1]"#]);
    let inner = directory(&config_with("rope_scaling", r#"{"rope_tipe": "default"}"#)).unwrap();
    let note = r#"config.json has an unknown key, which is ignored: "rope_scaling.rope_tipe" "default""#;
    assert_eq!(inner.notes(), [note]);
    let mut file = GgufFile::tiny();
    let two = gguf(file.set("llama.mystery", value_u32(1)).set("llama.y", value_text("\n"))).unwrap();
    let note = r#"the metadata has 2 unknown keys, which are ignored: "llama.mystery" 1, "llama.y" "\n""#;
    assert_eq!(two.notes(), [note]);
}

#[rstest]
#[case("general.architecture", value_text("mistral"), "`general.architecture` is \"mistral\"")]
#[case("general.architecture", value_text("falcon"), "`general.architecture` is \"falcon\"")]
#[case("llama.rope.scaling.type", value_text("yarn"), "`llama.rope.scaling.type` is \"yarn\"")]
#[case("llama.rope.scaling.factor", value_f32(-1.0), "`llama.rope.scaling.factor` is -1.0: factor -1.0 is not above 0")]
#[case("llama.rope.scaling.type", value_u32(0), "`llama.rope.scaling.type` is 0: a text is needed")]
#[case(
    "llama.rope.freq_base",
    value_text("30000"),
    "`llama.rope.freq_base` is \"30000\": a finite number is needed"
)]
#[case(
    "llama.rope.freq_base",
    value_f32(f32::NAN),
    "`llama.rope.freq_base` is NaN: a finite number is needed"
)]
#[case(
    "llama.rope.freq_base",
    value_f32(f32::INFINITY),
    "`llama.rope.freq_base` is Infinity: a finite number is needed"
)]
#[case("llama.rope.freq_base", value_f32(0.5), "rope_theta: 5e-1")]
#[case(
    "llama.rope.freq_base_swa",
    value_f32(1e4),
    "`llama.rope.freq_base_swa` is 10000.0, but `llama.rope.freq_base` is 30000.0"
)]
#[case(
    "llama.attention.layer_norm_rms_epsilon",
    value_text("x"),
    "epsilon` is \"x\": a finite number is needed"
)]
#[case("llama.attention.head_count_kv", value_array(4, 2, &[2, 0, 0, 0, 1, 0, 0, 0]), "`llama.attention.head_count_kv` is [2,1]: layers with different values")]
#[case("llama.attention.head_count_kv", value_array(4, 0, &[]), "`llama.attention.head_count_kv` is []: a single value is needed")]
#[case("llama.block_count", value_array(0, 70_000, &[2; 70_000]), "`llama.block_count` is an array of 70000 values: a single one is needed")]
#[case(
    "tokenizer.ggml.eos_token_id",
    value_text("2"),
    "`tokenizer.ggml.eos_token_id` is \"2\": a token id is needed"
)]
#[case("llama.expert_count", value_u32(8), "`llama.expert_count` is 8")]
#[case(
    "llama.attention.scale",
    value_f32(0.5),
    "`llama.attention.scale` is 0.5: it changes what the model computes"
)]
#[case("llama.logit_scale", value_f32(0.25), "`llama.logit_scale` is 0.25")]
#[case("llama.attention.sliding_window", value_u32(64), "`llama.attention.sliding_window` is 64")]
#[case("llama.rope.scaling.attn_factor", value_f32(1.5), "`llama.rope.scaling.attn_factor` is 1.5")]
#[case("llama.attention.value_length", value_u32(4), "`llama.attention.value_length` is 4")]
#[case("llama.rope.dimension_count", value_u32(4), "`llama.rope.dimension_count` is 4")]
#[case("llama.block_count", value_text("two"), "`llama.block_count` is \"two\"")]
#[case("llama.attention.head_count", value_u32(0), "num_attention_heads: 0")]
#[case("llama.attention.head_count_kv", value_u32(3), "num_key_value_heads: 4 query heads cannot share 3")]
#[case(
    "llama.vocab_size",
    value_u32(12),
    "has shape [11, 32], but the configuration requires [12, 32]: `llama.vocab_size` is 12 in the metadata"
)]
#[case(
    "llama.attention.head_count",
    value_u32(2),
    "requires [12, 32]: `llama.attention.head_count` is 2 and `llama.attention.key_length` is 6 in the metadata"
)]
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

#[rstest]
#[case::linear_scaling_by_1("llama.rope.scaling.type", value_text("linear"))]
#[case::no_scaling("llama.rope.scaling.type", value_text("none"))]
#[case::a_factor_of_1("llama.rope.scaling.factor", value_f32(1.0))]
#[case::an_absent_factor("llama.rope.scaling.factor", value_f32(0.0))]
#[case::the_same_number_of_heads_in_every_layer(
    "llama.attention.head_count_kv",
    value_array(4, 2, &[2, 0, 0, 0, 2, 0, 0, 0])
)]
#[case::the_same_width_in_every_layer("llama.feed_forward_length", value_array(5, 2, &[64, 0, 0, 0, 64, 0, 0, 0]))]
#[case::no_beginning("tokenizer.ggml.bos_token_id", value_u32(u32::MAX))]
#[case::causal_as_a_number("llama.attention.causal", value_u32(1))]
#[case::an_absent_scale("llama.attention.scale", value_f32(0.0))]
#[case::the_usual_scale("llama.attention.scale", value_f32(0.408_248_3))]
#[case::sizes_as_floats("llama.context_length", value_f32(128.0))]
fn gguf_metadata_that_change_nothing_are_read(#[case] key: &str, #[case] value: Vec<u8>) {
    let weights = gguf(GgufFile::tiny().set(key, value)).unwrap();
    assert_eq!(weights.config(), gguf(&GgufFile::tiny()).unwrap().config());
}

#[rstest]
#[case::a_factor("llama.rope.scaling.factor")]
#[case::the_factor_of_old_files("llama.rope.scale_linear")]
fn linear_scaling_is_read_from_gguf_metadata(#[case] key: &str) {
    let weights = gguf(GgufFile::tiny().set(key, value_f32(4.0))).unwrap();
    assert_eq!(weights.config().rope_scaling, RopeScaling::Linear { factor: 4.0 });
}

#[test]
fn factors_for_each_pair_are_multiplied_by_the_linear_factor() {
    let mut file = with_factors([1.0, 3.0, 8.0]);
    let per_pair = |factors: &[f32]| RopeScaling::PerPair { factors: factors.to_vec() };
    assert_eq!(gguf(&file).unwrap().config().rope_scaling, per_pair(&[1.0, 3.0, 8.0]));
    file.set("llama.rope.scaling.factor", value_f32(2.0));
    assert_eq!(gguf(&file).unwrap().config().rope_scaling, per_pair(&[2.0, 6.0, 16.0]));
}

#[test]
fn factors_for_each_pair_that_are_1_are_no_scaling() {
    assert_eq!(gguf(&with_factors([1.0; 3])).unwrap().config().rope_scaling, RopeScaling::None);
}

#[test]
fn a_factor_of_0_for_a_pair_is_refused() {
    let line = refusal(gguf(&with_factors([1.0, 0.0, 8.0])));
    assert!(line.contains("`rope_freqs.weight`: the factor of pair 1 is 0.0"), "{line}");
}

/// A file with these values in `rope_freqs.weight`.
fn with_factors(factors: [f32; 3]) -> GgufFile {
    let mut file = GgufFile::tiny();
    let mut extra = file.tensor("output_norm.weight").clone();
    extra.name = "rope_freqs.weight".into();
    extra.dims = vec![3];
    extra.data = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
    file.tensors.push(extra);
    file
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

/// A `config.json` of Qwen 2 with these entries besides.
fn qwen2(entries: &str) -> String {
    let config = CONFIG.replace("LlamaForCausalLM", "Qwen2ForCausalLM").replace("\"llama\"", "\"qwen2\"");
    assert!(config.contains("\"qwen2\"") && config.contains("Qwen2ForCausalLM"));
    config.replacen('{', &format!("{{{entries}"), 1)
}

/// A directory with this config and with biases of q, k and v.
fn with_biases(config: &str) -> rbees_check::Result<Weights> {
    let dir = tempfile::tempdir().unwrap();
    let bias = |layer: u8, part: &str, width| {
        (format!("model.layers.{layer}.self_attn.{part}_proj.bias"), (vec![width], vec![0.5; width]))
    };
    let biases = (0..2).flat_map(|layer| [("q", 24), ("k", 12), ("v", 12)].map(|(p, w)| bias(layer, p, w)));
    write_directory(dir.path(), config, &tensors().into_iter().chain(biases).collect());
    Weights::open(dir.path())
}

#[rstest]
#[case::window_not_mentioned("")]
#[case::window_not_switched_on(r#""sliding_window": 64,"#)]
#[case::window_switched_off(r#""use_sliding_window": false, "sliding_window": 64, "max_window_layers": 1,"#)]
fn qwen_2_has_biases_of_q_k_and_v(#[case] entries: &str) {
    let weights = with_biases(&qwen2(entries)).unwrap();
    let biases = ["self_attn.k_proj", "self_attn.q_proj", "self_attn.v_proj"];
    assert!(weights.config().biases.iter().eq(biases), "{:?}", weights.config());
    assert_eq!((weights.unread(), weights.notes()), (vec![], &[][..]));
}

#[test]
fn qwen_2_without_biases_or_with_a_window_is_refused() {
    let line = refusal(directory(&qwen2("")));
    assert!(line.contains("tensor `model.layers.0.self_attn.q_proj.bias` is missing (and 5 more)"), "{line}");
    let line = refusal(with_biases(&qwen2(r#""use_sliding_window": true, "sliding_window": 64,"#)));
    assert!(line.contains("use_sliding_window true is not supported"), "{line}");
}

#[test]
fn the_keys_of_an_architecture_start_with_its_name() {
    let mut file = GgufFile::tiny();
    file.set("general.architecture", value_text("qwen2"));
    let line = refusal(gguf(&file));
    assert!(line.contains("metadata `qwen2.embedding_length` is missing"), "{line}");
}

/// `CONFIG` as that of a Mistral, with these entries besides.
fn mistral(entries: &str) -> String {
    let config = CONFIG.replace("LlamaForCausalLM", "MistralForCausalLM").replace("\"llama\"", "\"mistral\"");
    config.replacen('{', &format!("{{{entries}"), 1)
}

#[rstest]
#[case::the_default_of_transformers("", Some(4096))]
#[case::none(r#""sliding_window": null,"#, None)]
#[case::a_window(r#""sliding_window": 5,"#, Some(5))]
#[case::a_key_of_qwen_2(r#""sliding_window": 5, "use_sliding_window": false,"#, Some(5))]
fn the_window_of_a_mistral_is_read(#[case] entries: &str, #[case] window: Option<usize>) {
    let weights = directory(&mistral(entries)).unwrap();
    assert_eq!((weights.config().sliding_window, weights.notes()), (window, &[][..]));
}

#[rstest]
#[case(r#""sliding_window": 0,"#, "sliding_window: 0 hides every token from itself")]
#[case(r#""sliding_window": true,"#, "sliding_window is true: a whole number is needed")]
#[case(
    r#""layer_types": ["sliding_attention", "full_attention"],"#,
    "layer_types [\"sliding_attention\",\"full_attention\"] is not supported"
)]
fn an_impossible_or_unsupported_window_is_refused(#[case] entries: &str, #[case] why: &str) {
    let line = refusal(directory(&mistral(entries)));
    assert!(line.contains(why), "{line}");
}

#[test]
fn a_gguf_file_of_a_mistral_is_noted_because_it_states_no_window() {
    let notes = |name| gguf(GgufFile::tiny().set("general.name", value_text(name))).unwrap().notes().to_vec();
    assert_eq!(notes("Llama"), [""; 0]);
    let [note] = &notes("Mistral 7B v0.1")[..] else { panic!() };
    assert!(
        note.starts_with("general.name is \"Mistral 7B v0.1\": if this model has a sliding window"),
        "{note}"
    );
}

/// The config of a part of a model: only numbers are read, and no tensor is needed.
fn part(config: &str) -> rbees_check::Result<Config> {
    let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(config).unwrap();
    config.insert("rbees_check_part".into(), "lm_head".into());
    let dir = tempfile::tempdir().unwrap();
    write_directory(dir.path(), &serde_json::to_string(&config).unwrap(), &BTreeMap::new());
    Ok(Weights::open_part(dir.path())?.config().clone())
}

/// A config.json without what transformers has defaults for.
fn bare(model_type: &str, more: &str) -> String {
    format!(
        r#"{{"model_type": "{model_type}", "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 11, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6 {more}}}"#
    )
}

const FULL: LayerType = LayerType::Full;
const SLIDING: LayerType = LayerType::Sliding;

#[test]
fn a_gemma_2_has_the_defaults_of_transformers() {
    let config = part(&bare("gemma2", "")).unwrap();
    assert_eq!(config.family, Family::Gemma2);
    assert_eq!((config.head_dim, config.rope_theta, config.tie_word_embeddings), (256, 1e4, true));
    assert_eq!((config.bos_token_id, &config.eos_token_ids[..]), (Some(2), &[1][..]));
    assert_eq!(config.sliding_window, Some(4096));
    assert_eq!(config.layer_types, [SLIDING, FULL, SLIDING, FULL, SLIDING, FULL]);
    let caps = (config.attn_logit_softcapping, config.final_logit_softcapping);
    assert_eq!((caps, config.query_pre_attn_scalar), ((Some(50.0), Some(30.0)), None));
    assert_eq!(config.attention_scale(), 1.0 / 16.0);
}

#[test]
fn a_gemma_3_has_the_defaults_of_transformers() {
    let config = part(&bare("gemma3_text", "")).unwrap();
    assert_eq!((config.rope_theta, config.local_rope_theta), (1e6, Some(1e4)));
    assert_eq!(config.layer_types, [SLIDING, SLIDING, SLIDING, SLIDING, SLIDING, FULL]);
    assert_eq!((config.attn_logit_softcapping, config.final_logit_softcapping), (None, None));
}

/// transformers 4 wrote θ of both types of layer to the top, and the pattern of layers in place of a list.
#[test]
fn both_spellings_of_a_gemma_3_give_the_same_configuration() {
    let old = r#", "head_dim": 12, "query_pre_attn_scalar": 16, "sliding_window": 512, "sliding_window_pattern": 3,
        "rope_theta": 4e5, "rope_local_base_freq": 2e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "hidden_activation": "gelu_pytorch_tanh", "attn_logit_softcapping": null"#;
    let new = r#", "head_dim": 12, "query_pre_attn_scalar": 16, "sliding_window": 512,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention",
            "sliding_attention", "full_attention"],
        "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 4e5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}}"#;
    let (old, new) = (part(&bare("gemma3_text", old)).unwrap(), part(&bare("gemma3_text", new)).unwrap());
    assert_eq!(old, new);
    assert_eq!(new.layer_types, [SLIDING, SLIDING, FULL, SLIDING, SLIDING, FULL]);
    assert_eq!((new.rope_theta, new.local_rope_theta), (4e5, Some(2e4)));
    assert_eq!(
        (new.rope_scaling, new.query_pre_attn_scalar),
        (RopeScaling::Linear { factor: 8.0 }, Some(16.0))
    );
}

#[rstest]
#[case::none("", &[])]
#[case::attention_bias(
    r#", "attention_bias": true"#,
    &["self_attn.k_proj", "self_attn.o_proj", "self_attn.q_proj", "self_attn.v_proj"]
)]
fn a_qwen_3_has_biases_only_if_its_config_says_so(#[case] more: &str, #[case] biases: &[&str]) {
    let config = part(&bare("qwen3", more)).unwrap();
    assert_eq!(config.biases.iter().map(String::as_str).collect::<Vec<_>>(), biases);
    assert_eq!((config.head_dim, config.sliding_window, config.tie_word_embeddings), (128, None, false));
}

#[rstest]
#[case::window_of_qwen_3(
    "qwen3",
    r#", "use_sliding_window": true"#,
    "use_sliding_window true is not supported"
)]
#[case::both_directions(
    "gemma3_text",
    r#", "use_bidirectional_attention": true"#,
    "use_bidirectional_attention true"
)]
#[case::score_cap_of_gemma_3(
    "gemma3_text",
    r#", "attn_logit_softcapping": 50.0"#,
    "attn_logit_softcapping 50.0"
)]
#[case::other_activation(
    "gemma2",
    r#", "hidden_activation": "gelu""#,
    "hidden_activation \"gelu\" is not supported"
)]
#[case::other_layers(
    "gemma2",
    r#", "layer_types": ["full_attention"]"#,
    "layer_types is [\"full_attention\"]"
)]
#[case::chunked_layers("gemma2", r#", "layer_types": ["chunked_attention", "full_attention", "full_attention", "full_attention", "full_attention", "full_attention"]"#, "layer_types is [\"chunked_attention\"")]
#[case::local_scaling("gemma3_text", r#", "rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}, "full_attention": {"rope_type": "default"}}"#, "rope_parameters")]
#[case::yarn("qwen3", r#", "rope_scaling": {"rope_type": "yarn", "factor": 4.0}"#, "rope_scaling")]
#[case::longrope("qwen3", r#", "rope_scaling": {"rope_type": "longrope"}"#, "rope_scaling")]
#[case::experts("qwen3_moe", "", "model_type \"qwen3_moe\" is not supported")]
#[case::images("gemma3", "", "model_type \"gemma3\" is not supported")]
#[case::gemma_3n("gemma3n_text", "", "model_type \"gemma3n_text\" is not supported")]
fn what_a_family_may_have_and_is_not_supported_is_refused(
    #[case] model_type: &str,
    #[case] more: &str,
    #[case] says: &str,
) {
    let line = refusal(part(&bare(model_type, more)));
    assert!(line.contains(says), "{line}");
}
