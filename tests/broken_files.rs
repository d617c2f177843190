//! Model files are untrusted. Reading one yields either a model or a one-line error. It never panics and
//! never allocates more memory than the file's own size justifies.
//! Debug and release builds treat integer overflow differently, so run these tests in both.

mod made;

use std::path::Path;

use made::{CONFIG, GgufFile, text, value_array, value_texts, value_u32};
use proptest::prelude::*;
use rbees_check::tokenizer::Tokenizer;
use rbees_check::weights::Weights;
use rbees_check::weights::gguf::Gguf;
use rstest::rstest;
use tempfile::TempDir;

/// Opens a model and reads all of it: every tensor, the hash, the tokenizer.
fn read_all(path: &Path) -> rbees_check::Result<()> {
    let weights = Weights::open(path)?;
    for name in weights.names() {
        weights.canonical(&name)?;
    }
    weights.sha256()?;
    weights.unread();
    weights.describe();
    if let Some(file) = weights.gguf() {
        // The program does without a tokenizer that cannot be read.
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

/// The bytes of the tiny model's GGUF file with one change.
fn with(change: impl FnOnce(&mut GgufFile)) -> Vec<u8> {
    let mut file = GgufFile::tiny();
    change(&mut file);
    file.bytes()
}

#[test]
fn the_unmodified_base_file_is_readable() {
    let dir = tempfile::tempdir().unwrap();
    read_all(&GgufFile::tiny().write(dir.path())).unwrap();
}

#[test]
fn a_gguf_file_truncated_at_any_length_is_refused() {
    let whole = GgufFile::tiny().bytes();
    // Cut at every byte of the header, at larger steps in the data, and before the last byte.
    let header = (1..2500).chain((2500..whole.len()).step_by(997)).chain([whole.len() - 1]);
    for length in header {
        refusal(&whole[..length]);
    }
}

#[rstest]
#[case::wrong_magic(|f: &mut GgufFile| f.magic = *b"GGML", "is not a GGUF file")]
#[case::version_0(|f: &mut GgufFile| f.version = 0, "GGUF version 0")]
#[case::version_9(|f: &mut GgufFile| f.version = 9, "GGUF version 9")]
#[case::big_endian(|f: &mut GgufFile| f.version = 3 << 24, "big-endian")]
#[case::maximal_tensor_count(|f: &mut GgufFile| f.tensor_count = Some(u64::MAX), "a tensor count of 18446744073709551615")]
#[case::more_tensors_than_fit(|f: &mut GgufFile| f.tensor_count = Some(1 << 40), "cannot fit")]
#[case::maximal_metadata_count(|f: &mut GgufFile| f.value_count = Some(u64::MAX / 13), "a metadata count of")]
#[case::maximal_string_length(|f: &mut GgufFile| { f.set("x", [&8u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat()); }, "metadata `x`: a string takes 18446744073709551615 bytes")]
#[case::maximal_array_length(|f: &mut GgufFile| { f.set("x", value_array(10, u64::MAX / 8 + 1, &[])); }, "metadata `x`: an array of")]
#[case::too_many_strings_in_an_array(|f: &mut GgufFile| { f.set("x", value_array(8, 1 << 60, &[])); }, "metadata `x`: an array of")]
#[case::array_of_arrays(|f: &mut GgufFile| { f.set("x", value_array(9, 0, &[])); }, "arrays of arrays")]
#[case::unknown_value_type(|f: &mut GgufFile| { f.set("x", 13u32.to_le_bytes().to_vec()); }, "value type 13 does not exist")]
#[case::boolean_with_value_2(|f: &mut GgufFile| { f.set("x", [7, 0, 0, 0, 2].to_vec()); }, "a boolean is 2")]
#[case::string_not_utf8(|f: &mut GgufFile| { f.set("x", [8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff].to_vec()); }, "is not UTF-8")]
#[case::duplicate_metadata_key(|f: &mut GgufFile| f.metadata.push(f.metadata[0].clone()), "metadata `general.architecture` appears twice")]
#[case::duplicate_tensor(|f: &mut GgufFile| f.tensors.push(f.tensors[0].clone()), "appears twice")]
#[case::alignment_0(|f: &mut GgufFile| { f.set("general.alignment", value_u32(0)); }, "`general.alignment` is 0")]
#[case::alignment_1(|f: &mut GgufFile| { f.set("general.alignment", value_u32(1)); }, "`general.alignment` is 1")]
#[case::alignment_as_string(|f: &mut GgufFile| { f.set("general.alignment", made::value_text("32")); }, "`general.alignment` is \"32\"")]
#[case::no_dimensions(|f: &mut GgufFile| f.tensors[0].dims.clear(), "has 0 dimensions")]
#[case::five_dimensions(|f: &mut GgufFile| f.tensors[0].dims = vec![1; 5], "has 5 dimensions")]
#[case::dimension_of_0(|f: &mut GgufFile| f.tensors[0].dims = vec![32, 0], "a dimension of 0 in [32, 0]")]
#[case::dimensions_that_overflow_to_0(|f: &mut GgufFile| f.tensors[0].dims = vec![1 << 32, 1 << 32], "more than memory can address")]
#[case::dimensions_that_overflow_to_a_small_number(|f: &mut GgufFile| f.tensors[0].dims = vec![(1 << 63) + 4, 2], "more than memory can address")]
#[case::byte_size_that_overflows(|f: &mut GgufFile| f.tensors[0].dims = vec![1 << 62], "more than memory can address")]
#[case::data_past_the_end_of_the_file(|f: &mut GgufFile| f.tensors[0].dims = vec![1 << 40], "do not fit")]
#[case::row_length_not_a_multiple_of_the_block(|f: &mut GgufFile| f.tensor("blk.1.ffn_down.weight").dims = vec![48, 64], "rows of 48")]
#[case::mxfp4(|f: &mut GgufFile| f.tensors[0].code = 39, "type MXFP4 is not supported")]
#[case::iq4_xs(|f: &mut GgufFile| f.tensors[0].code = 23, "type IQ4_XS is not supported")]
#[case::unknown_tensor_type(|f: &mut GgufFile| f.tensors[0].code = 4711, "type number 4711 is not supported")]
#[case::offset_past_the_end(|f: &mut GgufFile| f.tensors[0].offset = Some(1 << 40), "do not fit")]
#[case::offset_that_overflows(|f: &mut GgufFile| f.tensors[0].offset = Some(u64::MAX - 31), "do not fit")]
#[case::misaligned_offset(|f: &mut GgufFile| f.tensors[0].offset = Some(4), "not a multiple of the alignment 32")]
#[case::overlapping_tensors(|f: &mut GgufFile| f.tensors[1].offset = Some(0), "overlap")]
fn an_inconsistent_gguf_header_is_refused(#[case] lie: fn(&mut GgufFile), #[case] why: &str) {
    let line = refusal(&with(lie));
    assert!(line.contains(why), "{line}");
}

#[rstest]
#[case::no_tokens("tokenizer.ggml.tokens", value_u32(3), "`tokenizer.ggml.tokens` is missing")]
#[case::duplicate_tokens("tokenizer.ggml.tokens", value_texts(&["a", "b", "a"]), "tokens 0 and 2 are both \"a\"")]
#[case::oversized_token("tokenizer.ggml.tokens", value_texts(&[&"x".repeat(5000)]), "token 0 is 5000 bytes long")]
#[case::empty_type_list("tokenizer.ggml.token_type", value_array(5, 0, &[]), "")]
#[case::fewer_types_than_tokens("tokenizer.ggml.token_type", value_array(5, 2, &[0; 8]), "11 tokens have 2 token types")]
#[case::merge_of_an_unknown_token("tokenizer.ggml.merges", value_texts(&["a x"]), "needs \"x\"")]
#[case::merge_result_not_in_the_vocabulary("tokenizer.ggml.merges", value_texts(&["<|endoftext|> <|endoftext|>"]), "which is not a token")]
#[case::merge_of_a_single_token("tokenizer.ggml.merges", value_texts(&["ab"]), "is not a pair")]
#[case::unknown_pre_tokenizer(
    "tokenizer.ggml.pre",
    made::value_text("kimi-k2"),
    "tokenizer.ggml.pre is kimi-k2"
)]
#[case::unknown_tokenizer_model("tokenizer.ggml.model", made::value_text("t5"), "tokenizer.ggml.model is t5")]
#[case::bos_enabled_without_a_bos_id(
    "tokenizer.ggml.add_bos_token",
    made::value_bool(true),
    "a bos token is added to texts"
)]
#[case::sentencepiece_without_scores(
    "tokenizer.ggml.model",
    made::value_text("llama"),
    "11 tokens have 0 scores"
)]
fn an_inconsistent_gguf_vocabulary_is_refused(#[case] key: &str, #[case] value: Vec<u8>, #[case] why: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = GgufFile::tiny().set(key, value).write(dir.path());
    let file = Gguf::open(&path).unwrap();
    match Tokenizer::from_gguf(&|key| file.metadata(key), "test") {
        // An empty list of token types is allowed: it carries no information.
        Ok(_) => assert!(why.is_empty()),
        Err(error) => assert!(!why.is_empty() && error.to_string().contains(why), "{error}"),
    }
}

