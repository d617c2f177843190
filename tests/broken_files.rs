//! Files are untrusted: whatever stands in them, reading ends with a model or with one line that
//! says what is wrong. Never a panic, never an allocation that the file itself could not fill.
//! Debug and release builds differ in what overflows do, so run these in both.

mod made;

use std::path::Path;

use made::{CONFIG, GgufFile, text, value_array, value_texts, value_u32};
use proptest::prelude::*;
use rbees_check::tokenizer::Tokenizer;
use rbees_check::weights::Weights;
use rbees_check::weights::gguf::Gguf;
use rstest::rstest;
use tempfile::TempDir;

/// Opens a model and reads everything that it has.
fn read_all(path: &Path) -> rbees_check::Result<()> {
    let weights = Weights::open(path)?;
    for name in weights.names() {
        weights.canonical(&name)?;
    }
    weights.sha256()?;
    weights.unexpected();
    weights.describe();
    if let Some(file) = weights.gguf() {
        let tokenizer = Tokenizer::from_gguf(&|key| file.metadata(key), "test")?;
        tokenizer.decode(&tokenizer.encode("ab aé 11 <|im_end|>", true)?)?;
    }
    Ok(())
}

fn refusal(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.gguf");
    std::fs::write(&path, bytes).unwrap();
    let error = read_all(&path).unwrap_err();
    let line = error.to_string();
    assert!(line.contains("broken.gguf") && !line.contains('\n'), "{line}");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{line}");
    line
}

/// The tiny model with one thing changed.
fn with(change: impl FnOnce(&mut GgufFile)) -> Vec<u8> {
    let mut file = GgufFile::tiny();
    change(&mut file);
    file.bytes()
}

#[test]
fn the_file_that_the_others_are_made_from_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    read_all(&GgufFile::tiny().write(dir.path())).unwrap();
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = GgufFile::tiny().bytes();
    // The header byte by byte, the data in larger steps, and without its last byte.
    let header = (1..2500).chain((2500..whole.len()).step_by(997)).chain([whole.len() - 1]);
    for length in header {
        refusal(&whole[..length]);
    }
}

