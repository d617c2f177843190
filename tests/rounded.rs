//! Rounded arithmetic: in float32 it agrees with exact arithmetic up to rounding, and in half precision it
//! rounds at the same points as PyTorch.

use rbees_check::graph::{
    Activation, Embedding, EpsPlace, FrequencyLaw, Gain, NormCast, NormRule, Pairing, Rope, RopeCast,
    Statistic,
};
use rbees_check::models;
use rbees_check::oracle::{
    Arithmetic, Exact, ORDERS, Pass, Place, Precision, Rounded, RowPlaces, Rows, Slot, Token,
};
use rstest::rstest;

const F32: Precision = Precision::F32;

fn bf16() -> Rounded {
    Rounded { precision: Precision::Bf16, run: 0 }
}

fn low(value: f32) -> f32 {
    Precision::Bf16.round(value)
}

/// Three rows, each of two heads with eight bfloat16 entries.
fn x() -> Rows {
    Rows::from_fn(3, 16, |r, j| f64::from(low((r as f32 * 1.7 + j as f32 * 0.61).sin() * 3.0 + 0.4)))
}

/// A pass with a token at each of these positions, and the places of the tokens.
fn row_places(positions: &[usize]) -> (Pass, Vec<Place>) {
    let slots = positions.iter().map(|&position| Slot::Real(Token { id: 0, position })).collect();
    (Pass::new(vec![slots]).unwrap(), (0..positions.len()).map(|slot| (0, slot)).collect())
}

fn near(rounded: &Rows, exact: &Rows) {
    assert_eq!((rounded.width, rounded.len()), (exact.width, exact.len()));
    let scale = exact.values.iter().fold(0f64, |most, x| most.max(x.abs()));
    for (rounded, exact) in rounded.values.iter().zip(&exact.values) {
        assert!((rounded - exact).abs() < 2e-6 * scale, "{rounded} is not {exact}");
    }
}

#[rstest]
fn norms_in_float32_are_close_to_exact_norms(
    #[values(Statistic::MeanSquare, Statistic::Variance)] statistic: Statistic,
    #[values(EpsPlace::InsideRoot, EpsPlace::OutsideRoot)] eps_place: EpsPlace,
    #[values(Gain::Weight, Gain::OnePlusWeight)] gain: Gain,
    #[values(NormCast::BeforeWeight, NormCast::AfterWeight)] cast: NormCast,
) {
    let rule = NormRule { statistic, eps_place, gain, cast, ..NormRule::rms(0.5) };
    let (weight, bias) = (x().row(1).to_vec(), x().row(2).to_vec());
    let (w, b) = (&weight[..8], &bias[..8]);
    for run in 0..ORDERS {
        let rounded = Rounded { precision: F32, run };
        near(&rounded.norm(&x(), &rule, &weight, None), &Exact.norm(&x(), &rule, &weight, None));
        let heads = rule.per_head(8);
        near(&rounded.norm(&x(), &heads, w, Some(b)), &Exact.norm(&x(), &heads, w, Some(b)));
    }
}

#[rstest]
fn rotations_in_float32_are_close_to_exact_rotations(
    #[values(Pairing::Halves, Pairing::Neighbours)] pairing: Pairing,
    #[values(4, 8)] turned: usize,
    #[values(RopeCast::EveryStep, RopeCast::Sum)] cast: RopeCast,
    #[values(
        FrequencyLaw::Base { theta: 100.0 },
        FrequencyLaw::Linear { theta: 100.0, factor: 4.0 },
        FrequencyLaw::Llama3 { theta: 100.0, factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original: 32 }
    )]
    law: FrequencyLaw,
) {
    let rope = Rope { law, pairing, head_dim: 8, turned, magnitude: 1.25, cast };
    let (pass, places) = row_places(&[0, 3, 11]);
    let at = RowPlaces { pass: &pass, places: &places };
    near(&Rounded { precision: F32, run: 0 }.rope(&x(), &rope, &at), &Exact.rope(&x(), &rope, &at));
}

