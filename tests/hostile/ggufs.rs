//! GGUF files.

use made::{GgufFile, GgufTensor, text, value_array, value_f32, value_text, value_texts, value_u32};
use rstest::rstest;

use super::*;

/// A metadata value: the bytes of its type, and of its content.
fn value(code: u32, content: &[u8]) -> Vec<u8> {
    [&code.to_le_bytes()[..], content].concat()
}

#[rstest]
#[case::magic(|f: &mut GgufFile| f.magic = *b"GGUX", "is not a GGUF file")]
#[case::version_0(|f: &mut GgufFile| f.version = 0, "GGUF version 0")]
#[case::version_9(|f: &mut GgufFile| f.version = 9, "GGUF version 9")]
#[case::big_endian(|f: &mut GgufFile| f.version = 3 << 24, "big-endian")]
#[case::all_tensors(|f: &mut GgufFile| f.tensor_count = Some(u64::MAX), "a tensor count of 18446744073709551615")]
#[case::many_tensors(|f: &mut GgufFile| f.tensor_count = Some(1 << 40), "cannot fit")]
#[case::all_values(|f: &mut GgufFile| f.value_count = Some(u64::MAX), "a metadata count of")]
#[case::long_string(|f: &mut GgufFile| { f.set("x", value(8, &u64::MAX.to_le_bytes())); }, "a string takes 18446744073709551615 bytes")]
#[case::long_array(|f: &mut GgufFile| { f.set("x", value_array(10, u64::MAX / 8 + 1, &[])); }, "metadata `x`: an array of")]
#[case::array_of_arrays(|f: &mut GgufFile| { f.set("x", value_array(9, 0, &[])); }, "arrays of arrays")]
#[case::value_type(|f: &mut GgufFile| { f.set("x", value(13, &[])); }, "value type 13 does not exist")]
#[case::boolean(|f: &mut GgufFile| { f.set("x", value(7, &[2])); }, "a boolean is 2")]
#[case::string_not_utf_8(|f: &mut GgufFile| { f.set("x", value(8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff])); }, "is not UTF-8")]
#[case::key_twice(|f: &mut GgufFile| f.metadata.push(f.metadata[0].clone()), "`general.architecture` appears twice")]
#[case::key_with_escapes(|f: &mut GgufFile| { f.set("a\u{1b}[2J\nPASS", value(13, &[])); }, "metadata `a\\u{1b}[2J\\nPASS`")]
#[case::long_key(|f: &mut GgufFile| { f.set(&"k".repeat(200_000), value(13, &[])); }, "kkkk…`: value type 13")]
#[case::tensor_twice(|f: &mut GgufFile| f.tensors.push(f.tensors[0].clone()), "appears twice")]
#[case::long_name(|f: &mut GgufFile| { f.tensors[0].name = "n".repeat(200_000); f.tensors[0].dims.clear(); }, "nnnn…`: has 0 dimensions")]
#[case::name_with_escapes(|f: &mut GgufFile| { f.tensors[0].name = "\u{202e}x\u{7}".into(); f.tensors[0].code = 99; }, "tensor `\\u{202e}x\\u{7}`")]
#[case::alignment_0(|f: &mut GgufFile| { f.set("general.alignment", value_u32(0)); }, "`general.alignment` is 0")]
#[case::alignment_huge(|f: &mut GgufFile| { f.set("general.alignment", value_u32(1 << 31)); }, "`general.alignment` is 2147483648")]
#[case::alignment_is_an_array(|f: &mut GgufFile| { f.set("general.alignment", value_array(0, 4, &[8; 4])); }, "`general.alignment` is an array")]
#[case::no_dimensions(|f: &mut GgufFile| f.tensors[0].dims.clear(), "has 0 dimensions")]
#[case::five_dimensions(|f: &mut GgufFile| f.tensors[0].dims = vec![1; 5], "has 5 dimensions")]
#[case::dimension_0(|f: &mut GgufFile| f.tensors[0].dims = vec![0], "a dimension of 0")]
#[case::dimensions_wrap(|f: &mut GgufFile| f.tensors[0].dims = vec![1 << 32, 1 << 32], "more than memory can address")]
#[case::past_the_end(|f: &mut GgufFile| f.tensors[0].dims = vec![1 << 40], "do not fit")]
#[case::broken_rows(|f: &mut GgufFile| f.tensor("blk.1.ffn_down.weight").dims = vec![48, 64], "rows of 48")]
#[case::iq4_xs(|f: &mut GgufFile| f.tensors[0].code = 23, "type IQ4_XS is not supported")]
#[case::unknown_type(|f: &mut GgufFile| f.tensors[0].code = u32::MAX, "type number 4294967295")]
#[case::offset_wraps(|f: &mut GgufFile| f.tensors[0].offset = Some(u64::MAX - 31), "do not fit")]
#[case::misaligned(|f: &mut GgufFile| f.tensors[0].offset = Some(4), "not a multiple of the alignment")]
#[case::overlap(|f: &mut GgufFile| f.tensors[1].offset = Some(0), "overlap")]
#[case::architecture(|f: &mut GgufFile| { f.set("general.architecture", value_text("a\u{1b}[2J\n")); }, "architecture")]
#[case::architecture_is_an_array(|f: &mut GgufFile| { f.set("general.architecture", value_texts(&["llama", "x"])); }, "general.architecture")]
#[case::theta_is_text(|f: &mut GgufFile| { f.set("llama.rope.freq_base", value_text("1e4")); }, "`llama.rope.freq_base` is \"1e4\"")]
#[case::theta_nan(|f: &mut GgufFile| { f.set("llama.rope.freq_base", value_f32(f32::NAN)); }, "`llama.rope.freq_base` is NaN")]
#[case::theta_infinite(|f: &mut GgufFile| { f.set("llama.rope.freq_base", value_f32(f32::INFINITY)); }, "`llama.rope.freq_base` is Infinity")]
#[case::eps_0(|f: &mut GgufFile| { f.set("llama.attention.layer_norm_rms_epsilon", value_f32(0.0)); }, "rms_norm_eps")]
#[case::no_heads(|f: &mut GgufFile| { f.set("llama.attention.head_count", value_u32(0)); }, "num_attention_heads: 0")]
#[case::many_heads(|f: &mut GgufFile| { f.set("llama.attention.head_count", value_u32(u32::MAX)); }, "num_attention_heads: 4294967295")]
#[case::many_layers(|f: &mut GgufFile| { f.set("llama.block_count", value_u32(u32::MAX)); }, "num_hidden_layers: 4294967295")]
#[case::more_layers(|f: &mut GgufFile| { f.set("llama.block_count", value_u32(65_000)); }, "model.layers.2")]
#[case::rows(|f: &mut GgufFile| { f.set("llama.vocab_size", value(10, &u64::MAX.to_le_bytes())); }, "vocab_size")]
#[case::layers_differ(|f: &mut GgufFile| { f.set("llama.attention.head_count_kv", value_array(4, 2, &[2, 0, 0, 0, 1, 0, 0, 0])); }, "layers with different values")]
#[case::negative(|f: &mut GgufFile| { f.set("llama.context_length", value(5, &(-1i32).to_le_bytes())); }, "`llama.context_length` is -1")]
#[case::no_tensors(|f: &mut GgufFile| f.tensors.clear(), "is missing")]
#[case::one_part(|f: &mut GgufFile| { f.set("split.count", value(2, &[3, 0])); f.set("split.no", value(2, &[0, 0])); }, "3 parts")]
#[case::bias(|f: &mut GgufFile| f.tensors.push(GgufTensor::of("blk.1.attn_norm.bias", &[32], &[0.5; 32])), "a bias there is not supported")]
#[case::frequencies(|f: &mut GgufFile| f.tensors.push(GgufTensor::of("rope_freqs.weight", &[3], &[1.0, f32::NAN, 0.0])), "the factor of pair 1 is NaN")]
#[case::weights_nan(|f: &mut GgufFile| f.tensor("blk.0.attn_v.weight").data[0..4].copy_from_slice(&f32::NAN.to_le_bytes()), "model.layers.0.self_attn.v_proj.weight")]
#[case::scale_infinite(|f: &mut GgufFile| f.tensor("blk.1.ffn_down.weight").data[0..2].copy_from_slice(&[0, 0x7c]), "model.layers.1.mlp.down_proj.weight")]
fn a_gguf_file_that_contradicts_itself_is_refused(#[case] alter: fn(&mut GgufFile), #[case] why: &str) {
    let mut file = GgufFile::tiny();
    alter(&mut file);
    let folder = one("model.gguf", file.bytes());
    // Weights are only looked at when a model is run.
    let inspected = ["inspect", "model.gguf"];
    let ran = ["run", "03", "--model", "model.gguf", "--references", "tiny-llama"];
    let values = why.starts_with("model.layers.") && why.ends_with(".weight");
    refused(folder.path(), if values { &ran } else { &inspected }, why);
}