#[rstest]
#[case::magic(|f: &mut GgufFile| f.magic = *b"GGML", "is not a GGUF file")]
#[case::version_1(|f: &mut GgufFile| f.version = 1, "GGUF version 1")]
#[case::version_9(|f: &mut GgufFile| f.version = 9, "GGUF version 9")]
#[case::big_endian(|f: &mut GgufFile| f.version = 3 << 24, "big-endian")]
#[case::tensors_without_end(|f: &mut GgufFile| f.tensor_count = Some(u64::MAX), "a tensor count of 18446744073709551615")]
#[case::tensors_that_do_not_fit(|f: &mut GgufFile| f.tensor_count = Some(1 << 40), "cannot fit")]
#[case::values_without_end(|f: &mut GgufFile| f.value_count = Some(u64::MAX / 13), "a metadata count of")]
#[case::a_text_without_end(|f: &mut GgufFile| { f.set("x", [&8u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat()); }, "metadata `x`: a string takes 18446744073709551615 bytes")]
#[case::an_array_without_end(|f: &mut GgufFile| { f.set("x", value_array(10, u64::MAX / 8 + 1, &[])); }, "metadata `x`: an array of")]
#[case::texts_without_end(|f: &mut GgufFile| { f.set("x", value_array(8, 1 << 60, &[])); }, "metadata `x`: an array of")]
#[case::an_array_of_arrays(|f: &mut GgufFile| { f.set("x", value_array(9, 0, &[])); }, "arrays of arrays")]
#[case::an_unknown_value_type(|f: &mut GgufFile| { f.set("x", 13u32.to_le_bytes().to_vec()); }, "value type 13 does not exist")]
#[case::a_boolean_of_2(|f: &mut GgufFile| { f.set("x", [7, 0, 0, 0, 2].to_vec()); }, "a boolean is 2")]
#[case::a_text_that_is_none(|f: &mut GgufFile| { f.set("x", [8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff].to_vec()); }, "is not UTF-8")]
#[case::a_key_twice(|f: &mut GgufFile| f.metadata.push(f.metadata[0].clone()), "metadata `general.architecture` appears twice")]
#[case::a_tensor_twice(|f: &mut GgufFile| f.tensors.push(f.tensors[0].clone()), "appears twice")]
#[case::no_alignment(|f: &mut GgufFile| { f.set("general.alignment", value_u32(0)); }, "`general.alignment` is 0")]
#[case::an_odd_alignment(|f: &mut GgufFile| { f.set("general.alignment", value_u32(1)); }, "`general.alignment` is 1")]
#[case::a_worded_alignment(|f: &mut GgufFile| { f.set("general.alignment", made::value_text("32")); }, "`general.alignment` is \"32\"")]
#[case::no_dimensions(|f: &mut GgufFile| f.tensors[0].dims.clear(), "has 0 dimensions")]
#[case::five_dimensions(|f: &mut GgufFile| f.tensors[0].dims = vec![1; 5], "has 5 dimensions")]
#[case::a_dimension_of_0(|f: &mut GgufFile| f.tensors[0].dims = vec![32, 0], "a dimension of 0 in [32, 0]")]
#[case::dimensions_that_wrap(|f: &mut GgufFile| f.tensors[0].dims = vec![1 << 32, 1 << 32], "more than memory can address")]
#[case::dimensions_that_wrap_to_little(|f: &mut GgufFile| f.tensors[0].dims = vec![(1 << 63) + 4, 2], "more than memory can address")]
#[case::a_size_that_overflows(|f: &mut GgufFile| f.tensors[0].dims = vec![1 << 62], "more than memory can address")]
#[case::a_size_past_the_end(|f: &mut GgufFile| f.tensors[0].dims = vec![1 << 40], "do not fit")]
#[case::half_a_block(|f: &mut GgufFile| f.tensor("blk.1.ffn_down.weight").dims = vec![48, 64], "rows of 48")]
#[case::mxfp4(|f: &mut GgufFile| f.tensors[0].code = 39, "type MXFP4 is not supported")]
#[case::iq4_xs(|f: &mut GgufFile| f.tensors[0].code = 23, "type IQ4_XS is not supported")]
#[case::an_unknown_type(|f: &mut GgufFile| f.tensors[0].code = 4711, "type number 4711 is not supported")]
#[case::an_offset_past_the_end(|f: &mut GgufFile| f.tensors[0].offset = Some(1 << 40), "do not fit")]
#[case::an_offset_that_wraps(|f: &mut GgufFile| f.tensors[0].offset = Some(u64::MAX - 31), "do not fit")]
#[case::a_misaligned_offset(|f: &mut GgufFile| f.tensors[0].offset = Some(4), "not a multiple of the alignment 32")]
#[case::tensors_on_each_other(|f: &mut GgufFile| f.tensors[1].offset = Some(0), "overlap")]
fn a_lying_gguf_header_is_refused(#[case] lie: fn(&mut GgufFile), #[case] why: &str) {
    let line = refusal(&with(lie));
    assert!(line.contains(why), "{line}");
}

#[rstest]
#[case::no_tokens("tokenizer.ggml.tokens", value_u32(3), "`tokenizer.ggml.tokens` is missing")]
#[case::equal_tokens("tokenizer.ggml.tokens", value_texts(&["a", "b", "a"]), "tokens 0 and 2 are both \"a\"")]
#[case::a_token_without_end("tokenizer.ggml.tokens", value_texts(&[&"x".repeat(5000)]), "token 0 is 5000 bytes long")]
#[case::few_types("tokenizer.ggml.token_type", value_array(5, 0, &[]), "")]
#[case::more_types("tokenizer.ggml.token_type", value_array(5, 2, &[0; 8]), "11 tokens have 2 token types")]
#[case::a_merge_of_no_tokens("tokenizer.ggml.merges", value_texts(&["a x"]), "needs \"x\"")]
#[case::a_merge_into_no_token("tokenizer.ggml.merges", value_texts(&["<|endoftext|> <|endoftext|>"]), "which is not a token")]
#[case::a_merge_of_one("tokenizer.ggml.merges", value_texts(&["ab"]), "is not a pair")]
#[case::an_unknown_split("tokenizer.ggml.pre", made::value_text("kimi-k2"), "tokenizer.ggml.pre is kimi-k2")]
#[case::an_unknown_kind("tokenizer.ggml.model", made::value_text("t5"), "tokenizer.ggml.model is t5")]
#[case::bos_without_one(
    "tokenizer.ggml.add_bos_token",
    made::value_bool(true),
    "a bos token is added to texts"
)]
#[case::spm_without_scores("tokenizer.ggml.model", made::value_text("llama"), "11 tokens have 0 scores")]
fn a_lying_vocabulary_is_refused(#[case] key: &str, #[case] value: Vec<u8>, #[case] why: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = GgufFile::tiny().set(key, value).write(dir.path());
    let file = Gguf::open(&path).unwrap();
    match Tokenizer::from_gguf(&|key| file.metadata(key), "test") {
        // An empty list of types says nothing, and is allowed.
        Ok(_) => assert!(why.is_empty()),
        Err(error) => assert!(!why.is_empty() && error.to_string().contains(why), "{error}"),
    }
}

