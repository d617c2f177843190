use approx::assert_relative_eq;
use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use rstest::rstest;

use super::*;

const BUDGET: Budget = Budget { max: 0.1, rms: 0.1 };

fn rows<'a>(want: &'a [f64], batch: usize, queries: usize, budget: Budget) -> Vec<Row<'a>> {
    let width = want.len() / (batch * queries);
    (0..batch * queries)
        .map(|r| Row {
            batch: r / queries,
            query: r % queries,
            position: r % queries,
            want: &want[r * width..(r + 1) * width],
            budget,
            entries: None,
        })
        .collect()
}

/// Compares `got` with `want`, two rows of three values, under a budget of 0.1.
fn plain(got: [f32; 6], want: [f64; 6]) -> Difference {
    let shape = Shape { batch: 1, queries: 2, heads: None, merged: 1, width: 3, over_keys: false };
    let got = Tensor::new(&[[&got[..3], &got[3..]].map(|r| [r[0], r[1], r[2]])], &Device::Cpu).unwrap();
    compare(&got, &shape, &rows(&want, 1, 2, BUDGET), None).unwrap()
}

const WANT: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

#[test]
fn equal_tensors_agree_and_every_element_was_compared() {
    let difference = plain([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], WANT);
    assert!(difference.agrees());
    assert_eq!((difference.elements, difference.ratio), (6, 0.0));
}

#[test]
fn the_worst_and_the_first_differing_element_are_reported_with_their_indices() {
    let difference = plain([1.0, 2.0, 3.0, 4.2, 5.0, 7.0], WANT);
    assert!(!difference.agrees());
    assert_eq!(difference.differing, 2);
    assert_eq!(difference.first.unwrap().index, [0, 1, 0]);
    assert_eq!(difference.worst.unwrap().index, [0, 1, 2]);
    assert_eq!(difference.along.to_string(), "position 0 agrees; channel 1 agrees");
}

#[test]
fn many_small_errors_fail_by_their_root_mean_square() {
    let shape = Shape { batch: 1, queries: 1, heads: None, merged: 1, width: 6, over_keys: false };
    let got = Tensor::new(&[[[1.05f32, 2.05, 3.05, 4.05, 5.05, 6.05]]], &Device::Cpu).unwrap();
    let tight = Budget { max: 0.1, rms: 0.01 };
    let difference = compare(&got, &shape, &rows(&WANT, 1, 1, tight), None).unwrap();
    assert_eq!(difference.differing, 0);
    assert_relative_eq!(difference.ratio, 0.05 / 0.01, max_relative = 1e-5); // √(6 · 0.05² / 6) of 0.01
    assert_eq!((difference.along.position.differing(), difference.agrees()), (vec![0], false));
}

#[test]
fn one_large_error_fails_even_if_the_root_mean_square_is_small() {
    let shape = Shape { batch: 1, queries: 1, heads: None, merged: 1, width: 6, over_keys: false };
    let got = Tensor::new(&[[[1.2f32, 2.0, 3.0, 4.0, 5.0, 6.0]]], &Device::Cpu).unwrap();
    let wide = Budget { max: 0.1, rms: 1.0 };
    let difference = compare(&got, &shape, &rows(&WANT, 1, 1, wide), None).unwrap();
    assert_eq!((difference.along.position.differing(), difference.agrees()), (vec![0], false));
}

#[test]
fn an_error_equal_to_the_budget_is_allowed() {
    let shape = Shape { batch: 1, queries: 1, heads: None, merged: 1, width: 1, over_keys: false };
    let got = Tensor::new(&[[[1.5f32]]], &Device::Cpu).unwrap();
    let just = Budget { max: 0.5, rms: 0.5 };
    let difference = compare(&got, &shape, &rows(&[1.0], 1, 1, just), None).unwrap();
    assert!(difference.agrees());
    assert_eq!((difference.ratio, difference.first), (1.0, None));
    assert_eq!(difference.along.position.agreeing(), [0]);
    assert_eq!(difference.along.column.agreeing(), [0]);
}