#[rstest]
#[case::empty(0, "is empty")]
#[case::only_the_magic(4, "the version takes 4 bytes")]
#[case::in_the_metadata(300, "cannot fit into the 284 bytes left")]
#[case::in_the_data(20_000, "the file ends at 20000")]
fn a_gguf_file_that_was_cut_off_is_refused(#[case] length: usize, #[case] why: &str) {
    let folder = one("model.gguf", &GgufFile::tiny().bytes()[..length]);
    refused(folder.path(), &["inspect", "model.gguf"], why);
}

/// A file with a header that ends in `count` items of `width` bytes, which are zeros and take no space on the disk.
fn sparse(header: &[u8], bytes: u64) -> TempDir {
    let folder = one("model.gguf", header);
    let file = fs::OpenOptions::new().write(true).open(folder.path().join("model.gguf")).unwrap();
    file.set_len(header.len() as u64 + bytes).unwrap();
    folder
}

/// The header of a file with one metadata value, an array of `count` elements of the type `code`.
fn header(key: &str, code: u32, count: u64) -> Vec<u8> {
    [
        &b"GGUF\x03\0\0\0"[..],
        &0u64.to_le_bytes(),
        &1u64.to_le_bytes(),
        &text(key),
        &value_array(code, count, &[]),
    ]
    .concat()
}

#[rstest]
#[case::bytes(0, 1)]
#[case::booleans(7, 1)]
#[case::numbers(6, 4)]
#[case::texts(8, 8)]
fn a_huge_array_where_one_value_belongs_is_refused(#[case] code: u32, #[case] width: u64) {
    let count = 64_000_000 / width;
    let folder = sparse(&header("general.architecture", code, count), 64_000_000);
    refused(folder.path(), &["inspect", "model.gguf"], "general.architecture");
}

#[test]
fn a_million_tensors_are_refused() {
    let start = [&b"GGUF\x03\0\0\0"[..], &1_000_000u64.to_le_bytes(), &0u64.to_le_bytes()].concat();
    refused(sparse(&start, 40_000_000).path(), &["inspect", "model.gguf"], "1000000");
}

#[test]
fn a_million_metadata_values_are_refused() {
    let start = [&b"GGUF\x03\0\0\0"[..], &0u64.to_le_bytes(), &1_000_000u64.to_le_bytes()].concat();
    refused(sparse(&start, 40_000_000).path(), &["inspect", "model.gguf"], "1000000");
}
