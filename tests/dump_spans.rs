//! Sparse recordings: a mistake is named even if many operations separate the recorded sites.

mod program;
mod recorded;

use std::collections::BTreeSet;

use candle_core::{DType, Device};
use insta::assert_snapshot;
use program::{home, rbees_in, stderr, stdout};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use rbees_check::plants::{self, Correct};
use recorded::{Arrays, Recorded, pass, with_ids, write};
use rstest::rstest;
use tempfile::tempdir;

/// No reference case has these token ids.
const PROMPT: [u32; 6] = [5, 99, 7, 300, 12, 8];

/// Every tensor that a port with this planted mistake computes.
fn planted(model: &str, plant: &str) -> Arrays {
    planted_in(DType::F32, model, plant, &PROMPT)
}

fn planted_in(dtype: DType, model: &str, plant: &str, prompt: &[u32]) -> Arrays {
    let model = models::open(model).unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, dtype, Attention::Plain).unwrap();
    let mut port =
        (plants::find(plant).unwrap().make)(&Correct { model: &model, llama: &llama }).unwrap().port;
    let mut recorded = Recorded::default();
    port.begin();
    port.forward(&Input::single(prompt, 0), &mut recorded).unwrap();
    with_ids(recorded.0, prompt)
}

/// The output for a recording of these sites only.
fn printed(mut arrays: Arrays, sites: &[&str], model: &str) -> String {
    let kept: BTreeSet<&str> = sites.iter().copied().chain(["input_ids"]).collect();
    arrays.retain(|name, _| kept.contains(name.as_str()));
    assert_eq!(arrays.len(), kept.len());
    let folder = tempdir().unwrap();
    let dump = write(folder.path(), &arrays);
    let args = ["run", "--dump", dump.to_str().unwrap(), "--model", model];
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    stdout(&output) + &stderr(&output)
}

/// The mistakes that are named.
fn named(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("   suspect    ")?.split(':').next()).collect()
}

#[rstest]
fn a_planted_mistake_is_named_from_a_recording_of_the_logits_only(
    #[values(
        "norm-eps",
        "norm-plus-one",
        "rope-theta",
        "rope-pairing",
        "head-map",
        "attention-scale",
        "mask-missing",
        "gate-up-swapped"
    )]
    plant: &str,
) {
    let text = printed(planted("tiny-llama", plant), &["lm_head"], "tiny-llama");
    assert_eq!(named(&text), [plant], "{text}");
    assert!(
        text.contains("lm_head, or an earlier one of the 71 operations from model.embed_tokens to lm_head"),
        "{text}"
    );
}

/// The port applies Candle's softmax to bf16 scores, between the recorded q and k and the recorded context.
#[test]
fn a_softmax_summed_in_bf16_is_named_from_q_k_and_context() {
    let prompt: Vec<u32> = (0..600).map(|i| (i * 7 + 3) % 512).collect();
    let arrays = planted_in(DType::BF16, "tiny-llama", "softmax-half", &prompt);
    let sites = [
        "model.layers.0.self_attn.q_rope",
        "model.layers.0.self_attn.k_rope",
        "model.layers.0.self_attn.context",
        "model.layers.0",
        "lm_head",
    ];
    let text = printed(arrays, &sites, "tiny-llama");
    assert_eq!(named(&text), ["softmax-half"], "{text}");
    assert!(text.contains("you sum the softmax term by term in bf16"), "{text}");
}

#[test]
fn a_missing_transpose_is_named_from_the_block_output_only() {
    let text = printed(planted("tiny-llama2", "weight-transposed"), &["model.layers.0"], "tiny-llama2");
    assert_eq!(named(&text), ["weight-transposed"], "{text}");
    assert!(text.contains("you multiply by the weight of self_attn."), "{text}");
}

/// The span begins at the recorded site, not at the embedding, even if no site of the layers between is
/// recorded.
#[test]
fn a_mistake_is_named_when_the_recorded_sites_are_in_different_layers() {
    let arrays = planted("tiny-llama", "rope-pairing");
    let text = printed(arrays, &["model.layers.0.mlp.act", "model.layers.2"], "tiny-llama");
    assert_eq!(named(&text), ["rope-pairing", "rope-pairing"], "{text}");
    let text =
        printed(planted("tiny-llama", "rope-pairing"), &["model.layers.1", "model.layers.3"], "tiny-llama");
    assert_eq!(named(&text), ["rope-pairing"], "{text}");
}

#[test]
fn an_unusual_theta_is_unexplained_and_a_correct_pass_names_nothing() {
    let text = printed(pass(&PROMPT, |config| config.rope_theta = 12_345.0), &["lm_head"], "tiny-llama");
    assert!(text.contains("   suspect    unexplained: no known mistake reproduces it"), "{text}");
    let text = printed(pass(&PROMPT, |_| {}), &["lm_head"], "tiny-llama");
    assert!(named(&text).is_empty() && text.contains("  PASS  07  model        1 site "), "{text}");
}

/// Recordings of a port in numpy, in bf16 with five sites a layer. So many operations are between two sites that the
/// budgets are wide, and several mistakes are within them: the one that fits much better is named, or none.
#[rstest]
#[case("norm-weight-only")]
#[case("rope-ntk-4")]
#[case("sum-mlp-missing")]
#[case("sum-mlp-residual-of-attention")]
fn in_half_precision_only_the_mistake_that_fits_much_better_than_others_is_named(#[case] mistake: &str) {
    let file = format!("{}/fixtures/numpy-mistakes/{mistake}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let args = ["run", "all", "--model", "tiny-llama", "--dump", &file];
    let output = rbees_in(tempdir().unwrap().path(), &home(), &args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let shown =
        |line: &&str| ["FAIL ", "   suspect", "   same as"].iter().any(|start| line.starts_with(start));
    let text = stdout(&output);
    assert_snapshot!(mistake, text.lines().filter(shown).collect::<Vec<_>>().join("\n"));
}
