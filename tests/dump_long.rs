//! Long recordings: rounding errors are measured on some rows, but every row is compared.

mod program;
mod recorded;

use candle_core::{Device, Tensor};
use program::{home, rbees_in, stderr, stdout};
use recorded::{Arrays, pass, write};
use rstest::rstest;
use tempfile::tempdir;

/// Many more tokens than there are rows on which rounding errors are measured.
const TOKENS: u32 = 900;

/// A correct pass without scores and probabilities, which would be the largest part of the file.
fn long() -> Arrays {
    let ids: Vec<u32> = (0..TOKENS).map(|i| (i * 31 + 5) % 500).collect();
    let mut arrays = pass(&ids, |_| {});
    arrays.retain(|name, _| !name.ends_with("scores") && !name.ends_with("probs"));
    arrays
}

/// The output and exit code of `run --dump`.
fn judged(arrays: &Arrays) -> (String, Option<i32>) {
    let folder = tempdir().unwrap();
    let dump = write(folder.path(), arrays);
    let output =
        rbees_in(folder.path(), &home(), &["run", "--dump", dump.to_str().unwrap()]).output().unwrap();
    (stdout(&output) + &stderr(&output), output.status.code())
}

#[test]
fn a_correct_long_recording_passes_under_half_of_every_budget() {
    let (text, code) = judged(&long());
    assert_eq!(code, Some(0), "{text}");
    let share = |line: &str| line.strip_suffix("% of budget")?.rsplit(' ').next()?.parse::<f64>().ok();
    let shares: Vec<f64> = text.lines().filter_map(share).collect();
    assert!(shares.len() >= 6 && shares.iter().all(|share| *share < 50.0), "{text}");
}

#[rstest]
#[case::sum("model.layers.1.mlp.up_proj")]
#[case::entry_by_entry("model.layers.1.mlp.act")]
#[case::rotation("model.layers.1.self_attn.q_rope")]
fn an_error_in_a_single_row_is_found_wherever_it_is(#[case] site: &str, #[values(7, 899)] position: usize) {
    let mut arrays = long();
    let tensor = &arrays[site];
    let (width, dims) = (tensor.dims()[tensor.rank() - 1], tensor.dims().to_vec());
    let mut values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values[position * width + 3] += 0.01;
    arrays.insert(site.into(), Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
    let (text, code) = judged(&arrays);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("first wrong operation, given its recorded inputs: {site}\n")), "{text}");
    assert!(text.contains(&format!("only position {position};")), "{text}");
}
