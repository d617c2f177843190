//! Recordings of padded batches: what padding does to the tokens beside it.

mod program;
mod recorded;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use program::{home, rbees_in, stdout};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use recorded::{Recorded, write};
use rstest::rstest;

/// What the program says of a pass over the case batch-left, whose padding is a token to the port or not.
fn told(padding_is_seen: bool) -> (String, Option<i32>) {
    let model = models::open("tiny-llama").unwrap();
    let case = model.fixture.as_ref().unwrap().case("batch-left").unwrap();
    let tokens = case.tokens();
    let mut real = vec![vec![padding_is_seen; case.length()]; case.batch()];
    case.places().iter().for_each(|&(b, slot)| real[b][slot] = true);
    let (ids, positions) = (case.manifest.ids.clone(), case.manifest.position_ids.clone());
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let mut recorded = Recorded::default();
    llama.forward(&Input { ids, positions, real }, &mut llama.new_cache(), &mut recorded).unwrap();
    let beside: [(&str, &Tensor); 3] =
        [("input_ids", &tokens.ids), ("position_ids", &tokens.positions), ("attention_mask", &tokens.mask)];
    for (name, tensor) in beside {
        recorded.0.insert(name.into(), tensor.to_dtype(DType::I64).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let dump = write(folder.path(), &recorded.0);
    let args = ["run", "03", "--dump", dump.to_str().unwrap()];
    let output = rbees_in(Path::new("/"), &home(), &args).output().unwrap();
    (stdout(&output), output.status.code())
}

/// The scores of padding are finite, and what they are nobody can compute: its keys are not among the tokens'.
#[rstest]
#[case(false, 0, false)]
#[case(true, 1, true)]
fn padding_that_is_seen_is_named(#[case] seen: bool, #[case] code: i32, #[case] named: bool) {
    let (text, exit) = told(seen);
    assert_eq!(exit, Some(code), "{text}");
    assert_eq!(text.contains("pads-visible"), named, "{text}");
}
