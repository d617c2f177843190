//! Positions: rotations are recomputed from the recorded ones, which are checked as facts.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use rbees_check::port::LlamaPort;
use rstest::rstest;

use crate::alter::{only, without};
use crate::recorded::{Arrays, Recorded, ids, input_of, pass_over, remade, with_ids};
use crate::run::{fails, is_recognised, is_stated, is_undecided, run};

/// A pass that rotates by these positions, and records them.
fn rotated(ids: &[u32], positions: Vec<usize>) -> Arrays {
    let input = Input { positions: vec![positions.clone()], ..Input::single(ids, 0) };
    with_positions(remade(&input, |_, _, _| None), &positions)
}

fn with_positions(mut arrays: Arrays, positions: &[usize]) -> Arrays {
    let row: Vec<i64> = positions.iter().map(|&position| position as i64).collect();
    arrays.insert("position_ids".into(), Tensor::new(vec![row], &Device::Cpu).unwrap());
    arrays
}

#[rstest]
#[case::counted_on((13..26).collect(), "uncached-position", "token 0 of row 0 has position 13 instead of 0, the number of tokens before it")]
#[case::one_too_high((1..14).collect(), "decode-position", "token 0 of row 0 has position 1 instead of 0, the number of tokens before it")]
#[case::stuck(vec![0; 13], "decode-position", "token 1 of row 0 has position 0 instead of 1, the number of tokens before it")]
fn wrong_positions_fail_and_are_named(
    #[case] positions: Vec<usize>,
    #[case] named: &str,
    #[case] how: &str,
    #[values(true, false)] of_a_case: bool,
    #[values(&[], &[".scores", ".probs"])] missing: &[&str],
) {
    let mut prompt = ids("short");
    if !of_a_case {
        prompt[3] += 1;
    }
    let run = run(&without(rotated(&prompt, positions), missing));
    fails(&run, &["01B"], &[named]);
    assert!(run.text.contains(how), "{}", run.text);
}

#[test]
fn positions_that_jump_fail() {
    let positions: Vec<usize> = (0..6).chain(9..16).collect();
    fails(&run(&rotated(&ids("short"), positions)), &["01B"], &[]);
}

/// A batch padded on the left, recorded with the positions that the port rotated by, or without any.
fn padded(count_padding: bool, record: bool) -> Arrays {
    let case = models::fixture("tiny-llama").unwrap().case("batch-left").unwrap();
    let mut input = input_of(&case);
    if count_padding {
        input.positions.iter_mut().for_each(|row| *row = (0..row.len()).collect());
    }
    let weights = models::open("tiny-llama").unwrap().weights;
    let llama = Llama::load(&weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let mut arrays = pass_over(&mut LlamaPort::new(llama), &input, &case);
    let positions: Vec<Vec<i64>> =
        input.positions.iter().map(|row| row.iter().map(|&position| position as i64).collect()).collect();
    arrays.insert("position_ids".into(), Tensor::new(positions, &Device::Cpu).unwrap());
    if record { arrays } else { without(arrays, &["position_ids"]) }
}

#[rstest]
fn padding_that_is_counted_as_positions_fails_and_is_named(#[values(true, false)] record: bool) {
    fails(&run(&padded(true, record)), &["01B"], &["pad-positions"]);
}

#[rstest]
fn positions_after_padding_on_the_left_pass(#[values(true, false)] record: bool) {
    is_stated(&padded(false, record), &[]);
}

/// One token after eight cached ones, which a port rotates by `position`.
fn step(position: usize) -> Arrays {
    let (ids, weights) = (ids("short"), models::open("tiny-llama").unwrap().weights);
    let llama = Llama::load(&weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let (mut cache, mut recorded) = (llama.new_cache(), Recorded::default());
    llama.forward(&Input::single(&ids[..8], 0), &mut cache, &mut ()).unwrap();
    llama.forward(&Input::single(&ids[8..9], position), &mut cache, &mut recorded).unwrap();
    with_positions(with_ids(recorded.0, &ids[8..9]), &[position])
}

#[rstest]
#[case::whole(&[])]
#[case::without_scores(&[".scores", ".probs"])]
fn a_step_with_cached_tokens_is_recognised_and_its_attention_is_not_judged(#[case] missing: &[&str]) {
    let what = "8 tokens are cached before this pass, as its positions show; attention is not checked, because their keys were not recorded";
    is_recognised(&without(step(8), missing), what, "\"cached\": \"8\"");
}

#[test]
fn a_few_sites_do_not_show_whether_tokens_are_cached() {
    let few = only(step(8), &["layers.0.self_attn.q_proj", "layers.0.self_attn.q_rope"]);
    is_undecided(
        &few,
        "its positions start at 8: tokens are cached before this pass, or the positions are wrong",
        "record model.layers.0.self_attn.context too; or, if they are cached, state it: \"cached\": \"8\" in the metadata",
    );
    is_stated(&few, &[("cached", "8")]);
}

/// The metadata say how many tokens are cached.
#[test]
fn a_step_at_another_position_than_the_cache_has_tokens_fails() {
    let metadata: BTreeMap<&str, &str> = BTreeMap::from([("cached", "8")]);
    let metadata: Vec<(&str, &str)> = metadata.into_iter().collect();
    let run = crate::run::stating(&step(3), &metadata);
    assert_eq!((run.failed(), run.code), (vec!["01B"], 1), "{}", run.text);
}
