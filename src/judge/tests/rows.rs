use candle_core::{DType, Device, Tensor};

use crate::compare::{Noise, Shape};
use crate::judge::Verdict;
use crate::judge::rows::{Compared, ExpectedRow, Terms, compare_rows};

const SHAPE: Shape = Shape { batch: 1, queries: 2, heads: None, merged: 1, width: 2, over_keys: false };
const WANT: [[f64; 2]; 2] = [[1.0, -2.0], [3.0, 4.0]];

/// Compares two rows of scale 2 and 4 with noise `noise[row]`, of which 10 times is allowed.
fn compare(got: [[f32; 2]; 2], noise: [Option<f64>; 2], fine: bool) -> Compared {
    let got = Tensor::new(&[got], &Device::Cpu).unwrap(); // [1, 2, 2]
    let wanted: Vec<ExpectedRow<'_>> = (0..2)
        .map(|query| ExpectedRow {
            place: (0, 5 + query),
            query,
            want: &WANT[query],
            noise: noise[query].map(|noise| Noise { max: noise, rms: noise }),
            entries: None,
        })
        .collect();
    compare_rows(&got, &SHAPE, &wanted, &Terms { factor: 10.0, dtype: DType::F32, fine }, None).unwrap()
}

const TRUE: [[f32; 2]; 2] = [[1.0, -2.0], [3.0, 4.0]];

#[test]
fn each_row_has_its_own_budget() {
    let by = |r: usize, error: f32| {
        let mut got = TRUE;
        got[r][1] += error;
        compare(got, [Some(1e-3), Some(1e-3)], true).verdict
    };
    // The budgets are 1% of 2 and 1% of 4.
    assert!(matches!(by(0, 0.015), Verdict::Pass(share) if (share - 0.75).abs() < 0.01));
    assert!(matches!(by(0, 0.03), Verdict::Differs(_)));
    assert!(matches!(by(1, 0.03), Verdict::Pass(_)));
    assert!(matches!(by(1, 0.05), Verdict::Differs(_)));
}

#[test]
fn in_f32_a_budget_larger_than_the_row_is_a_broken_reference() {
    assert_eq!(compare(TRUE, [Some(1e-3), Some(0.2)], true).verdict, Verdict::TooWide { rows: 1 });
    assert_eq!(compare(TRUE, [None, None], true).verdict, Verdict::TooWide { rows: 2 });
}

#[test]
fn in_coarser_arithmetic_such_a_row_is_left_out_and_counted() {
    let compared = compare(TRUE, [Some(1e-3), Some(0.2)], false);
    assert_eq!((compared.verdict, compared.incomparable), (Verdict::Pass(0.0), 1));
    assert_eq!(compared.shares.unwrap().places, [(0, 5)]);
}

#[test]
fn without_a_comparable_row_the_verdict_is_incomparable() {
    let compared = compare([[9.0; 2]; 2], [Some(0.2), None], false);
    assert_eq!((compared.verdict, compared.incomparable, compared.shares), (Verdict::Incomparable, 2, None));
}
