//! The diagnosis solves for wrong numbers. A randomly planted θ, ε, scale or offset is within the printed
//! interval, and the message gives the user's own configuration key and value.

#[allow(dead_code, reason = "each test file alters some of it")]
mod altered;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use altered::{Altered, judged, llama, tiny, unaltered};
use approx::assert_relative_eq;
use candle_core::Tensor;
use proptest::prelude::*;
use rbees_check::Result;
use rbees_check::judge::Outcome;
use rbees_check::model::Attention;
use rbees_check::probe::{Kind, Site};

/// The sentence of the only suspect, which must be `mistake`.
fn says(outcome: &Outcome, mistake: &str) -> String {
    let named = outcome.named();
    assert_eq!(named.iter().map(|n| n.mistake).collect::<Vec<_>>(), [mistake]);
    named[0].says.clone()
}

/// The first number with an interval: `… = 10000 ± 3; …` → (10000, 3).
fn interval(says: &str) -> (f64, f64) {
    let (before, behind) = says.split_once(" ± ").unwrap();
    let value = before.rsplit(' ').next().unwrap().parse().unwrap();
    let bound = behind.split([';', ',', ' ']).next().unwrap().parse().unwrap();
    (value, bound)
}

/// The ε from the site with the narrowest interval.
fn sharpest(outcome: &Outcome) -> f64 {
    let explained = outcome.failures().filter_map(|finding| finding.explained.as_ref());
    let all = explained.flat_map(|diagnosis| &diagnosis.named).filter(|named| named.says.contains("ε = "));
    all.map(|named| interval(&named.says)).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0
}

/// Asserts that the printed interval contains `planted`, and that its bound is less than 5 % of it. The
/// value is printed to the digit of its bound, so printing adds an error of half of that digit.
fn holds(says: &str, planted: f64) {
    let (value, bound) = interval(says);
    assert!((value - planted).abs() <= bound * 1.5, "{says}: planted {planted}");
    assert!(bound < 0.05 * planted.abs(), "{says}: planted {planted}");
}

static SCALE: AtomicU64 = AtomicU64::new(0);

fn rescaled(site: Site, scores: &Tensor, _: &BTreeMap<Site, Tensor>) -> Result<Option<Tensor>> {
    let times = f64::from_bits(SCALE.load(Ordering::SeqCst));
    Ok(if site.kind == Kind::Scores { Some((scores * times)?) } else { None })
}

static MAP: Mutex<Vec<usize>> = Mutex::new(vec![]);

/// Scores of each query head with the key head that [`MAP`] assigns to it.
fn mapped(site: Site, scores: &Tensor, seen: &BTreeMap<Site, Tensor>) -> Result<Option<Tensor>> {
    if site.kind != Kind::Scores {
        return Ok(None);
    }
    let (q, k) = (&seen[&Site { kind: Kind::QRope, ..site }], &seen[&Site { kind: Kind::KRope, ..site }]);
    let map: Vec<u32> = MAP.lock().unwrap().iter().map(|&head| head as u32).collect();
    let k = k.index_select(&Tensor::new(map, k.device())?, 1)?; // [b, heads, s, 32]
    let products = (q.contiguous()?.matmul(&k.t()?.contiguous()?)? / 32f64.sqrt())?;
    let barred = scores.lt(f64::from(f32::MIN) / 2.0)?;
    Ok(Some(barred.where_cond(scores, &products)?))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_planted_theta_is_recovered(log in 6.0f64..15.0) {
        let (theta, model) = (log.exp(), tiny());
        prop_assume!((theta / 3e4 - 1.0).abs() > 0.01);
        let mut llama = llama(&model, Attention::Plain);
        llama.rope.frequencies = (0..16).map(|i| theta.powf(-f64::from(i) / 16.0)).collect();
        let text = says(&judged(&model, unaltered(llama), &["01B"])[0], "rope-theta");
        holds(&text, theta);
        prop_assert!(text.ends_with("; the config says 30000 (`rope_theta`, config.json)"), "{text}");
    }

    #[test]
    fn a_planted_epsilon_is_recovered(log in -12.0f64..-4.0) {
        let (eps, model) = (log.exp(), tiny());
        prop_assume!((eps / 3e-5 - 1.0).abs() > 0.1);
        let mut llama = llama(&model, Attention::Plain);
        llama.norm.eps = eps;
        for block in &mut llama.layers {
            block.input_layernorm.eps = eps;
            block.ffn_norm.eps = eps;
        }
        let outcome = &judged(&model, unaltered(llama), &["01"])[0];
        let text = says(outcome, "norm-eps");
        holds(&text, eps);
        let best = sharpest(outcome);
        prop_assert!((best / eps - 1.0).abs() < 1e-3, "best {best:e}: planted {eps:e}");
        prop_assert!(text.ends_with("; the config says 3e-5 (`rms_norm_eps`, config.json)"), "{text}");
    }

    #[test]
    fn a_planted_scale_of_the_scores_is_recovered(log in -2.0f64..2.0) {
        let (times, model) = (log.exp(), tiny());
        prop_assume!((times - 1.0).abs() > 0.01);
        SCALE.store(times.to_bits(), Ordering::SeqCst);
        let port = Altered { before: rescaled, ..unaltered(llama(&model, Attention::Plain)) };
        let text = says(&judged(&model, port, &["03"])[0], "attention-scale");
        holds(&text, times / 32f64.sqrt());
    }

    #[test]
    fn a_planted_head_map_is_recovered(map in proptest::collection::vec(0usize..2, 6)) {
        let model = tiny();
        prop_assume!(map != [0, 0, 0, 1, 1, 1]);
        *MAP.lock().unwrap() = map.clone();
        let port = Altered { before: mapped, ..unaltered(llama(&model, Attention::Plain)) };
        let text = says(&judged(&model, port, &["03"])[0], "head-map");
        let tiled = map == [0, 1, 0, 1, 0, 1];
        let expected = if tiled { "h mod 2".to_owned() } else { format!("key heads {map:?};") };
        prop_assert!(text.contains(&expected), "{text}: {expected}");
    }

    #[test]
    fn a_planted_linear_rope_scaling_factor_is_recovered(factor in 1.5f64..16.0) {
        prop_assume!((factor - factor.round()).abs() > 1e-3);
        let model = tiny();
        let mut llama = llama(&model, Attention::Plain);
        llama.rope.frequencies.iter_mut().for_each(|f| *f /= factor);
        let text = says(&judged(&model, unaltered(llama), &["01B"])[0], "rope-scaling");
        holds(&text, factor);
        prop_assert!(text.ends_with("; the config has no such scaling"), "{text}");
    }

    #[test]
    fn a_planted_position_offset_is_recovered(shift in 1usize..200) {
        let model = tiny();
        let port = Altered { shift, ..unaltered(llama(&model, Attention::Plain)) };
        let text = says(&judged(&model, port, &["01B"])[0], "decode-position");
        prop_assert!(text.starts_with(&format!("every position is {shift} too high")), "{text}");
    }
}

#[test]
fn the_test_helper_parses_an_interval_from_a_sentence() {
    let (value, bound) = interval("you used θ = 10000 ± 3; the config says 30000");
    assert_relative_eq!(value, 10000.0);
    assert_relative_eq!(bound, 3.0);
}