#[test]
fn elementwise_operations_and_softmax_in_float32_are_close_to_exact_ones() {
    let rounded = Rounded { precision: F32, run: 0 };
    for activation in [Activation::Silu, Activation::GeluTanh] {
        near(&rounded.activation(&x(), activation), &Exact.activation(&x(), activation));
    }
    near(&rounded.softcap(&x(), 2.5), &Exact.softcap(&x(), 2.5));
    near(&rounded.scale(&x(), 0.3), &Exact.scale(&x(), 0.3));
    near(&rounded.product(&x(), &x()), &Exact.product(&x(), &x()));
    let terms = [(1.0, &x()), (0.22, &x()), (-3.0, &x())];
    near(&rounded.weighted_sum(&terms), &Exact.weighted_sum(&terms));
    let (pass, places) = row_places(&[0, 1, 2]);
    let at = RowPlaces { pass: &pass, places: &places };
    near(&rounded.softmax(&x(), 8, &at), &Exact.softmax(&x(), 8, &at));
}

#[test]
fn a_norm_is_rounded_before_the_weight_only_with_cast_before_weight() {
    let weight: Vec<f64> = x().row(1).to_vec();
    let row = Rows::new(16, x().row(0).to_vec());
    let squares: f32 = row.values.iter().map(|&x| (x as f32) * (x as f32)).sum();
    let factor = 1.0 / (squares / 16.0 + 1e-5f32).sqrt();
    let entry = |cast, j: usize| {
        let (x, w) = (row.values[j] as f32 * factor, weight[j] as f32);
        f64::from(low(if cast == NormCast::BeforeWeight { low(x) } else { x } * w))
    };
    let normed = [NormCast::BeforeWeight, NormCast::AfterWeight].map(|cast| {
        let normed = bf16().norm(&row, &NormRule { cast, ..NormRule::rms(1e-5) }, &weight, None);
        assert_eq!(normed.values, (0..16).map(|j| entry(cast, j)).collect::<Vec<_>>());
        normed
    });
    assert_ne!(normed[0], normed[1]);
}

#[test]
fn a_rotation_rounds_cosine_sine_and_products_only_with_cast_every_step() {
    let row = Rows::new(2, vec![1.703125, -0.6796875]);
    let (sin, cos) = 5f32.sin_cos();
    let (a, b) = (1.703125f32, -0.6796875f32);
    let turned = |cast| {
        let rope = Rope { cast, ..Rope::whole(FrequencyLaw::Base { theta: 100.0 }, 2) };
        let (pass, places) = row_places(&[5]);
        bf16().rope(&row, &rope, &RowPlaces { pass: &pass, places: &places }).values
    };
    let step = [low(low(a * low(cos)) + low(-b * low(sin))), low(low(b * low(cos)) + low(a * low(sin)))];
    assert_eq!(turned(RopeCast::EveryStep), step.map(f64::from));
    assert_eq!(turned(RopeCast::Sum), [low(a * cos - b * sin), low(b * cos + a * sin)].map(f64::from));
}

#[test]
fn the_embedding_scale_is_rounded_before_the_multiplication() {
    let weights = models::open("tiny-llama").unwrap().weights;
    let table = |scale| Embedding { weight: "model.embed_tokens.weight".into(), scale };
    let scaled = |scale| bf16().embedding(&weights, &table(scale), &[3, 200]).unwrap();
    assert_eq!(scaled(1152f64.sqrt()), scaled(34.0)); // 33.94 is 34 in bfloat16
    assert_ne!(scaled(1152f64.sqrt()), scaled(33.75));
}

#[test]
fn masked_scores_get_a_softmax_weight_of_zero() {
    let row = Rows::new(4, vec![f64::NEG_INFINITY, 1.0, f64::NEG_INFINITY, 1.0]);
    let (pass, places) = row_places(&[0]);
    let at = RowPlaces { pass: &pass, places: &places };
    assert_eq!(bf16().softmax(&row, 4, &at).values, [0.0, 0.5, 0.0, 0.5]);
    let barred = Rows::new(2, vec![f64::NEG_INFINITY; 2]);
    assert_eq!(bf16().softmax(&barred, 2, &at).values, [0.0, 0.0]);
}
