//! Keys of `config.json`.

use super::*;

#[rstest]
#[case::nested_by_layer_type(json!({"rope_theta": null, "rope_parameters": {"full_attention": {"rope_theta": 30000.0, "rope_type": "default"}}}))]
#[case::equal_for_two_types(json!({"rope_theta": null, "rope_parameters": {"full_attention": {"rope_theta": 30000.0}, "sliding_attention": {"rope_theta": 30000}}}))]
#[case::as_in_transformers_4(json!({"rope_parameters": null, "rope_scaling": {"type": "default"}}))]
#[case::scaling_by_1(json!({"rope_parameters": null, "rope_scaling": {"type": "linear", "factor": 1.0}}))]
#[case::integers_as_floats(json!({"max_position_embeddings": 1024.0, "hidden_size": 128.0, "eos_token_id": [0.0, 2]}))]
#[case::saved_from_gguf(json!({"quantization_config": {"quant_method": "gguf"}}))]
#[case::another_name_of_silu(json!({"hidden_act": "swish"}))]
fn other_spellings_of_the_same_config_pass_silently(#[case] changes: Value) {
    let model = Model::new();
    model.config(changes);
    let (code, text) = model.run(JUDGE);
    assert!(code == 0 && !text.contains("note:"), "{text}");
}

#[rstest]
#[case::byte_order_mark(|text: String| format!("\u{feff}{text}"))]
#[case::nan_where_it_does_not_matter(|text: String| text.replace("0.05", "NaN"))]
#[case::no_padding_token(|text: String| text.replace("\"pad_token_id\": null", "\"pad_token_id\": -1"))]
fn odd_json_is_read_where_it_has_a_meaning(#[case] alter: fn(String) -> String) {
    let model = Model::new();
    let (before, after) = (model.text("config.json"), alter(model.text("config.json")));
    assert_ne!(before, after);
    model.write("config.json", after);
    check(&model, 0, &["PASS  00  weights"]);
}

#[test]
fn an_end_token_of_minus_1_is_none() {
    let model = Model::new();
    model.config(json!({"eos_token_id": -1}));
    model.write("generation_config.json", "{}");
    // The references have two end tokens.
    check(&model, 1, &["FAIL 00 weights · eos_token_ids", "you read []; the config says [0, 2]"]);
}

#[rstest]
#[case::theta_as_text("30000.0", "\"30000\"", "is \"30000\": a finite number is needed")]
#[case::theta_null(
    "\"rope_theta\": 30000.0",
    "\"rope_theta\": null",
    "rope_theta is null: a finite number is needed"
)]
#[case::theta_nan("30000.0", "NaN", "rope_theta is NaN: a finite number is needed")]
#[case::eps_infinite("3e-05", "Infinity", "rms_norm_eps is Infinity: a finite number is needed")]
#[case::size_with_a_fraction(
    "\"hidden_size\": 128",
    "\"hidden_size\": 128.5",
    "hidden_size is 128.5: a whole number is needed"
)]
#[case::size_negative(
    "\"vocab_size\": 512",
    "\"vocab_size\": -1",
    "vocab_size is -1: a whole number is needed"
)]
#[case::size_as_text(
    "\"hidden_size\": 128",
    "\"hidden_size\": \"128\"",
    "hidden_size is \"128\": a whole number is needed"
)]
#[case::size_null(
    "\"vocab_size\": 512",
    "\"vocab_size\": null",
    "vocab_size is null: a whole number is needed"
)]
#[case::eps_null("3e-05", "null", "rms_norm_eps is null: a finite number is needed")]
#[case::tie_as_text(
    "\"tie_word_embeddings\": true",
    "\"tie_word_embeddings\": \"yes\"",
    "tie_word_embeddings is \"yes\": true or false is needed"
)]
#[case::end_of_two(
    "\"bos_token_id\": 0",
    "\"bos_token_id\": -2",
    "bos_token_id is -2: a token id, or null for none, is needed"
)]
#[case::twice(
    "\"vocab_size\": 512",
    "\"vocab_size\": 512, \"vocab_size\": 512",
    "duplicate key \"vocab_size\""
)]
#[case::two_thetas(
    "\"rope_theta\": 30000.0,\n  \"tie",
    "\"rope_theta\": 10000.0,\n  \"tie",
    "rope_theta is 10000.0, but rope_parameters.rope_theta is 30000.0"
)]
#[case::rows(
    "\"vocab_size\": 512",
    "\"vocab_size\": 513",
    "has shape [512, 128], but the configuration requires [513, 128]: vocab_size is 513 in config.json"
)]
#[case::heads(
    "\"num_key_value_heads\": 2",
    "\"num_key_value_heads\": 3",
    "num_key_value_heads is 3 and head_dim is 32 in config.json"
)]
#[case::escapes(
    "\"vocab_size\": 512",
    "\"vocab_size\": \"\\u001b[2J\\u202e\"",
    "vocab_size is \"\\u001b[2J\\u{202e}\": a whole number is needed"
)]
fn a_value_without_a_meaning_is_refused_with_its_key(
    #[case] from: &str,
    #[case] to: &str,
    #[case] why: &str,
) {
    let model = Model::new();
    let text = model.text("config.json");
    let altered = text.replace(from, to);
    assert_ne!(text, altered);
    model.write("config.json", altered);
    let (code, text) = model.run(JUDGE);
    assert!(code == 2 && text.starts_with("error: ") && text.contains("\nhint: "), "{text}");
    assert!(text.contains(why), "{text}");
}

#[rstest]
#[case(json!({"attention_bias": true}), "tensor `model.layers.0.self_attn.q_proj.bias` is missing")]
#[case(json!({"use_bias": true}), "use_bias true is not supported")]
#[case(json!({"sliding_window": 128}), "sliding_window 128 is not supported")]
#[case(json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor 0.5 is not supported")]
#[case(json!({"rope_interleaved": true}), "rope_interleaved true is not supported")]
#[case(json!({"residual_multiplier": 0.22}), "residual_multiplier 0.22 is not supported")]
#[case(json!({"logits_scaling": 8}), "logits_scaling 8 is not supported")]
#[case(json!({"no_rope_layers": [1, 1, 1, 0]}), "no_rope_layers [1,1,1,0] is not supported")]
#[case(json!({"rope_parameters": null, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), "rope_scaling {\"factor\":4.0,\"rope_type\":\"yarn\"} is not supported yet")]
#[case(json!({"quantization_config": {"quant_method": "awq"}}), "quantization_config {\"quant_method\":\"awq\"} is not supported")]
fn a_setting_that_changes_the_computation_is_refused_by_name(#[case] changes: Value, #[case] why: &str) {
    let model = Model::new();
    model.config(changes);
    let (code, text) = model.run(JUDGE);
    assert!(code == 2 && text.contains(why), "{text}");
}

#[test]
fn an_unknown_key_is_noted_with_its_value() {
    let model = Model::new();
    model.config(json!({"mystery": [1, 2]}));
    check(&model, 0, &["config.json has an unknown key, which is ignored: \"mystery\" [1,2]"]);
}
