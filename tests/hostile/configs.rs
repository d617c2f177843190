//! `config.json` and `generation_config.json`.

use made::{CONFIG, config_with};
use rstest::rstest;

use super::*;

#[rstest]
#[case::empty("", "EOF")]
#[case::not_json("{\u{7}", "config.json: ")]
#[case::list("[]", "config.json: ")]
#[case::text("\"\u{1b}[2J\"", "config.json: ")]
#[case::deep(&"[".repeat(100_000), "recursion limit")]
#[case::deep_objects(&"{\"a\":".repeat(100_000), "recursion limit")]
#[case::key_twice(&CONFIG.replacen('{', "{\"vocab_size\": 11,", 1), "duplicate key \"vocab_size\"")]
#[case::long_key_twice(&format!("{{\"{0}\": 1, \"{0}\": 1}}", "k".repeat(200_000)), "duplicate key \"kkk")]
#[case::key_with_escapes_twice("{\"\\u001b[2J\": 1, \"\\u001b[2J\": 1}", "duplicate key \"\\u{1b}[2J\"")]
#[case::oversized(&" ".repeat((1 << 20) + 1), "is larger than the limit of 1048576 bytes")]
#[case::no_family("{}", "contains neither model_type nor architectures")]
#[case::family(&config_with("model_type", "\"\\u001b[2J\\n\""), "\\u001b[2J\\n")]
#[case::long_family(&config_with("model_type", &format!("{:?}", "x".repeat(100_000))), "xxx…")]
#[case::family_is_a_number(&config_with("model_type", "7"), "model_type 7")]
#[case::size_of_1e300(&config_with("hidden_size", "1e300"), "hidden_size is 1e+300")]
#[case::size_2_pow_63(&config_with("intermediate_size", "9223372036854775808"), "intermediate_size: 9223372036854775808")]
#[case::no_layers(&config_with("num_hidden_layers", "0"), "num_hidden_layers: 0")]
#[case::many_layers(&config_with("num_hidden_layers", "1000000000"), "num_hidden_layers: 1000000000")]
#[case::no_heads(&config_with("num_attention_heads", "0"), "num_attention_heads: 0")]
#[case::odd_heads(&config_with("head_dim", "7"), "head_dim: 7 is odd")]
#[case::uneven(&config_with("num_key_value_heads", "3"), "cannot share 3 evenly")]
#[case::eps_negative(&config_with("rms_norm_eps", "-1e-5"), "rms_norm_eps: -1e-5")]
#[case::theta_0(&config_with("rope_theta", "0"), "rope_theta: 0e0")]
#[case::theta_text(&config_with("rope_theta", "\"1e4\""), "rope_theta is \"1e4\"")]
#[case::theta_null(&config_with("rope_theta", "null"), "rope_theta is null")]
#[case::inner_theta_text(&config_with("rope_scaling", "{\"rope_theta\": \"x\"}"), "rope_scaling.rope_theta is \"x\"")]
#[case::scaling_is_a_list(&config_with("rope_scaling", "[1]"), "rope_scaling is [1]")]
#[case::scaling_of_0(&config_with("rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 0}"), "factor 0.0 is not above 0")]
#[case::end_token(&config_with("eos_token_id", "[2, \"x\"]"), "eos_token_id is [2,\"x\"]")]
#[case::end_token_outside(&config_with("eos_token_id", "11"), "eos_token_id: 11 is outside the vocabulary of 11")]
#[case::quantised(&config_with("quantization_config", "{\"quant_method\": \"awq\"}"), "quantization_config")]
#[case::eps_nan(&config_with("rms_norm_eps", "7").replace("\"rms_norm_eps\":7", "\"rms_norm_eps\":NaN"), "rms_norm_eps is NaN")]
#[case::theta_1e999(&CONFIG.replace("30000.0", "1e999"), "number out of range")]
#[case::exponent_of_400_digits(&CONFIG.replace("30000.0", &format!("1e{}", "9".repeat(400))), "number out of range")]
#[case::number_of_900000_digits(&CONFIG.replace("30000.0", &"9".repeat(900_000)), "number out of range")]
#[case::half_a_character("{\"model_type\": \"\\ud800\"}", "config.json: ")]
#[case::two_marks("\u{feff}\u{feff}{}", "config.json: ")]
#[case::zero_byte("{\"model_type\": \"llama\"\0}", "config.json: ")]
#[case::single_quotes("{'model_type': 'llama'}", "config.json: ")]
#[case::comment(&CONFIG.replacen('{', "{ // x\n", 1), "config.json: ")]
#[case::size_is_true(&config_with("hidden_size", "true"), "hidden_size is true")]
#[case::layers_minus_0(&config_with("num_hidden_layers", "-0.0"), "num_hidden_layers: 0")]
#[case::layer_types(&config_with("layer_types", "[{\"a\": \"\\u001b[2J\"}, 1]"), "layer_types")]
#[case::very_many_end_tokens(&config_with("eos_token_id", &format!("[{}2]", "2,".repeat(100_000) + "99,")), "eos_token_id: 99 is outside")]
#[case::config_in_a_config(&format!("{{\"text_config\": {{\"text_config\": {CONFIG}}}}}"), "contains neither")]
fn a_config_without_a_meaning_is_refused(#[case] text: &str, #[case] why: &str) {
    let folder = tempfile::tempdir().unwrap();
    made::write_directory(folder.path(), text, &made::tensors());
    refused(folder.path(), &["inspect", "."], why);
}

#[rstest]
#[case::one_byte(b"{\"model_type\": \"\xff\"}".to_vec(), "config.json: is not valid UTF-8 at byte 16")]
#[case::utf_16([&b"\xff\xfe"[..], &CONFIG.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat(), "config.json: is not valid UTF-8 at byte 0")]
fn a_config_that_is_not_utf_8_is_refused(#[case] bytes: Vec<u8>, #[case] why: &str) {
    let folder = linked(&["config.json"]);
    fs::write(folder.path().join("config.json"), bytes).unwrap();
    refused(folder.path(), &["inspect", "."], why);
}

#[rstest]
#[case::not_json("{", "generation_config.json: ")]
#[case::end_tokens("{\"eos_token_id\": {}}", "generation_config.json: eos_token_id is {}")]
#[case::oversized(&" ".repeat((1 << 20) + 1), "generation_config.json: is larger than the limit")]
#[case::list("[1]", "generation_config.json: ")]
#[case::end_token_1e99("{\"eos_token_id\": 1e99}", "eos_token_id is 1e+99")]
fn a_generation_config_without_a_meaning_is_refused(#[case] text: &str, #[case] why: &str) {
    let folder = linked(&["generation_config.json"]);
    fs::write(folder.path().join("generation_config.json"), text).unwrap();
    refused(folder.path(), &["inspect", "."], why);
}
