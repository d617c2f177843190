//! A wrong number is solved for: θ, ε, scale and offset, planted at random, lie within the printed
//! interval, and the user's own key and value stand beside it.

#[allow(dead_code, reason = "each test file alters some of it")]
mod altered;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use altered::{Altered, judged, llama, sound, tiny};
use approx::assert_relative_eq;
use candle_core::Tensor;
use proptest::prelude::*;
use rbees_check::Result;
use rbees_check::judge::Outcome;
use rbees_check::model::Attention;
use rbees_check::probe::{Kind, Site};

/// What the one suspect says.
fn says(outcome: &Outcome, mistake: &str) -> String {
    let named = outcome.named();
    assert_eq!(named.iter().map(|n| n.mistake).collect::<Vec<_>>(), [mistake]);
    named[0].says.clone()
}

/// `… = 10000 ± 3; …` → (10000, 3): the first number with an interval.
fn interval(says: &str) -> (f64, f64) {
    let (before, behind) = says.split_once(" ± ").unwrap();
    let value = before.rsplit(' ').next().unwrap().parse().unwrap();
    let bound = behind.split([';', ',', ' ']).next().unwrap().parse().unwrap();
    (value, bound)
}

/// Is `planted` within the interval, whose width is worth printing? The value is printed to the digit
/// of its bound: half of that digit is the printing's.
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn theta_is_recovered(log in 6.0f64..15.0) {
        let (theta, model) = (log.exp(), tiny());
        prop_assume!((theta / 3e4 - 1.0).abs() > 0.01);
        let mut llama = llama(&model, Attention::Plain);
        llama.rope.frequencies = (0..16).map(|i| theta.powf(-f64::from(i) / 16.0)).collect();
        let said = says(&judged(&model, sound(llama), &["01B"])[0], "rope-theta");
        holds(&said, theta);
        prop_assert!(said.ends_with("; the config says 30000 (`rope_theta`, config.json)"), "{said}");
    }

    #[test]
    fn epsilon_is_recovered(log in -12.0f64..-4.0) {
        let (eps, model) = (log.exp(), tiny());
        prop_assume!((eps / 3e-5 - 1.0).abs() > 0.1);
        let mut llama = llama(&model, Attention::Plain);
        llama.norm.eps = eps;
        for block in &mut llama.layers {
            block.input_layernorm.eps = eps;
            block.post_attention_layernorm.eps = eps;
        }
        let said = says(&judged(&model, sound(llama), &["01"])[0], "norm-eps");
        holds(&said, eps);
        prop_assert!(said.ends_with("; the config says 3e-5 (`rms_norm_eps`, config.json)"), "{said}");
    }

    #[test]
    fn the_scale_of_scores_is_recovered(log in -2.0f64..2.0) {
        let (times, model) = (log.exp(), tiny());
        prop_assume!((times - 1.0).abs() > 0.01);
        SCALE.store(times.to_bits(), Ordering::SeqCst);
        let port = Altered { before: rescaled, ..sound(llama(&model, Attention::Plain)) };
        let said = says(&judged(&model, port, &["03"])[0], "attention-scale");
        holds(&said, times / 32f64.sqrt());
    }

    #[test]
    fn an_offset_of_all_positions_is_recovered(shift in 1usize..200) {
        let model = tiny();
        let port = Altered { shift, ..sound(llama(&model, Attention::Plain)) };
        let said = says(&judged(&model, port, &["01B"])[0], "decode-position");
        prop_assert!(said.starts_with(&format!("every position is {shift} too high")), "{said}");
    }
}

#[test]
fn an_interval_is_read_from_a_sentence() {
    let (value, bound) = interval("you used θ = 10000 ± 3; the config says 30000");
    assert_relative_eq!(value, 10000.0);
    assert_relative_eq!(bound, 3.0);
}