#[rstest]
#[case::no_json("{", "EOF")]
#[case::no_bpe(r#"{"model": {"type": "Unigram", "vocab": []}}"#, "model type \"Unigram\"")]
#[case::no_vocabulary(r#"{"model": {"type": "BPE"}}"#, "no BPE vocabulary")]
#[case::a_merge_that_is_too_long(
    r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}}"#,
    "\"ab\""
)]
#[case::a_prefix(
    r#"{"model": {"type": "BPE", "vocab": {}, "continuing_subword_prefix": "long"}}"#,
    "continuing_subword_prefix"
)]
#[case::a_token_twice(
    r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "a": 2}, "merges": []}}"#,
    "duplicate key \"a\" at line 1 column 55"
)]
#[case::a_bad_expression(
    r#"{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}, "model": {"type": "BPE", "vocab": {}, "merges": []}}"#,
    "without closing parenthesis"
)]
fn a_lying_tokenizer_json_is_refused(#[case] json: &str, #[case] why: &str) {
    let line = Tokenizer::from_json(json.as_bytes(), "dir/tokenizer.json").unwrap_err().to_string();
    assert!(line.starts_with("dir/tokenizer.json: ") && line.contains(why), "{line}");
}

/// A model's directory, which can be read.
fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    made::write_directory(dir.path(), CONFIG, &made::tensors());
    dir
}

fn refused_directory(dir: &TempDir) -> String {
    let error = read_all(dir.path()).unwrap_err();
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{error}");
    let line = error.to_string();
    line.strip_prefix(&format!("{}/", dir.path().display())).unwrap_or_else(|| panic!("{line}")).to_owned()
}

#[rstest]
#[case::config(
    "config.json",
    &CONFIG.replacen('{', r#"{"head_dim": 8,"#, 1),
    "config.json: duplicate key \"head_dim\" at line 4 column "
)]
#[case::inside_the_config(
    "config.json",
    &made::config_with("unknown", r#"{"x": 1}"#).replacen(r#"{"x":1}"#, r#"{"x":1,"x":1}"#, 1),
    "config.json: duplicate key \"x\""
)]
#[case::generation_config(
    "generation_config.json",
    r#"{"eos_token_id": 2, "eos_token_id": 3}"#,
    "config.json: generation_config.json next to it: duplicate key \"eos_token_id\""
)]
#[case::a_large_config("config.json", &" ".repeat((1 << 20) + 1), "config.json: is larger than the limit of 1048576 bytes")]
fn a_configuration_without_one_meaning_is_refused(#[case] name: &str, #[case] text: &str, #[case] why: &str) {
    let dir = directory();
    std::fs::write(dir.path().join(name), text).unwrap();
    let line = refused_directory(&dir);
    assert!(line.starts_with(why), "{line}");
}

