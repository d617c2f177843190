//! Tensors that the model does not use, tied matrices, wrapped names.

use super::*;

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
        &["the model does not use 1 tensor of the file, whose meaning is not known: `v_head.summary.weight`"],
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
    check(&model, 0, &[&note, "PASS  00  weights      63 facts"]);
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
    check(&model, 0, &["38 tensor names were adapted: for example, ", "PASS  00  weights      63 facts"]);
}
