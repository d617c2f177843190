//! Matrix products with the quantised blocks of a file, and with tensors that the file stores as floats.

use rbees_check::graph::MatrixRows;
use rbees_check::models;
use rbees_check::oracle::{Arithmetic, Exact, LastRead, ORDERS, OnBlocks, Precision, Rounded, Rows};
use rbees_check::probe;
use rbees_check::weights::Weights;
use rstest::rstest;

const BLOCKS: &str = "model.layers.0.mlp.gate_proj.weight";

fn weights() -> Weights {
    models::open("tiny-llama:q8_0").unwrap().weights
}

/// Two input rows of the matrix's width.
fn x(weights: &Weights, name: &str) -> Rows {
    Rows::from_fn(2, weights.shape(name).unwrap()[1], |r, j| f64::from((r as f32 + j as f32 * 0.61).sin()))
}

fn product<A: Arithmetic>(arithmetic: &A, weights: &Weights, name: &str) -> Rows {
    let matrix = arithmetic.matrix(weights, name, None).unwrap();
    arithmetic.linear(&x(weights, name), &matrix, None).unwrap()
}

/// The largest difference, as a share of the largest entry.
fn apart(a: &Rows, b: &Rows) -> f64 {
    assert_eq!((a.width, a.len()), (b.width, b.len()));
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0f64, |most, v| most.max(v.abs()));
    let error = largest(&mut a.values.iter().zip(&b.values).map(|(a, b)| a - b));
    error / largest(&mut b.values.iter().copied())
}

#[test]
fn block_products_round_the_activations_and_dense_products_do_not() {
    let (weights, read) = (weights(), LastRead::default());
    let exact = product(&Exact, &weights, BLOCKS);
    let dense = product(&OnBlocks::exact(probe::Arithmetic::Dense, &read), &weights, BLOCKS);
    let blocks = product(&OnBlocks::exact(probe::Arithmetic::Blocks32, &read), &weights, BLOCKS);
    assert!(apart(&dense, &exact) < 1e-14);
    let rounding = apart(&blocks, &exact);
    assert!((1e-4..1e-2).contains(&rounding), "{rounding}"); // 8 bits
}

#[rstest]
fn rounded_block_products_are_close_to_the_exact_block_product(
    #[values((Precision::F32, 2e-3), (Precision::Bf16, 1e-2))] precision: (Precision, f64),
) {
    let ((precision, most), weights, read) = (precision, weights(), LastRead::default());
    let exact = product(&OnBlocks::exact(probe::Arithmetic::Blocks32, &read), &weights, BLOCKS);
    for run in 0..ORDERS {
        let rounded = OnBlocks::rounded(probe::Arithmetic::Blocks32, Rounded { precision, run }, &read);
        let rounded = product(&rounded, &weights, BLOCKS);
        assert!(apart(&rounded, &exact) < most, "run {run}: {}", apart(&rounded, &exact));
    }
}

#[test]
fn block_arithmetic_multiplies_float_matrices_without_rounding() {
    let (weights, read) = (models::open("tiny-llama").unwrap().weights, LastRead::default());
    let blocks = product(&OnBlocks::exact(probe::Arithmetic::Blocks32, &read), &weights, BLOCKS);
    assert!(apart(&blocks, &product(&Exact, &weights, BLOCKS)) < 1e-14);
}

#[test]
fn a_product_with_some_rows_of_a_matrix_gives_those_columns_of_the_full_product() {
    let (weights, read) = (weights(), LastRead::default());
    let arithmetic = OnBlocks::exact(probe::Arithmetic::Blocks32, &read);
    let whole = product(&arithmetic, &weights, BLOCKS);
    let rows = arithmetic.matrix(&weights, BLOCKS, Some(&MatrixRows::Range(16..48))).unwrap();
    let part = arithmetic.linear(&x(&weights, BLOCKS), &rows, None).unwrap();
    assert!(apart(&part, &whole.columns(32, |j| 16 + j)) < 1e-14);
}
