//! Rotary position embedding.

use candle_core::{DType, Tensor};
use candle_nn::rotary_emb::{rope, rope_i, rope_thd};
use rstest::rstest;

use super::{spread, tensor, values};

const HALF: usize = 32;

/// cos and sin, `[rows, positions, 32]`; row r starts at position 10 r.
fn tables(rows: usize, positions: usize, dtype: DType) -> (Tensor, Tensor) {
    let angles: Vec<f64> = (0..rows)
        .flat_map(|row| (0..positions).map(move |at| (10 * row + at) as f64))
        .flat_map(|at| (0..HALF).map(move |i| at * 10000f64.powf(-(i as f64) / HALF as f64)))
        .collect();
    let of = |f: fn(f64) -> f64| {
        let table: Vec<f32> = angles.iter().map(|&angle| f(angle) as f32).collect();
        tensor(&table, &[rows, positions, HALF], dtype)
    };
    (of(f64::cos), of(f64::sin))
}

type Call = fn(&Tensor, &Tensor, &Tensor) -> candle_core::Result<Tensor>;

/// Rows after the first read the table at the wrong place, because its length is taken to be the sequence's.
#[rstest]
#[case(rope)]
#[case(rope_i)]
#[case(rope_thd)]
fn a_table_by_row_that_is_longer_than_the_sequence_is_misread(#[case] call: Call) {
    let x = tensor(&spread(2 * 3 * 3 * 64), &[2, 3, 3, 64], DType::F32);
    let (cos, sin) = tables(2, 7, DType::F32);
    let short = |table: &Tensor| table.narrow(1, 0, 3).unwrap().contiguous().unwrap();
    let long = values(&call(&x, &cos, &sin).unwrap());
    let right = values(&call(&x, &short(&cos), &short(&sin)).unwrap());
    let row = long.len() / 2;
    assert_eq!(long[..row], right[..row]);
    assert_ne!(long[row..], right[row..]);
}

#[rstest]
#[case(rope)]
#[case(rope_i)]
#[case(rope_thd)]
fn a_view_with_gaps_and_tables_of_another_dtype_are_refused(#[case] call: Call) {
    let x = tensor(&spread(4 * 65), &[1, 2, 2, 65], DType::F32);
    let (cos, sin) = tables(1, 2, DType::F32);
    assert!(call(&x.narrow(3, 0, 64).unwrap(), &cos, &sin).is_err());
    let half = tensor(&spread(4 * 64), &[1, 2, 2, 64], DType::BF16);
    assert!(call(&half, &cos, &sin).is_err());
}

/// The product of a position and a frequency has a relative error of 2⁻²⁴ in float32.
#[test]
fn angles_in_float32_are_off_by_half_a_thousandth_at_position_100000() {
    let error = |at: f64| {
        let of = |i: usize| 10000f64.powf(-(i as f64) / HALF as f64);
        let angles = (0..HALF).map(|i| (at * of(i), at as f32 * of(i) as f32));
        angles.map(|(right, narrow)| (right.cos() - f64::from(narrow).cos()).abs()).fold(0.0, f64::max)
    };
    assert!(error(100_000.0) > 3e-4 && error(1_000.0) < 1e-4);
}

#[test]
fn rope_pairs_halves_rope_i_pairs_neighbours_and_rope_thd_has_positions_first() {
    let (cos, sin) = tables(1, 2, DType::F32);
    let x = spread(2 * 64);
    let input = tensor(&x, &[1, 1, 2, 64], DType::F32);
    let (halves, neighbours) =
        (values(&rope(&input, &cos, &sin).unwrap()), values(&rope_i(&input, &cos, &sin).unwrap()));
    // Position 1, pair 0: the angle is 1.
    let turned = |a: f32, b: f32| a * 1f32.cos() - b * 1f32.sin();
    assert!((halves[64] - turned(x[64], x[96])).abs() < 1e-6);
    assert!((neighbours[64] - turned(x[64], x[65])).abs() < 1e-6);
    let first = input.transpose(1, 2).unwrap().contiguous().unwrap();
    assert_eq!(values(&rope_thd(&first, &cos, &sin).unwrap()), halves);
}
