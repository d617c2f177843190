//! Tokenizers and chat templates.

use super::*;

#[rstest]
#[case::missing(|m: &Model| m.remove("tokenizer.json"), "tokenizer.json: No such file")]
#[case::another_model(|m: &Model| m.tokenizer("model", json!({"type": "Unigram", "vocab": []})), "model type \"Unigram\" is not supported")]
#[case::a_pointer(|m: &Model| m.write("tokenizer.json", "version https://git-lfs.github.com/spec/v1\n"), "is a pointer of Git LFS, not the file itself (run `git lfs pull` in its folder)")]
#[case::a_directory(|m: &Model| { m.remove("tokenizer.json"); fs::create_dir(m.path("tokenizer.json")).unwrap() }, "is not a regular file")]
#[case::a_text_that_grows(|m: &Model| m.tokenizer("normalizer", json!({"type": "Sequence", "normalizers": vec![json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}); 40]})), "the normalizers make a text more than 1024 times longer")]
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

/// The references have hashes of the tokenizer, so that it is known what should be there.
#[rstest]
#[case::broken(|m: &Model| m.write("tokenizer.json", "{\"model\":"), "tokenizer", "tokenizer.json: EOF while parsing")]
#[case::not_utf_8(|m: &Model| m.write("tokenizer.json", b"{\"model\": \"\xff\"}"), "tokenizer", "tokenizer.json: ")]
#[case::no_model(|m: &Model| m.tokenizer("model", json!({})), "tokenizer", "has no BPE vocabulary")]
#[case::an_id_that_is_no_number(|m: &Model| m.json("tokenizer.json", |t| t["model"]["vocab"]["Ġthe"] = json!("x")), "tokenizer", "tokenizer.json: ")]
#[case::a_token_lost(|m: &Model| m.json("tokenizer.json", |t| drop(t["model"]["vocab"].as_object_mut().unwrap().remove("Ġthe"))), "vocabulary", "tokenizer.json: merge ")]
#[case::a_merge_of_nothing(|m: &Model| m.json("tokenizer.json", |t| t["model"]["merges"][3] = json!("zzz q")), "merges", "tokenizer.json: merge ")]
#[case::a_special_token_too_long(|m: &Model| m.json("tokenizer.json", |t| t["added_tokens"][0]["content"] = json!("x".repeat(20_000))), "vocabulary", "an added token is longer")]
fn a_damaged_tokenizer_fails_00_and_skips_the_texts(
    #[case] alter: fn(&Model),
    #[case] part: &str,
    #[case] reason: &str,
) {
    let model = Model::new();
    alter(&model);
    let skip = format!("SKIP  00B tokens       {}", model.path("tokenizer.json").display());
    check(
        &model,
        1,
        &["FAIL  00  weights", part, reason, &skip, "PASS  01  rms_norm", "1 passed, 1 failed, 1 skipped"],
    );
}

/// Its parts are those of the references, and only this program cannot use them.
#[test]
fn a_tokenizer_with_unknown_parts_and_a_changed_token_fails() {
    let model = Model::new();
    model.tokenizer("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}));
    model.json("tokenizer.json", |t| {
        let vocabulary = t["model"]["vocab"].as_object_mut().unwrap();
        let id = vocabulary.remove("Ń").unwrap();
        vocabulary.insert("ŃŃ".into(), id);
    });
    check(&model, 1, &["FAIL  00  weights", "vocabulary", "\"Precompiled\" is not supported"]);
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
fn trouble_with_the_tokenizer_of_a_gguf_file_skips_the_texts(
    #[case] from: &[u8],
    #[case] to: &[u8],
    #[case] reason: &str,
) {
    let (_folder, path) = gguf(from, to);
    let (code, text) = run(&path, JUDGE);
    assert!(code == 0 && text.contains("SKIP  00B tokens") && text.contains("PASS  01  rms_norm"), "{text}");
    assert!(text.contains(reason), "{text}");
}

/// The numbers are judged, and 00 shows that the vocabulary is another one than the references'.
#[test]
fn a_duplicate_token_in_a_gguf_file_skips_the_texts_and_fails_00() {
    // A duplicate must have the same length as the token that it replaces.
    let (_folder, path) = gguf(b"\x02\0\0\0\0\0\0\0in", b"\x02\0\0\0\0\0\0\0er");
    let (code, text) = run(&path, JUDGE);
    assert!(code == 1 && text.contains("SKIP  00B tokens") && text.contains("PASS  01  rms_norm"), "{text}");
    assert!(text.contains("FAIL  00  weights") && text.contains("are both \"er\""), "{text}");
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
fn a_chat_template_that_is_not_utf_8_is_refused() {
    let model = Model::new();
    model.write("chat_template.jinja", b"{{ messages }}\xff");
    let why = "chat_template.jinja: is not valid UTF-8 at byte 14";
    let (code, text) = model.run(&["generate", "Hi", "--chat", "--unchecked"]);
    assert!(code == 2 && text.starts_with("error: ") && text.contains(why), "{text}");
    let (code, text) = model.run(&["inspect"]);
    assert!(code == 0 && text.contains(why), "{text}");
}

#[rstest]
#[case::nested_loops(
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "out of fuel"
)]
#[case::doubling(
    "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "makes a text that is too long"
)]
#[case::its_own_refusal("{{ raise_exception('only \u{1b}[2J') }}", "only \\u{1b}[2J")]
fn a_chat_template_that_cannot_be_rendered_ends_in_exit_code_2(#[case] template: &str, #[case] why: &str) {
    let model = Model::new();
    model.write("chat_template.jinja", template);
    let (code, text) = model.run(&["generate", "Hi", "--chat", "--unchecked"]);
    assert!(code == 2 && text.starts_with("error: ") && text.contains(why), "{text}");
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_chat_template_is_refused() {
    for file in ["chat_template.jinja", "tokenizer_config.json"] {
        let model = Model::new();
        let _ = fs::remove_file(model.path(file));
        assert!(std::process::Command::new("mkfifo").arg(model.path(file)).status().unwrap().success());
        let (code, text) = model.run(&["generate", "Hi", "--chat", "--unchecked"]);
        assert!(code == 2 && text.contains(&format!("{file}: is not a regular file")), "{text}");
    }
}
