//! Safetensors files and their index.

use made::CONFIG;
use rstest::rstest;

use super::*;

/// A safetensors file with this header and `data` bytes of zeros.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

#[rstest]
#[case::empty(vec![], "is empty")]
#[case::short(vec![1; 7], "too small")]
#[case::header_length(vec![0xff; 8], "too large")]
#[case::header_past_the_end([&100u64.to_le_bytes()[..], b"{}"].concat(), "model.safetensors: ")]
#[case::not_json(safetensors("{", 0), "invalid JSON")]
#[case::deep(safetensors(&"{\"a\":".repeat(100_000), 0), "model.safetensors: ")]
#[case::not_utf_8([&2u64.to_le_bytes()[..], b"\xff\xff"].concat(), "model.safetensors: ")]
#[case::tensor_twice(safetensors(r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "a": {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]}}"#, 4), "duplicate key \"a\"")]
#[case::long_name_twice(safetensors(&format!(r#"{{"{0}": {{"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, "{0}": {{"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}}}"#, "n".repeat(200_000)), 4), "duplicate key \"nnn")]
#[case::end_before_start(
    safetensors(r#"{"a": {"dtype": "U8", "shape": [1], "data_offsets": [4, 3]}}"#, 4),
    "model.safetensors: "
)]
#[case::offset_wraps(safetensors(r#"{"a": {"dtype": "U8", "shape": [18446744073709551615], "data_offsets": [0, 18446744073709551615]}}"#, 4), "past the end")]
#[case::shape_wraps(
    safetensors(r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 4]}}"#, 4),
    "model.safetensors: "
)]
#[case::overlap(safetensors(r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}"#, 6), "model.safetensors: ")]
#[case::hole(
    safetensors(r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}}"#, 8),
    "model.safetensors: "
)]
#[case::unknown_type(
    safetensors(r#"{"a": {"dtype": "X\u001b9", "shape": [4], "data_offsets": [0, 4]}}"#, 4),
    "model.safetensors: "
)]
#[case::another_model(
    safetensors(r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#, 4),
    "tensor `model.embed_tokens.weight` is missing"
)]
fn a_damaged_safetensors_file_is_refused(#[case] bytes: Vec<u8>, #[case] why: &str) {
    let folder = one("model.safetensors", bytes);
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    refused(folder.path(), &["inspect", "."], why);
}

#[test]
fn a_million_tensors_are_refused() {
    let entry = |n: usize| format!("\"{n}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    let header = format!("{{{}}}", (0..1_000_000).map(entry).collect::<Vec<_>>().join(","));
    let folder = one("model.safetensors", safetensors(&header, 0));
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    refused(folder.path(), &["inspect", "."], "its header has");
}

#[rstest]
#[case::not_json("{", "model.safetensors.index.json: ")]
#[case::no_map("{}", "missing field `weight_map`")]
#[case::list("{\"weight_map\": []}", "model.safetensors.index.json: ")]
#[case::above("{\"weight_map\": {\"a\": \"../secret.safetensors\"}}", "is not a plain file name")]
#[case::absolute("{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "is not a plain file name")]
#[case::below("{\"weight_map\": {\"a\": \"x/y.safetensors\"}}", "is not a plain file name")]
#[case::itself("{\"weight_map\": {\"a\": \".\"}}", "is not a plain file name")]
#[case::zero("{\"weight_map\": {\"a\": \"a\\u0000b\"}}", "a\\0b")]
#[case::missing("{\"weight_map\": {\"a\": \"b.safetensors\"}}", "b.safetensors")]
#[case::escapes("{\"weight_map\": {\"a\": \"\\u001b[2J\\n\"}}", "\\u{1b}[2J\\n")]
#[case::not_there("{\"weight_map\": {\"\\u001b[2J\": \"a.safetensors\"}}", "lists `\\u{1b}[2J`")]
#[case::long_name(&format!("{{\"weight_map\": {{\"{}\": \"a.safetensors\"}}}}", "n".repeat(200_000)), "nnn…` in a.safetensors")]
#[case::empty("{\"weight_map\": {}}", "is missing")]
fn an_index_that_leads_elsewhere_is_refused(#[case] index: &str, #[case] why: &str) {
    let folder = one("config.json", CONFIG);
    fs::write(folder.path().join("a.safetensors"), made::safetensors(&made::tensors())).unwrap();
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    refused(folder.path(), &["inspect", "."], why);
}

/// A weight that is not a number makes every comparison meaningless.
#[rstest]
#[case(f32::NAN)]
#[case(f32::INFINITY)]
fn weights_that_are_not_finite_are_refused(#[case] number: f32) {
    let folder = one("config.json", CONFIG);
    let mut tensors = made::tensors();
    tensors.get_mut("model.layers.1.mlp.up_proj.weight").unwrap().1[5] = number;
    fs::write(folder.path().join("model.safetensors"), made::safetensors(&tensors)).unwrap();
    let args = ["run", "03", "--model", ".", "--references", "tiny-llama"];
    refused(folder.path(), &args, "model.layers.1.mlp.up_proj.weight");
}
