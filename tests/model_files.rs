//! Nothing in a model's files passes unread, and honest files are read: the program on copies of tiny-llama in
//! which one thing was altered.

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use program::{home, rbees, stderr, stdout};
use rstest::rstest;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
const Q_PROJ: &str = "model.layers.0.self_attn.q_proj";

/// The tensors of a safetensors file, in f32: shape and values by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A copy of tiny-llama that a test may alter.
struct Model {
    folder: TempDir,
}

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        for file in files {
            fs::copy(Path::new(FIXTURES).join("tiny-llama").join(file), folder.path().join(file)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(file), content).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path(file)).unwrap();
    }

    /// Changes a JSON file.
    fn json(&self, file: &str, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut value: Map<String, Value> = serde_json::from_str(&self.text(file)).unwrap();
        change(&mut value);
        self.write(file, serde_json::to_string(&value).unwrap());
    }

    /// Sets keys of `config.json`; null removes a key.
    fn config(&self, changes: Value) {
        self.json("config.json", |config| {
            for (key, value) in changes.as_object().unwrap() {
                if value.is_null() {
                    config.remove(key)
                } else {
                    config.insert(key.clone(), value.clone())
                };
            }
        });
    }

    /// Replaces the value at a JSON pointer in `tokenizer.json`.
    fn tokenizer(&self, key: &str, value: Value) {
        self.json("tokenizer.json", |tokenizer| drop(tokenizer.insert(key.into(), value)));
    }

    fn tensors(&self, change: impl FnOnce(&mut Tensors)) {
        let path = self.path("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let read = |(name, view): (String, TensorView<'_>)| {
            assert_eq!(view.dtype(), Dtype::F16);
            let halves =
                view.data().chunks_exact(2).map(|pair| half::f16::from_le_bytes([pair[0], pair[1]]).to_f32());
            (name, (view.shape().to_vec(), halves.collect()))
        };
        let mut tensors: Tensors =
            SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(read).collect();
        change(&mut tensors);
        let bytes: BTreeMap<&String, Vec<u8>> = tensors
            .iter()
            .map(|(name, (_, values))| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
            .collect();
        let view = |(name, (shape, _)): (&String, &(Vec<usize>, Vec<f32>))| {
            (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap())
        };
        fs::write(path, serialize(tensors.iter().map(view), None).unwrap()).unwrap();
    }

    fn add(&self, name: &str, shape: &[usize], value: f32) {
        let values = vec![value; shape.iter().product()];
        self.tensors(|tensors| drop(tensors.insert(name.into(), (shape.to_vec(), values))));
    }

    /// Runs the program on the model. Returns the exit code and everything that it printed.
    fn run(&self, args: &[&str]) -> (i32, String) {
        run(self.folder.path(), args)
    }
}

/// Runs the program with `--model MODEL`, judged by the references of tiny-llama. No run panics.
fn run(model: &Path, args: &[&str]) -> (i32, String) {
    let model = model.to_string_lossy();
    let references: &[&str] = if args[0] == "inspect" { &[] } else { &["--references", "tiny-llama"] };
    let model: &[&str] = if args[0] == "inspect" { &[&model] } else { &["--model", &model] };
    let output = rbees(&home(), &[args, model, references].concat()).output().unwrap();
    let text = stdout(&output) + &stderr(&output);
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code().unwrap_or(-1), text)
}

/// Facts about the weights, tokens, and one norm per layer: enough to see what was read.
const JUDGE: &[&str] = &["run", "00", "00B", "01", "--case", "single", "--attention", "plain"];

fn check(model: &Model, exit: i32, lines: &[&str]) {
    let (code, text) = model.run(JUDGE);
    assert_eq!(code, exit, "{text}");
    for line in lines {
        assert!(text.contains(line), "`{line}` is not in:\n{text}");
    }
}

#[test]
fn the_unaltered_copy_passes_without_a_note() {
    let (code, text) = Model::new().run(JUDGE);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("checkpoints: 3 passed, 0 failed, 0 skipped") && !text.contains("note:"), "{text}");
}

