//! The residual stream: kept apart from the branches, or recorded under another layer's name.

use candle_core::{D, Device, Tensor};
use rbees_check::model::Input;
use rbees_check::models;
use rstest::rstest;

use crate::alter::{copied, only, site, without};
use crate::recorded::{Arrays, ids, remade, short};
use crate::run::{fails, is_recognised, is_stated, is_undecided, run};

const APART: &str = "\"residual\": \"apart\"";

/// Every block's output is that of its branch.
fn apart() -> Arrays {
    copied(short(), "mlp.down_proj", "")
}

#[test]
fn blocks_that_equal_their_branch_are_recognised_by_the_next_norm() {
    let what = "model.layers.0 and 3 more equal model.layers.0.mlp.down_proj: the residual is kept apart, and model.layers.1.input_layernorm contains their sum";
    is_recognised(&apart(), what, APART);
}

#[test]
fn blocks_are_recognised_as_the_branch_if_the_branch_was_not_recorded() {
    let what = "model.layers.0 and 3 more equal model.layers.0.mlp.down_proj: the residual is kept apart, and model.layers.1.input_layernorm contains their sum";
    is_recognised(&without(apart(), &["down_proj"]), what, APART);
}

#[test]
fn both_additions_may_be_kept_apart() {
    let both = copied(apart(), "self_attn.o_proj", "post_attention_layernorm.input");
    let what = "model.layers.0.post_attention_layernorm.input and 7 more equal model.layers.0.self_attn.o_proj: the residual is kept apart, and model.layers.0.post_attention_layernorm contains their sum";
    is_recognised(&both, what, APART);
}

#[test]
fn blocks_that_equal_the_stream_before_their_branch_are_recognised() {
    let before = copied(short(), "post_attention_layernorm.input", "");
    let what = "model.layers.0 and 3 more equal model.layers.0.post_attention_layernorm.input: the residual is kept apart, and model.layers.1.input_layernorm contains their sum";
    is_recognised(&before, what, APART);
}

/// The last block of this port is the branch alone, and the final norm gets it.
#[rstest]
#[case::whole(&[])]
#[case::without_the_branch(&["down_proj"])]
#[case::without_the_norm(&["model.norm"])]
fn a_port_that_does_not_add_the_residual_fails(#[case] missing: &[&str]) {
    let arrays = remade(&Input::single(&ids("short"), 0), |site, _, so_far| {
        (site.to_string() == "model.layers.3").then(|| so_far["model.layers.3.mlp.down_proj"].clone())
    });
    let run = run(&without(arrays, missing));
    fails(&run, &["06"], &["residual-sum"]);
    assert!(
        run.text.contains("first wrong operation, given its recorded inputs: model.layers.3"),
        "{}",
        run.text
    );
}

/// Only the outputs of blocks are kept apart in this recording. The first addition was recorded as it is.
#[rstest]
#[case::with_the_branch(&["down_proj"])]
#[case::without_any_branch(&["down_proj", "o_proj"])]
fn an_addition_that_was_recorded_is_not_taken_for_a_branch_if_others_are_kept_apart(
    #[case] missing: &[&str],
) {
    is_stated(&without(apart(), missing), &[("residual", "apart")]);
}

#[test]
fn a_branch_alone_does_not_show_whether_the_residual_is_added() {
    let ends = ["layers.3", "layers.3.mlp.down_proj", "layers.3.post_attention_layernorm.input"];
    let alone = only(apart(), &ends);
    is_undecided(
        &alone,
        "model.layers.3 equals model.layers.3.mlp.down_proj: the residual is kept apart, or it is not added: nothing recorded shows which",
        "record model.norm too; or, if the residual is kept apart, state it: \"residual\": \"apart\" in the metadata",
    );
}

/// transformers' `hidden_states` under the names of the layers: entry N is the input of layer N, and the last entry
/// comes after the final norm. `entries` are those recorded, and `first` is the layer that the first is named after.
fn hidden_states(arrays: &Arrays, entries: std::ops::Range<usize>, first: usize) -> Arrays {
    let states: Vec<Tensor> = (0..5)
        .map(|n| match n {
            0 => arrays["model.embed_tokens"].clone(),
            4 => arrays["model.norm"].clone(),
            n => arrays[&site(n - 1, "")].clone(),
        })
        .collect();
    let mut all = arrays.clone();
    (0..4).for_each(|layer| _ = all.remove(&site(layer, "")));
    for (n, entry) in entries.enumerate() {
        all.insert(site(first + n, ""), states[entry].clone());
    }
    all
}

