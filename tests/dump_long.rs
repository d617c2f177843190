//! Long recordings: rounding errors are measured on some rows, but every row is compared.

mod program;
mod recorded;

use candle_core::{DType, Device, Tensor};
use program::{home, rbees_in, stderr, stdout};
use rbees_check::models;
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
fn judged(arrays: &Arrays, checkpoints: &str) -> (String, Option<i32>) {
    let folder = tempdir().unwrap();
    let dump = write(folder.path(), arrays);
    let output = rbees_in(folder.path(), &home(), &["run", checkpoints, "--dump", dump.to_str().unwrap()])
        .output()
        .unwrap();
    (stdout(&output) + &stderr(&output), output.status.code())
}

#[test]
fn a_correct_long_recording_passes_under_half_of_every_budget() {
    let (text, code) = judged(&long(), "all");
    assert_eq!(code, Some(0), "{text}");
    let share = |line: &str| line.strip_suffix("% of budget")?.rsplit(' ').next()?.parse::<f64>().ok();
    let shares: Vec<f64> = text.lines().filter_map(share).collect();
    assert!(shares.len() >= 6 && shares.iter().all(|share| *share < 50.0), "{text}");
}

/// A vector that `matrix`, `[out, in]` with out < in, maps to almost nothing: the large terms of its products cancel.
fn cancelled_by(matrix: &[Vec<f64>]) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let without = |mut x: Vec<f64>, basis: &[Vec<f64>]| {
        for row in basis {
            let along = dot(&x, row);
            x.iter_mut().zip(row).for_each(|(x, r)| *x -= along * r);
        }
        x
    };
    let mut basis: Vec<Vec<f64>> = Vec::new(); // orthonormal rows
    for row in matrix {
        let rest = without(without(row.clone(), &basis), &basis);
        let length = dot(&rest, &rest).sqrt();
        basis.push(rest.into_iter().map(|x| x / length).collect());
    }
    let any: Vec<f64> = (0..matrix[0].len()).map(|j| (j as f64 * 1.7).sin()).collect();
    let rest = without(any.clone(), &basis);
    rest.iter().zip(&any).map(|(rest, any)| rest + 1e-4 * any).collect()
}

/// The rounding error of such a row is far larger than that of the sampled rows, and it is correct.
#[test]
fn a_correct_row_whose_terms_cancel_passes_although_it_is_not_sampled() {
    let (input, output) = ("model.layers.0.input_layernorm", "model.layers.0.self_attn.k_proj");
    let weights = models::open("tiny-llama").unwrap().weights;
    let weight = weights.canonical("model.layers.0.self_attn.k_proj.weight").unwrap(); // [out, in]
    let matrix = weight.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
    let mut arrays = long();
    arrays.retain(|name, _| [input, output, "input_ids"].contains(&name.as_str()));
    let mut rows = arrays[input].squeeze(0).unwrap().to_vec2::<f32>().unwrap();
    rows[7] = cancelled_by(&matrix).into_iter().map(|x| x as f32).collect();
    let x = Tensor::new(rows, &Device::Cpu).unwrap(); // [rows, in]
    let product = x.matmul(&weight.t().unwrap()).unwrap();
    arrays.insert(input.into(), x.unsqueeze(0).unwrap());
    arrays.insert(output.into(), product.unsqueeze(0).unwrap());
    let (text, code) = judged(&arrays, "02");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("PASS  02  qkv          1 site "), "{text}");
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
    let (text, code) = judged(&arrays, "all");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("first wrong operation, given its recorded inputs: {site}\n")), "{text}");
    assert!(text.contains(&format!("only position {position};")), "{text}");
}