#[rstest]
#[case::missing(|m: &Model| m.remove("tokenizer.json"), "tokenizer.json: No such file")]
#[case::another_model(|m: &Model| m.tokenizer("model", json!({"type": "Unigram", "vocab": []})), "model type \"Unigram\" is not supported")]
#[case::no_model(|m: &Model| m.tokenizer("model", json!({})), "has no BPE vocabulary")]
#[case::broken(|m: &Model| m.write("tokenizer.json", "{\"model\":"), "tokenizer.json: EOF while parsing")]
#[case::a_pointer(|m: &Model| m.write("tokenizer.json", "version https://git-lfs.github.com/spec/v1\n"), "is a pointer of Git LFS, not the file itself (run `git lfs pull` in its folder)")]
#[case::a_directory(|m: &Model| { m.remove("tokenizer.json"); fs::create_dir(m.path("tokenizer.json")).unwrap() }, "is not a regular file")]
#[case::a_text_that_grows(|m: &Model| m.tokenizer("normalizer", json!({"type": "Sequence", "normalizers": vec![json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}); 40]})), "the normalizers make a text more than 64 times longer")]
#[case::an_empty_pattern(|m: &Model| m.tokenizer("normalizer", json!({"type": "Replace", "pattern": {"String": ""}, "content": "a"})), "normalizer Replace: pattern is empty")]
#[case::a_long_prefix(|m: &Model| m.tokenizer("normalizer", json!({"type": "Prepend", "prepend": "x".repeat(1 << 20)})), "normalizer Prepend: prepend is longer than 64 bytes")]
#[case::precompiled(|m: &Model| m.tokenizer("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})), "normalizer of type \"Precompiled\" is not supported")]
#[case::chunks_of_nothing(|m: &Model| m.tokenizer("pre_tokenizer", json!({"type": "FixedLength", "length": 0})), "pre_tokenizer of type \"FixedLength\" is not supported")]
#[case::a_cut_at_the_end(|m: &Model| m.tokenizer("decoder", json!({"type": "Strip", "content": "a", "start": 0, "stop": 9})), "decoder Strip: only a stop of 0, and a content, are supported")]
#[case::an_undefined_special_token(|m: &Model| m.tokenizer("post_processor", json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}], "pair": [], "special_tokens": {}})), "\"[X]\" is not one of its special_tokens")]
#[case::random_merges(|m: &Model| m.json("tokenizer.json", |t| t["model"]["dropout"] = json!(0.5)), "dropout 0.5: the same text would have other ids each time")]
fn trouble_with_the_tokenizer_skips_the_texts_and_numbers_are_judged(
    #[case] alter: fn(&Model),
    #[case] reason: &str,
) {
    let model = Model::new();
    alter(&model);
    let skip = format!("SKIP  00B tokens       {}", model.path("tokenizer.json").display());
    check(&model, 0, &[&skip, reason, "PASS  01  rms_norm", "checkpoints: 2 passed, 0 failed, 1 skipped"]);
    let (code, text) = model.run(&["generate", "And the king", "--unchecked"]);
    assert!(code == 2 && text.starts_with("error: ") && text.contains("tokenizer.json"), "{text}");
    let (code, text) = model.run(&["inspect"]);
    assert!(code == 0 && text.contains("cannot be read: "), "{text}");
}

#[test]
fn a_recording_with_its_own_ids_is_judged_without_a_tokenizer() {
    let model = Model::new();
    model.remove("tokenizer.json");
    let dump = format!("{FIXTURES}/dumps/tiny-llama-rope-pairing.safetensors");
    let (code, text) = model.run(&["run", "all", "--dump", &dump]);
    assert!(code == 1 && text.contains("FAIL  01B rope") && text.contains("PASS  01  rms_norm"), "{text}");
}

