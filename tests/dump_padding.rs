//! Recordings of padded batches: detects a port whose tokens attend to padding.

mod program;
mod recorded;

use std::path::Path;

use candle_core::{DType, Device};
use program::{home, rbees_in, stdout};
use rbees_check::model::{Attention, Llama};
use rbees_check::models;
use rbees_check::port::LlamaPort;
use recorded::{input_of, pass_over, write};
use rstest::rstest;

/// The output and exit code for a pass over the case batch-left. The port may or may not attend to padding.
fn printed(padding_is_seen: bool) -> (String, Option<i32>) {
    let model = models::open("tiny-llama").unwrap();
    let case = model.fixture.as_ref().unwrap().case("batch-left").unwrap();
    let mut input = input_of(&case);
    input.real.iter_mut().flatten().for_each(|real| *real |= padding_is_seen);
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let arrays = pass_over(&mut LlamaPort::new(llama), &input, &case);
    let folder = tempfile::tempdir().unwrap();
    let dump = write(folder.path(), &arrays);
    let args = ["run", "03", "--dump", dump.to_str().unwrap()];
    let output = rbees_in(Path::new("/"), &home(), &args).output().unwrap();
    (stdout(&output), output.status.code())
}

/// The scores of padding are finite. They cannot be recomputed, because the keys of padding are not among
/// those of the tokens.
#[rstest]
#[case::padding_masked(false, 0, false)]
#[case::padding_visible(true, 1, true)]
fn attending_to_padding_is_named_as_pads_visible(#[case] seen: bool, #[case] code: i32, #[case] named: bool) {
    let (text, exit) = printed(seen);
    assert_eq!(exit, Some(code), "{text}");
    assert_eq!(text.contains("pads-visible"), named, "{text}");
}