#[test]
fn of_two_equal_errors_the_first_is_reported_as_worst() {
    let difference = plain([1.0, 2.5, 3.0, 4.0, 5.5, 6.0], WANT);
    assert_eq!(difference.worst.unwrap().index, [0, 0, 1]);
}

#[test]
fn having_compared_nothing_is_not_agreement() {
    let shape = Shape { batch: 1, queries: 1, heads: None, merged: 1, width: 1, over_keys: false };
    let got = Tensor::new(&[[[1f32]]], &Device::Cpu).unwrap();
    assert!(!compare(&got, &shape, &[], None).unwrap().agrees());
}

#[rstest]
#[case::got_nan(f32::NAN, 1.0)]
#[case::got_inf(f32::INFINITY, 1.0)]
#[case::lost_nan(1.0, f64::NAN)]
#[case::lost_inf(1.0, f64::INFINITY)]
#[case::sign_of_inf(f32::NEG_INFINITY, f64::INFINITY)]
#[case::nan_for_inf(f32::NAN, f64::INFINITY)]
fn a_non_finite_entry_agrees_only_with_the_same_value(#[case] got: f32, #[case] want: f64) {
    let difference = plain([got, 2.0, 3.0, 4.0, 5.0, 6.0], [want, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert!(!difference.agrees());
    assert_eq!((difference.unlike, difference.differing, difference.ratio), (1, 1, f64::INFINITY));
}

/// Where the reference is masked, a finite score is masked if its weight in the softmax is 0 in its dtype.
#[rstest]
#[case::minus_infinity(DType::F32, f32::NEG_INFINITY, true)]
#[case::the_most_negative_number(DType::F32, f32::MIN, true)]
#[case::a_large_number(DType::F32, -1e4, true)]
#[case::a_number_with_a_weight(DType::F32, -100.0, false)]
#[case::the_most_negative_f16(DType::F16, -65504.0, true)]
#[case::no_weight_in_f16(DType::F16, -20.0, true)]
#[case::the_same_number_in_bf16(DType::BF16, -20.0, false)]
fn a_masked_score_must_be_masked_on_both_sides(#[case] dtype: DType, #[case] got: f32, #[case] agrees: bool) {
    let shape = Shape { batch: 1, queries: 1, heads: Some(1), merged: 1, width: 2, over_keys: true };
    let got = Tensor::new(&[[[[0.5f32, got]]]], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    let want = [0.5, f64::NEG_INFINITY];
    assert_eq!(compare(&got, &shape, &rows(&want, 1, 1, BUDGET), None).unwrap().agrees(), agrees);
}

/// Such a score may be allowed, and is compared.
#[test]
fn a_score_without_weight_is_compared_where_the_reference_is_not_masked() {
    let shape = Shape { batch: 1, queries: 1, heads: Some(1), merged: 1, width: 2, over_keys: true };
    let got = Tensor::new(&[[[[0.5f32, -150.0]]]], &Device::Cpu).unwrap();
    for (want, agrees) in [(-150.0, true), (-151.0, false)] {
        let want = [0.5, want];
        assert_eq!(compare(&got, &shape, &rows(&want, 1, 1, BUDGET), None).unwrap().agrees(), agrees);
    }
}

/// An entry may be judged alone, but never by more than the budget of its row.
#[rstest]
#[case::within_both(0.04, 0.05, true)]
#[case::over_its_own(0.06, 0.05, false)]
#[case::over_its_row(0.2, 0.5, false)]
fn an_entry_with_its_own_budget_is_judged_by_it(#[case] error: f32, #[case] own: f64, #[case] agrees: bool) {
    let shape = Shape { batch: 1, queries: 1, heads: None, merged: 1, width: 3, over_keys: false };
    let got = Tensor::new(&[[[1.05f32, 2.0 + error, 3.05]]], &Device::Cpu).unwrap();
    let entries = [1.0, own, 1.0];
    let row = Row { entries: Some(&entries), ..rows(&WANT[..3], 1, 1, BUDGET)[0] };
    let difference = compare(&got, &shape, &[row], None).unwrap();
    assert_eq!(difference.agrees(), agrees, "{difference:?}");
    assert_eq!(difference.worst.unwrap().index, [0, 0, 1]);
}

/// For any strides and offset of a view, one wrong value is found at its own index only.
#[rstest]
#[case::heads(Some(3))]
#[case::no_heads(None)]
fn every_element_is_read_from_its_own_index(#[case] heads: Option<usize>) {
    let (batch, queries, width) = (2, 2, 4);
    let shape = Shape { batch, queries, heads, merged: 1, width, over_keys: false };
    let heads = heads.unwrap_or(1);
    // A view: positions before heads, after one unused row, every second number.
    let all = Tensor::arange(0f32, ((batch + 1) * queries * heads * width * 2) as f32, &Device::Cpu).unwrap();
    let all = all.reshape((batch + 1, queries, heads, width, 2)).unwrap().narrow(0, 1, batch).unwrap();
    let all = all.narrow(4, 1, 1).unwrap().squeeze(4).unwrap();
    let got = match shape.heads {
        Some(_) => all.transpose(1, 2).unwrap(), // [b, heads, s, width]
        None => all.squeeze(2).unwrap(),         // [b, s, width]
    };
    let reference: Vec<f64> = all.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert!(compare(&got, &shape, &rows(&reference, batch, queries, BUDGET), None).unwrap().agrees());
    for wrong in 0..reference.len() {
        let mut want = reference.clone();
        want[wrong] += 1.0;
        let difference = compare(&got, &shape, &rows(&want, batch, queries, BUDGET), None).unwrap();
        let (row, head, column) = (wrong / (heads * width), wrong / width % heads, wrong % width);
        let index = match shape.heads {
            Some(_) => vec![row / queries, head, row % queries, column],
            None => vec![row / queries, row % queries, column],
        };
        assert_eq!((difference.differing, difference.first.unwrap().index), (1, index));
    }
}

#[test]
fn with_a_head_axis_only_the_wrong_head_is_reported() {
    // [1, 2 heads, 2 positions, 2]; the reference is stored row by row, [position][head][column].
    let shape = Shape { batch: 1, queries: 2, heads: Some(2), merged: 1, width: 2, over_keys: false };
    let got = Tensor::new(&[[[[0f32, 1.], [2., 3.]], [[4., 5.], [6., 9.]]]], &Device::Cpu).unwrap();
    let want = [0., 1., 4., 5., 2., 3., 6., 7.];
    let difference = compare(&got, &shape, &rows(&want, 1, 2, BUDGET), None).unwrap();
    assert_eq!(difference.worst.unwrap().index, [0, 1, 1, 1]);
    assert_eq!(difference.along.to_string(), "position 0 agrees; head 0 agrees; channel 0 agrees");
}

#[test]
fn a_window_with_fewer_keys_is_compared_with_the_first_keys() {
    let shape = Shape { batch: 1, queries: 1, heads: Some(2), merged: 1, width: 2, over_keys: true };
    let got = Tensor::new(&[[[[1f32, 2.]], [[4., 5.]]]], &Device::Cpu).unwrap();
    let want = [1., 2., 99., 4., 5., 99.];
    assert!(compare(&got, &shape, &rows(&want, 1, 1, BUDGET), None).unwrap().agrees());
}

#[test]
fn a_declared_layout_reorders_the_columns() {
    let shape = Shape { batch: 1, queries: 1, heads: None, merged: 1, width: 4, over_keys: false };
    let got = Tensor::new(&[[[0f32, 2., 1., 3.]]], &Device::Cpu).unwrap();
    let want = [0., 1., 2., 3.];
    let rows = rows(&want, 1, 1, BUDGET);
    assert!(!compare(&got, &shape, &rows, None).unwrap().agrees());
    assert!(compare(&got, &shape, &rows, Some(&[0, 2, 1, 3])).unwrap().agrees());
}

#[rstest]
#[case(DType::F64)]
#[case(DType::F32)]
#[case(DType::BF16)]
#[case(DType::F16)]
fn every_float_dtype_is_read_in_place_with_any_strides(#[case] dtype: DType) {
    let shape = Shape { batch: 1, queries: 2, heads: None, merged: 1, width: 3, over_keys: false };
    let got = Tensor::new(&[[1f32, 4.], [2., 5.], [3., 6.]], &Device::Cpu).unwrap();
    let got = got.t().unwrap().unsqueeze(0).unwrap().to_dtype(dtype).unwrap();
    assert!(compare(&got, &shape, &rows(&WANT, 1, 2, BUDGET), None).unwrap().agrees());
}

proptest! {
    /// The verdict changes exactly where the largest error equals the budget.
    #[test]
    fn one_error_differs_exactly_when_it_exceeds_the_budget(at in 0usize..6, size in 0.0f64..0.2) {
        let mut got = WANT.map(|v| v as f32);
        got[at] += size as f32;
        let error = (got[at] as f64 - WANT[at]).abs();
        let difference = plain(got, WANT);
        prop_assert_eq!(difference.agrees(), error <= 0.1);
        prop_assert_eq!(difference.differing, usize::from(error > 0.1));
    }
}

#[test]
fn heads_are_distinguished_as_an_axis_and_when_merged() {
    let want = [1.0, 1.0, 1.0, 1.0];
    let budget = Budget { max: 0.5, rms: 10.0 };
    let row = Row { batch: 0, query: 0, position: 7, want: &want, budget, entries: None };
    let seen = |heads, merged, dims: &[usize]| {
        let width = if heads == Some(2) { 2 } else { 4 };
        let shape = Shape { batch: 1, queries: 1, heads, merged, width, over_keys: false };
        let got = Tensor::new(&[1f32, 1.0, 1.25, 3.0], &Device::Cpu).unwrap().reshape(dims).unwrap();
        let difference = compare(&got, &shape, &[row], None).unwrap();
        (difference.shares, difference.along.to_string())
    };
    let both = Shares { heads: 2, places: vec![(0, 7)], of_row: vec![4.0], of_head: vec![0.0, 4.0] };
    let text = "head 0 agrees; channel 0 agrees".to_owned();
    assert_eq!(seen(Some(2), 1, &[1, 2, 1, 2]), (both.clone(), text.clone()));
    assert_eq!(seen(None, 2, &[1, 1, 4]), (both.clone(), text));
    let one = Shares { heads: 1, of_head: vec![4.0], ..both };
    assert_eq!(seen(None, 1, &[1, 1, 4]), (one, "only channel 3".to_owned()));
}

/// Elements 1 and 3 of the second head's four elements differ.
#[rstest]
#[case::rotated(Some(2), 1, false, "head 0 agrees; pair 0 agrees")]
#[case::merged(None, 2, false, "head 0 agrees; channels 0 and 2 agree")]
#[case::over_keys(Some(2), 1, true, "head 0 agrees; keys 0 and 2 agree")]
fn pairs_are_described_only_in_rotated_tensors(
    #[case] heads: Option<usize>,
    #[case] merged: usize,
    #[case] over_keys: bool,
    #[case] expected: &str,
) {
    let want = [1.0; 8];
    let row = Row {
        batch: 0,
        query: 0,
        position: 0,
        want: &want,
        budget: Budget { max: 0.5, rms: 10.0 },
        entries: None,
    };
    let width = if heads.is_some() { 4 } else { 8 };
    let shape = Shape { batch: 1, queries: 1, heads, merged, width, over_keys };
    let got = Tensor::new(&[1f32, 1.0, 1.0, 1.0, 1.0, 3.0, 1.0, 3.0], &Device::Cpu).unwrap();
    let got = got.reshape(shape.dims()).unwrap();
    assert_eq!(compare(&got, &shape, &[row], None).unwrap().along.to_string(), expected);
}