#[rstest]
#[case::not_json("{", "EOF")]
#[case::not_bpe(r#"{"model": {"type": "Unigram", "vocab": []}}"#, "model type \"Unigram\"")]
#[case::no_vocabulary(r#"{"model": {"type": "BPE"}}"#, "no BPE vocabulary")]
#[case::merge_result_not_in_the_vocabulary(
    r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}}"#,
    "\"ab\""
)]
#[case::subword_prefix(
    r#"{"model": {"type": "BPE", "vocab": {}, "continuing_subword_prefix": "long"}}"#,
    "continuing_subword_prefix"
)]
#[case::duplicate_token(
    r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "a": 2}, "merges": []}}"#,
    "duplicate key \"a\" at line 1 column 55"
)]
#[case::invalid_regex(
    r#"{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}, "model": {"type": "BPE", "vocab": {}, "merges": []}}"#,
    "without closing parenthesis"
)]
fn an_invalid_tokenizer_json_is_refused(#[case] json: &str, #[case] why: &str) {
    let line = Tokenizer::from_json(json.as_bytes(), "dir/tokenizer.json").unwrap_err().to_string();
    assert!(line.starts_with("dir/tokenizer.json: ") && line.contains(why), "{line}");
}

/// A valid model directory.
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
#[case::nested_in_the_config(
    "config.json",
    &made::config_with("unknown", r#"{"x": 1}"#).replacen(r#"{"x":1}"#, r#"{"x":1,"x":1}"#, 1),
    "config.json: duplicate key \"x\""
)]
#[case::generation_config(
    "generation_config.json",
    r#"{"eos_token_id": 2, "eos_token_id": 3}"#,
    "generation_config.json: duplicate key \"eos_token_id\""
)]
#[case::oversized_config("config.json", &" ".repeat((1 << 20) + 1), "config.json: is larger than the limit of 1048576 bytes")]
fn an_ambiguous_or_oversized_configuration_file_is_refused(
    #[case] name: &str,
    #[case] text: &str,
    #[case] why: &str,
) {
    let dir = directory();
    std::fs::write(dir.path().join(name), text).unwrap();
    let line = refused_directory(&dir);
    assert!(line.starts_with(why), "{line}");
}