/// Replaces `from` by `to`, which has the same length, everywhere in a GGUF file of tiny-llama.
fn gguf(from: &[u8], to: &[u8]) -> (TempDir, PathBuf) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(Path::new(FIXTURES).join("tiny-llama/gguf/tiny-llama-f16.gguf")).unwrap();
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at..][..to.len()].copy_from_slice(to));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[rstest]
#[case::no_splitting_rules(b"tokenizer.ggml.pre", b"tokenizer.ggml.prx", "tokenizer.ggml.pre is missing")]
#[case::unknown_splitting_rules(b"smollm", b"smollx", "tokenizer.ggml.pre is smollx, which is not supported")]
#[case::no_vocabulary(
    b"tokenizer.ggml.tokens",
    b"tokenizer.ggml.tokenx",
    "`tokenizer.ggml.tokens` is missing"
)]
#[case::a_duplicate_token(b"<|im_start|>", b"<|im_end|>XX", "")]
fn trouble_with_the_tokenizer_of_a_gguf_file_skips_the_texts(
    #[case] from: &[u8],
    #[case] to: &[u8],
    #[case] reason: &str,
) {
    // A duplicate must have the same length as the token that it replaces.
    let (_folder, path) = match reason {
        "" => gguf(b"\x02\0\0\0\0\0\0\0in", b"\x02\0\0\0\0\0\0\0er"),
        _ => gguf(from, to),
    };
    let (code, text) = run(&path, JUDGE);
    assert!(code == 0 && text.contains("SKIP  00B tokens") && text.contains("PASS  01  rms_norm"), "{text}");
    let reason = if reason.is_empty() { "are both \"er\"" } else { reason };
    assert!(text.contains(reason), "{text}");
}

#[rstest]
#[case::truncation(json!({"max_length": 4, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}))]
#[case::truncation_with_an_impossible_stride(json!({"max_length": 4, "stride": 9, "strategy": "LongestFirst", "direction": "Right"}))]
fn truncation_and_padding_are_not_applied_and_noted(#[case] truncation: Value) {
    let model = Model::new();
    model.tokenizer("truncation", truncation);
    model.tokenizer("padding", json!({"strategy": {"Fixed": 1u64 << 40}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}));
    let notes =
        [": truncation {\"direction\":\"Right\",\"max_length\":4", ": padding {\"direction\":\"Right\""];
    check(
        &model,
        0,
        &[notes[0], notes[1], "of the tokenizer is not applied, as in transformers", "PASS  00B tokens"],
    );
}

#[test]
fn a_tied_model_with_another_output_matrix_uses_both_and_a_note_says_so() {
    let model = Model::new();
    model.add("lm_head.weight", &[512, 128], 0.25);
    // The references are those of the tied model.
    check(
        &model,
        1,
        &["both are used as they are, as in transformers 5", "FAIL 00 weights", "PASS  01  rms_norm"],
    );
}

#[test]
fn a_tied_model_with_an_equal_output_matrix_passes_without_a_note() {
    let model = Model::new();
    model.tensors(|tensors| {
        let embedding = tensors["model.embed_tokens.weight"].clone();
        tensors.insert("lm_head.weight".into(), embedding);
    });
    let (code, text) = model.run(JUDGE);
    assert!(code == 0 && !text.contains("note:"), "{text}");
}

#[rstest]
#[case::bias(&format!("{Q_PROJ}.bias"), &[192], 0.5, "a bias, which is added to the output of its module")]
#[case::norm_of_queries("model.layers.0.self_attn.q_norm.weight", &[32], 1.0, "a norm of queries or keys")]
#[case::norm_of_keys("model.layers.1.self_attn.k_norm.weight", &[32], 1.0, "a norm of queries or keys")]
#[case::adapter(&format!("{Q_PROJ}.lora_A.weight"), &[4, 128], 0.5, "an adapter (LoRA)")]
#[case::scale(&format!("{Q_PROJ}.weight_scale"), &[1], 0.5, "a scale of quantised weights")]
#[case::inverse_scale("model.layers.0.mlp.up_proj.weight_scale_inv", &[2, 1], 0.5, "a scale of quantised weights")]
#[case::sinks("model.layers.0.self_attn.sinks", &[6], 0.5, "attention sinks")]
#[case::fifth_layer("model.layers.4.input_layernorm.weight", &[128], 1.0, "a part of a layer beyond the 4 of the config")]
#[case::another_norm("model.layers.0.post_feedforward_layernorm.weight", &[128], 1.0, "a norm")]
#[case::experts("model.layers.0.mlp.experts.0.up_proj.weight", &[2, 2], 1.0, "a part of a mixture of experts")]
#[case::other_frequencies("model.layers.0.self_attn.rotary_emb.inv_freq", &[16], 1.0, "frequencies of another rotation")]
fn an_unread_tensor_that_would_change_the_result_fails_checkpoint_00(
    #[case] name: &str,
    #[case] shape: &[usize],
    #[case] value: f32,
    #[case] what: &str,
) {
    let model = Model::new();
    model.add(name, shape, value);
    let cause = format!("it is in the file, but the model does not use it: {what}");
    check(&model, 1, &[&format!("FAIL 00 weights · {name}"), &cause, "PASS  01  rms_norm"]);
}