const INPUTS: &str = "model.layers.N is the input of layer N";

#[rstest]
#[case::inputs(0..4, 0, "model.layers.N is the input of layer N, not its output", "inputs")]
#[case::all_five(0..5, 0, "model.layers.N is the input of layer N, and model.layers.4 is the output of the final norm", "inputs, normed")]
#[case::outputs(1..5, 0, "model.layers.3 is the output of the final norm, not of its layer", "normed")]
fn hidden_states_under_the_names_of_layers_are_recognised(
    #[case] entries: std::ops::Range<usize>,
    #[case] first: usize,
    #[case] what: &str,
    #[case] stated: &str,
    #[values(&[], &["model.norm"], &["model.embed_tokens"], &["norm", "proj", "act", "rope", "scores", "probs", "context", ".input"])]
    missing: &[&str],
) {
    let arrays = without(hidden_states(&short(), entries, first), missing);
    let found = run(&arrays);
    assert_eq!((found.notes().len(), found.code), (1, 0), "{}", found.text);
    let note = found.notes()[0].to_owned();
    let (before, explicit) = note.split_once(" shows; to state it: ").unwrap();
    assert!(before.starts_with(&format!("{what}, as ")), "{note}");
    assert_eq!(explicit, format!("\"hidden_states\": \"{stated}\" in the metadata"));
    is_stated(&arrays, &[("hidden_states", stated)]);
    assert!(what.starts_with(INPUTS) || stated == "normed");
}

/// The last layer never runs: the final norm gets what `hidden_states` would show as the last layer's input.
#[test]
fn a_port_that_skips_a_layer_fails() {
    let arrays = remade(&Input::single(&ids("short"), 0), |site, _, so_far| {
        (site.to_string() == "model.layers.3").then(|| so_far["model.layers.2"].clone())
    });
    fails(&run(&arrays), &["06"], &["residual-sum"]);
    let few = only(
        arrays,
        &["embed_tokens", "layers.0", "layers.1", "layers.2", "layers.3", "model.norm", "lm_head"],
    );
    fails(&run(&few), &["06"], &["residual-sum"]);
}

/// This port's stack is one layer short: layer N computes what layer N − 1 should.
#[test]
fn a_port_whose_layers_are_shifted_fails() {
    let honest = short();
    let shifted = remade(&Input::single(&ids("short"), 0), |at, _, _| match at.layer.map(usize::from) {
        Some(0) if at.to_string() == "model.layers.0" => Some(honest["model.embed_tokens"].clone()),
        Some(layer) if at.to_string() == site(layer, "") => Some(honest[&site(layer - 1, "")].clone()),
        _ => None,
    });
    let few = only(
        shifted,
        &["embed_tokens", "layers.0", "layers.1", "layers.2", "layers.3", "model.norm", "lm_head"],
    );
    let run = run(&few);
    assert_eq!((run.notes(), run.code), (vec![], 1), "{}", run.text);
}

#[test]
fn a_port_that_norms_twice_fails() {
    let weight = models::open("tiny-llama").unwrap().weights.canonical("model.norm.weight").unwrap();
    let arrays = remade(&Input::single(&ids("short"), 0), |site, tensor, _| {
        (site.to_string() == "model.layers.3").then(|| {
            let mean = tensor.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
            let normed = tensor.broadcast_div(&(mean + 3e-5).unwrap().sqrt().unwrap()).unwrap();
            normed.broadcast_mul(&weight.to_device(&Device::Cpu).unwrap()).unwrap()
        })
    });
    fails(&run(&arrays), &["06"], &[]);
}

/// Without the logits, nothing shows whether the head gets these rows or their norm.
#[test]
fn a_normed_stack_alone_does_not_show_what_the_head_gets() {
    let alone = only(hidden_states(&short(), 1..5, 0), &["layers.0", "layers.1", "layers.2", "layers.3"]);
    is_undecided(
        &alone,
        "model.layers.3 is the output of the final norm, not of its layer, or",
        "record lm_head too",
    );
    is_stated(&alone, &[("hidden_states", "normed")]);
}
