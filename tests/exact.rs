//! Operations in exact arithmetic with parameters that only families other than Llama use. No stored
//! reference covers them, so their results are compared with formulas and known values.

use rbees_check::graph::{
    Activation, EpsPlace, FrequencyLaw, Gain, HeadMap, Mask, NormRule, Pairing, Rope, Scores, Statistic,
};
use rbees_check::oracle::{Arithmetic, Exact, Pass, RowPlaces, Rows, Slot, Token, frequencies};
use rstest::rstest;

fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-14 * want.abs().max(1e-300), "{got:?} is not {want:?}");
    }
}

/// Two rows, each of two heads with three entries.
fn x() -> Rows {
    Rows::new(6, vec![1.0, 2.0, 2.0, -3.0, 0.0, 4.0, 0.5, 0.5, 0.0, 6.0, -2.0, 3.0])
}

#[test]
fn a_per_head_norm_normalizes_each_head_separately() {
    let rule = NormRule::rms(0.25).per_head(3);
    let normed = Exact.norm(&x(), &rule, &[1.0, 10.0, 100.0], None);
    let head = |a: [f64; 3]| {
        let root = (a.iter().map(|a| a * a).sum::<f64>() / 3.0 + 0.25).sqrt();
        [a[0] / root, 10.0 * a[1] / root, 100.0 * a[2] / root]
    };
    close(normed.row(0), &[head([1.0, 2.0, 2.0]), head([-3.0, 0.0, 4.0])].concat());
    close(normed.row(1), &[head([0.5, 0.5, 0.0]), head([6.0, -2.0, 3.0])].concat());
}

#[test]
fn a_one_plus_weight_gain_equals_a_weight_gain_with_one_added() {
    let weight = [0.0, -1.0, 0.5, 1.0, 2.0, -3.0];
    let more: Vec<f64> = weight.iter().map(|w| w + 1.0).collect();
    let rule = NormRule { gain: Gain::OnePlusWeight, ..NormRule::rms(1e-5) };
    assert_eq!(Exact.norm(&x(), &rule, &weight, None), Exact.norm(&x(), &NormRule::rms(1e-5), &more, None));
}

#[test]
fn eps_outside_the_root_is_added_after_the_square_root() {
    let rule = NormRule { eps_place: EpsPlace::OutsideRoot, ..NormRule::rms(0.5) };
    let row = Rows::new(2, vec![1.0, 7.0]); // the root of the mean square is 5
    close(Exact.norm(&row, &rule, &[1.0, 2.0], None).row(0), &[1.0 / 5.5, 14.0 / 5.5]);
}

#[test]
fn a_layer_norm_subtracts_the_mean_and_adds_the_bias() {
    let rule = NormRule { statistic: Statistic::Variance, ..NormRule::rms(0.0) };
    let row = Rows::new(2, vec![3.0, 7.0]); // mean 5, deviation 2
    close(Exact.norm(&row, &rule, &[1.0, 10.0], Some(&[0.25, -1.0])).row(0), &[-0.75, 9.0]);
}

/// The first 4 of the 6 entries of each head rotate: pairs (0, 2) and (1, 3), or (0, 1) and (2, 3).
#[rstest]
#[case::halves(Pairing::Halves, [(0, 2), (1, 3)])]
#[case::neighbours(Pairing::Neighbours, [(0, 1), (2, 3)])]
fn a_partial_rotation_leaves_the_remaining_entries_of_a_head_unchanged(
    #[case] pairing: Pairing,
    #[case] pairs: [(usize, usize); 2],
) {
    let law = FrequencyLaw::Base { theta: 100.0 };
    let rope = Rope { pairing, turned: 4, magnitude: 2.0, ..Rope::whole(law, 6) };
    let row: Vec<f64> = (1..=12).map(f64::from).collect();
    let pass = Pass::new(vec![vec![Slot::Real(Token { id: 0, position: 3 })]]).unwrap();
    let turned =
        Exact.rope(&Rows::new(12, row.clone()), &rope, &RowPlaces { pass: &pass, places: &[(0, 0)] });
    let mut want = row.clone();
    for head in [0, 6] {
        for (i, (a, b)) in pairs.into_iter().enumerate() {
            let (sin, cos) = (3.0 * 100f64.powf(-(i as f64) / 2.0)).sin_cos();
            want[head + a] = 2.0 * (row[head + a] * cos - row[head + b] * sin);
            want[head + b] = 2.0 * (row[head + b] * cos + row[head + a] * sin);
        }
    }
    close(turned.row(0), &want);
}

/// The expected values are Llama 3.1's frequencies for 64 pairs, computed in Python by transformers' formula.
#[test]
fn llama_3_scaling_stretches_long_wavelengths_and_blends_medium_ones() {
    let law = FrequencyLaw::Llama3 {
        theta: 5e5,
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original: 8192,
    };
    let all = frequencies(&law, 64);
    for (pair, want) in [
        (0, 1.0),
        (28, 0.0032114459947525913),
        (29, 0.002166570763503359),
        (32, 0.0005248461609929547),
        (34, 0.00017850781276799638),
        (35, 9.556212353964683e-05),
        (63, 3.068925988914511e-07),
    ] {
        assert!((all[pair] - want).abs() < 1e-13 * want, "{pair}: {} is not {want}", all[pair]);
    }
}

#[test]
fn linear_scaling_and_divisors_divide_the_frequencies() {
    let base = frequencies(&FrequencyLaw::Base { theta: 16.0 }, 2);
    close(&base, &[1.0, 0.25]);
    close(&frequencies(&FrequencyLaw::Linear { theta: 16.0, factor: 8.0 }, 2), &[0.125, 0.03125]);
    let divided = FrequencyLaw::Divided { theta: 16.0, divisors: vec![2.0, 5.0] };
    close(&frequencies(&divided, 2), &[0.5, 0.05]);
}

#[test]
fn gelu_softcap_scale_weighted_sum_and_product_match_their_formulas() {
    let row = Rows::new(3, vec![-1.0, 0.0, 2.0]);
    // From torch.nn.functional.gelu(x, approximate="tanh") in float64.
    let gelu = Exact.activation(&row, Activation::GeluTanh);
    close(&gelu.values, &[-0.15880800939172324, 0.0, 1.954597694087775]);
    close(&Exact.softcap(&row, 2.0).values, &[2.0 * (-0.5f64).tanh(), 0.0, 2.0 * 1f64.tanh()]);
    close(&Exact.scale(&row, -3.0).values, &[3.0, 0.0, -6.0]);
    close(&Exact.weighted_sum(&[(1.0, &row), (0.25, &row), (2.0, &row)]).values, &[-3.25, 0.0, 6.5]);
    close(&Exact.product(&row, &row).values, &[1.0, 0.0, 4.0]);
}

#[test]
fn a_window_of_3_allows_the_querys_own_key_and_the_two_before_it() {
    let window = Mask::Window { window: 3 };
    let seen = |mask: Mask| (0..8).filter(|&key| mask.allows(5, key)).collect::<Vec<_>>();
    assert_eq!(seen(window), [3, 4, 5]);
    assert_eq!(seen(Mask::Causal), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn grouped_query_heads_share_key_heads_in_consecutive_runs() {
    assert_eq!(*HeadMap::grouped(6, 2), [0, 0, 0, 1, 1, 1]);
    assert_eq!(*HeadMap::grouped(3, 3), [0, 1, 2]);
    let scores =
        Scores { heads: HeadMap::grouped(1, 2), head_dim: 1, scale: 1.0, softcap: None, mask: Mask::Causal };
    assert!(scores.heads.is_empty());
}