#[rstest]
#[case::a_bias_of_zeros(&format!("{Q_PROJ}.bias"), 0.0)]
#[case::a_scale_of_1(&format!("{Q_PROJ}.weight_scale"), 1.0)]
fn an_unread_tensor_without_effect_is_ignored(#[case] name: &str, #[case] value: f32) {
    let model = Model::new();
    model.add(name, &[192], value);
    let (code, text) = model.run(JUDGE);
    assert!(code == 0 && !text.contains("note:"), "{text}");
}

#[test]
fn an_unread_tensor_of_unknown_meaning_is_noted() {
    let model = Model::new();
    model.add("v_head.summary.weight", &[128], 1.0);
    check(
        &model,
        0,
        &["1 tensor of the file is not used, and their meaning is not known: `v_head.summary.weight`"],
    );
}

#[rstest]
#[case::compiled("_orig_mod.")]
#[case::data_parallel("module.")]
#[case::peft("base_model.model.")]
#[case::text_part("language_model.")]
#[case::two_wrappers("module._orig_mod.")]
#[case::an_unknown_wrapper("student.")]
fn wrapped_tensor_names_are_recognised(#[case] wrapper: &str) {
    let model = Model::new();
    model.tensors(|tensors| {
        *tensors =
            std::mem::take(tensors).into_iter().map(|(name, t)| (format!("{wrapper}{name}"), t)).collect();
    });
    let note = format!(
        "38 tensor names were adapted: for example, `{wrapper}model.embed_tokens.weight` is read as `model.embed_tokens.weight`"
    );
    check(&model, 0, &[&note, "PASS  00  weights      51 facts"]);
}

#[rstest]
#[case::without_a_head("model.", "")]
#[case::text_part_of_transformers_5("model.", "model.language_model.")]
#[case::compiled_inside("model.", "model._orig_mod.")]
fn other_prefixes_of_tensor_names_are_recognised(#[case] usual: &str, #[case] stored: &str) {
    let model = Model::new();
    model.tensors(|tensors| {
        let renamed = |name: String| name.replacen(usual, stored, 1);
        *tensors = std::mem::take(tensors).into_iter().map(|(name, t)| (renamed(name), t)).collect();
    });
    check(&model, 0, &["38 tensor names were adapted: for example, ", "PASS  00  weights      51 facts"]);
}

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
#[case(json!({"attention_bias": true}), "attention_bias true is not supported")]
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

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1460768\n";

#[rstest]
#[case("model.safetensors")]
#[case("config.json")]
#[case("generation_config.json")]
fn a_git_lfs_pointer_is_named_as_one(#[case] file: &str) {
    let model = Model::new();
    model.write(file, POINTER);
    let (code, text) = model.run(JUDGE);
    let error =
        format!("error: {}: is a pointer of Git LFS, not the file itself\n", model.path(file).display());
    assert!(code == 2 && text.starts_with(&error), "{text}");
    assert!(text.contains("hint: run `git lfs pull` in its folder"), "{text}");
}

#[test]
fn a_gguf_file_that_is_a_git_lfs_pointer_is_named_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, POINTER).unwrap();
    let (code, text) = run(&path, JUDGE);
    assert!(
        code == 2 && text.contains("model.gguf: is a pointer of Git LFS") && text.contains("git lfs pull"),
        "{text}"
    );
}

#[cfg(unix)]
#[rstest]
#[case::config("config.json", 2)]
#[case::generation_config("generation_config.json", 2)]
#[case::weights("model.safetensors", 2)]
// The tokenizer is skipped with the reason, and the numbers are judged.
#[case::tokenizer("tokenizer.json", 0)]
fn a_pipe_or_a_device_in_place_of_a_file_is_refused(#[case] file: &str, #[case] exit: i32) {
    let pipe =
        |path: &Path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    let device = |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    for place in [pipe as fn(&Path), device] {
        let model = Model::new();
        model.remove(file);
        place(&model.path(file));
        let (code, text) = model.run(JUDGE);
        assert_eq!(code, exit, "{text}");
        assert!(
            text.contains(file) && (text.contains("is not a regular file") || file == "model.safetensors"),
            "{text}"
        );
    }
}