#[test]
fn an_index_with_a_duplicate_tensor_name_is_refused() {
    let dir = directory();
    std::fs::rename(dir.path().join("model.safetensors"), dir.path().join("a.safetensors")).unwrap();
    let index = |text: &str| std::fs::write(dir.path().join("model.safetensors.index.json"), text).unwrap();
    index(r#"{"weight_map": {"lm_head.weight": "a.safetensors"}}"#);
    read_all(dir.path()).unwrap();
    index(r#"{"weight_map": {"lm_head.weight": "b.safetensors", "lm_head.weight": "a.safetensors"}}"#);
    let line = refused_directory(&dir);
    assert!(line.starts_with("model.safetensors.index.json: duplicate key \"lm_head.weight\""), "{line}");
}

/// Opening a pipe without a writer would block forever.
#[cfg(unix)]
#[rstest]
#[case::config("config.json")]
#[case::generation_config("generation_config.json")]
#[case::gguf("model.gguf")]
fn a_pipe_in_place_of_a_model_file_is_refused_without_blocking(#[case] name: &str) {
    let dir = directory();
    let pipe = dir.path().join(name);
    let _ = std::fs::remove_file(&pipe);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let model = if name == "model.gguf" { pipe.clone() } else { dir.path().to_owned() };
    let (send, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(Weights::open(&model).map(drop)));
    let opened =
        answer.recv_timeout(std::time::Duration::from_secs(20)).expect("opening the pipe should not block");
    assert_eq!(opened.unwrap_err().to_string(), format!("{}: is not a regular file", pipe.display()));
}

/// A safetensors file with this header and `data` bytes of zeros.
fn safetensors(header: &str, data: usize) -> &'static [u8] {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat().leak()
}

#[rstest]
#[case::empty_file(b"", "too small")]
#[case::huge_header_length(&[0xff; 8], "too large")]
#[case::truncated_header(safetensors("{", 0), "invalid JSON")]
#[case::byte_size_does_not_match_the_shape(
    safetensors(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#, 4),
    ""
)]
#[case::data_past_the_end(
    safetensors(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#, 4),
    ""
)]
#[case::end_offset_that_overflows(
    safetensors(r#"{"a": {"dtype": "U8", "shape": [18446744073709551615], "data_offsets": [0, 18446744073709551615]}}"#, 4),
    "past the end"
)]
#[case::duplicate_tensor(
    safetensors(
        r#"{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "a": {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]}}"#,
        4
    ),
    "header: duplicate key \"a\""
)]
#[case::duplicate_dtype_key(
    safetensors(r#"{"a": {"dtype": "U8", "dtype": "I8", "shape": [4], "data_offsets": [0, 4]}}"#, 4),
    "dtype"
)]
#[case::end_before_start(
    safetensors(r#"{"a": {"dtype": "U8", "shape": [1], "data_offsets": [4, 3]}}"#, 4),
    ""
)]
fn an_inconsistent_safetensors_header_is_refused(#[case] bytes: &'static [u8], #[case] why: &str) {
    let line = Weights::from_parts("built-in", CONFIG, None, bytes).unwrap_err().to_string();
    assert!(line.starts_with("built-in: ") && line.contains(why), "{line}");
}

#[test]
fn reading_a_tensor_that_is_not_a_float_type_names_it() {
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

/// `whole` with a few bytes changed, most of them in its first `header` bytes.
fn damaged(whole: Vec<u8>, header: usize) -> impl Strategy<Value = Vec<u8>> {
    let place = prop_oneof![4 => 0..header, 1 => 0..whole.len()];
    // Small numbers (counts and types are small), 0xff, or any byte.
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
    fn random_bytes_after_a_valid_gguf_start_never_panic(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broken.gguf");
        let start = [&b"GGUF\x03\0\0\0"[..], &1u64.to_le_bytes(), &1u64.to_le_bytes(), &text("a.b")].concat();
        std::fs::write(&path, [start, tail].concat()).unwrap();
        prop_assert!(read_all(&path).is_err());
    }
}