#[test]
fn an_index_that_names_a_tensor_twice_is_refused() {
    let dir = directory();
    std::fs::rename(dir.path().join("model.safetensors"), dir.path().join("a.safetensors")).unwrap();
    let index = |text: &str| std::fs::write(dir.path().join("model.safetensors.index.json"), text).unwrap();
    index(r#"{"weight_map": {"lm_head.weight": "a.safetensors"}}"#);
    read_all(dir.path()).unwrap();
    index(r#"{"weight_map": {"lm_head.weight": "b.safetensors", "lm_head.weight": "a.safetensors"}}"#);
    let line = refused_directory(&dir);
    assert!(line.starts_with("model.safetensors.index.json: duplicate key \"lm_head.weight\""), "{line}");
}

/// Opening a pipe that nobody writes to would wait forever.
#[cfg(unix)]
#[rstest]
#[case::config("config.json")]
#[case::generation_config("generation_config.json")]
#[case::gguf("model.gguf")]
fn a_pipe_in_place_of_a_model_file_is_refused_without_waiting(#[case] name: &str) {
    let dir = directory();
    let pipe = dir.path().join(name);
    let _ = std::fs::remove_file(&pipe);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let model = if name == "model.gguf" { pipe.clone() } else { dir.path().to_owned() };
    let (send, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(Weights::open(&model).map(drop)));
    let opened = answer.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for a writer");
    assert_eq!(opened.unwrap_err().to_string(), format!("{}: is not a regular file", pipe.display()));
}

/// A safetensors file with this header.
fn safetensors(header: &str, data: usize) -> &'static [u8] {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat().leak()
}

#[rstest]
#[case::nothing(b"", "too small")]
#[case::no_header(&[0xff; 8], "too large")]
#[case::half_a_header(safetensors("{", 0), "invalid JSON")]
#[case::a_size_that_is_not_the_shape(
    safetensors(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#, 4),
    ""
)]
#[case::past_the_end(safetensors(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#, 4), "")]
#[case::an_end_that_wraps(
    safetensors(r#"{"a": {"dtype": "U8", "shape": [18446744073709551615], "data_offsets": [0, 18446744073709551615]}}"#, 4),
    "past the end"
)]
#[case::a_tensor_twice(
    safetensors(
        r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "a": {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]}}"#,
        4
    ),
    "header: duplicate key \"a\""
)]
#[case::a_dtype_twice(
    safetensors(r#"{"a": {"dtype": "U8", "dtype": "I8", "shape": [4], "data_offsets": [0, 4]}}"#, 4),
    "dtype"
)]
#[case::backwards(safetensors(r#"{"a": {"dtype": "U8", "shape": [1], "data_offsets": [4, 3]}}"#, 4), "")]
fn a_lying_safetensors_header_is_refused(#[case] bytes: &'static [u8], #[case] why: &str) {
    let line = Weights::from_parts("built-in", CONFIG, None, bytes).unwrap_err().to_string();
    assert!(line.starts_with("built-in: ") && line.contains(why), "{line}");
}

#[test]
fn a_tensor_of_a_type_that_is_no_float_is_named() {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, (shape, values)) in made::tensors() {
        let start = end;
        end += values.len();
        header
            .insert(name, serde_json::json!({ "dtype": "U8", "shape": shape, "data_offsets": [start, end] }));
    }
    let bytes = safetensors(&serde_json::to_string(&header).unwrap(), end);
    let weights = Weights::from_parts("built-in", CONFIG, None, bytes).unwrap();
    let line = weights.canonical("model.norm.weight").unwrap_err().to_string();
    assert_eq!(line, "built-in: `model.norm.weight` has type U8, which is not a supported float type");
}

/// Some bytes of `whole` changed, most of them in its first `header` bytes.
fn damaged(whole: Vec<u8>, header: usize) -> impl Strategy<Value = Vec<u8>> {
    let place = prop_oneof![4 => 0..header, 1 => 0..whole.len()];
    // Small numbers, large numbers and anything: counts and types live among the small ones.
    let byte = prop_oneof![0u8..16, Just(0xff), any::<u8>()];
    prop::collection::vec((place, byte), 1..6).prop_map(move |changes| {
        let mut bytes = whole.clone();
        for (place, byte) in changes {
            bytes[place] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_gguf_never_panics(bytes in damaged(GgufFile::tiny().bytes(), 2600)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broken.gguf");
        std::fs::write(&path, bytes).unwrap();
        let _ = read_all(&path);
    }

    #[test]
    fn a_damaged_directory_never_panics(
        weights in damaged(made::safetensors(&made::tensors()), 2000),
        config in damaged(CONFIG.into(), CONFIG.len()),
        which in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        made::write_directory(dir.path(), CONFIG, &made::tensors());
        let (name, bytes) = if which { ("model.safetensors", weights) } else { ("config.json", config) };
        std::fs::write(dir.path().join(name), bytes).unwrap();
        let _ = read_all(dir.path());
    }

    #[test]
    fn random_bytes_behind_a_good_start_never_panic(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broken.gguf");
        let start = [&b"GGUF\x03\0\0\0"[..], &1u64.to_le_bytes(), &1u64.to_le_bytes(), &text("a.b")].concat();
        std::fs::write(&path, [start, tail].concat()).unwrap();
        prop_assert!(read_all(&path).is_err());
    }
}
