use proptest::prelude::*;
use rstest::rstest;

use super::*;

const LOGITS: [f32; 5] = [1.0, 3.0, -2.0, 3.0, 0.5];

fn warm() -> Sampling {
    Sampling { temperature: 1.0, ..Sampling::default() }
}

fn kept(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
    let probs = sampling.distribution(logits, &[]).unwrap();
    (0..probs.len()).filter(|&id| probs[id] > 0.0).collect()
}

#[test]
fn greedy_takes_the_lowest_id_of_a_tie_and_uses_no_randomness() {
    let mut sampler = Sampler::new(Sampling::default()).unwrap();
    let untouched = sampler.rng.clone();
    assert_eq!(sampler.sample(&LOGITS, &[]).unwrap(), 1);
    assert_eq!(sampler.rng, untouched);
}

#[test]
fn top_k_keeps_ties_and_top_p_drops_the_lowest_ids_of_a_tie() {
    assert_eq!(kept(Sampling { top_k: Some(1), ..warm() }, &LOGITS), [1, 3]);
    assert_eq!(kept(Sampling { top_p: Some(0.1), ..warm() }, &LOGITS), [3]);
    assert_eq!(kept(Sampling { top_p: Some(0.6), ..warm() }, &LOGITS), [1, 3]);
    assert_eq!(kept(Sampling { min_p: Some(0.1), ..warm() }, &LOGITS), [0, 1, 3]);
}

#[test]
fn the_penalty_lowers_positive_and_negative_logits_and_counts_a_token_once() {
    let sampling = Sampling { repetition_penalty: 2.0, ..warm() };
    let got = sampling.distribution(&LOGITS, &[1, 2, 2, 99]).unwrap();
    let want = warm().distribution(&[1.0, 1.5, -4.0, 3.0, 0.5], &[]).unwrap();
    assert_eq!(got, want);
    let greedy = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
    assert_eq!(Sampler::new(greedy).unwrap().sample(&LOGITS, &[1]).unwrap(), 3);
}

#[test]
fn a_bias_is_added_before_the_penalty_and_minus_infinity_excludes_a_token() {
    let bars = [(1, -4.0), (3, f64::NEG_INFINITY)].into();
    let sampling = Sampling { logit_bias: bars, repetition_penalty: 2.0, ..warm() };
    let got = sampling.distribution(&LOGITS, &[1]).unwrap();
    let want = warm().distribution(&[1.0, -2.0, -2.0, f32::NEG_INFINITY, 0.5], &[]).unwrap();
    assert_eq!(got, want);
}

#[test]
fn frequency_counts_every_time_that_a_token_was_generated_and_presence_only_whether() {
    let sampling = Sampling { frequency_penalty: 0.5, presence_penalty: 0.25, ..warm() };
    let got = sampling.distribution(&LOGITS, &[1, 2, 2, 99]).unwrap();
    let want = warm().distribution(&[1.0, 2.25, -3.25, 3.0, 0.5], &[]).unwrap();
    assert_eq!(got, want);
    let encouraged = Sampling { presence_penalty: -3.0, ..Sampling::default() };
    assert_eq!(Sampler::new(encouraged).unwrap().sample(&LOGITS, &[0]).unwrap(), 0);
}

#[test]
fn frequency_and_presence_do_not_count_the_prompt_but_repetition_does() {
    let draw =
        |sampling: Sampling| Sampler::after(sampling, 2).unwrap().draw(&LOGITS, &[1, 3, 3]).unwrap().scores;
    let penalised = draw(Sampling { frequency_penalty: 0.5, ..warm() });
    assert_eq!((penalised[1] - penalised[3], penalised[1] - penalised[0]), (0.5, 2.0));
    let repeated = draw(Sampling { repetition_penalty: 2.0, ..warm() });
    assert_eq!((repeated[1] - repeated[3], repeated[1] - repeated[0]), (0.0, 0.5));
}

#[rstest]
#[case(Sampling { frequency_penalty: f64::NAN, ..warm() }, "frequency penalty NaN")]
#[case(Sampling { presence_penalty: f64::INFINITY, ..warm() }, "presence penalty inf")]
#[case(Sampling { temperature: -1.0, ..warm() }, "temperature -1")]
#[case(Sampling { temperature: f64::NAN, ..warm() }, "temperature NaN")]
#[case(Sampling { top_k: Some(0), ..warm() }, "top-k 0")]
#[case(Sampling { top_p: Some(0.0), ..warm() }, "top-p 0")]
#[case(Sampling { top_p: Some(1.5), ..warm() }, "top-p 1.5")]
#[case(Sampling { min_p: Some(-0.1), ..warm() }, "min-p -0.1")]
#[case(Sampling { repetition_penalty: 0.0, ..warm() }, "repetition penalty 0")]
#[case(Sampling { logit_bias: [(4, f64::NAN)].into(), ..warm() }, "logit bias of token 4 NaN")]
#[case(Sampling { logit_bias: [(4, f64::INFINITY)].into(), ..warm() }, "logit bias of token 4 inf")]
fn invalid_settings_are_errors(#[case] sampling: Sampling, #[case] what: &str) {
    let error = sampling.distribution(&LOGITS, &[]).unwrap_err().to_string();
    assert!(error.starts_with(what), "{error}");
    Sampler::new(sampling).unwrap_err();
}

#[test]
fn a_bias_for_a_token_outside_the_vocabulary_is_an_error() {
    let sampling = Sampling { logit_bias: [(5, 1.0)].into(), ..warm() };
    let error = sampling.distribution(&LOGITS, &[]).unwrap_err();
    assert_eq!(error.to_string(), "logit bias of token 5: there is no such token");
    assert_eq!(error.hint(), Some("ids are 0 to 4"));
}

#[rstest]
#[case(&[1.0, f32::NAN], "token 1 is NaN")]
#[case(&[f32::INFINITY, 1.0], "token 0 is inf")]
#[case(&[f32::NEG_INFINITY; 3], "all 3 logits are −∞")]
#[case(&[], "all 0 logits are −∞")]
fn invalid_logits_are_errors(#[case] logits: &[f32], #[case] what: &str) {
    for sampling in [warm(), Sampling::default()] {
        let error = sampling.distribution(logits, &[]).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn tokens_are_drawn_as_often_as_their_probability_says() {
    let mut sampler = Sampler::new(Sampling { temperature: 2.0, ..warm() }).unwrap();
    let want = sampler.sampling.distribution(&LOGITS, &[]).unwrap();
    let mut count = [0; LOGITS.len()];
    for _ in 0..20_000 {
        count[sampler.sample(&LOGITS, &[]).unwrap() as usize] += 1;
    }
    for (count, want) in count.into_iter().zip(want) {
        assert!((f64::from(count) / 20_000.0 - want).abs() < 0.02);
    }
}

proptest! {
    #[test]
    fn the_result_is_a_distribution_that_keeps_the_most_likely_token(
        logits in prop::collection::vec(-60f32..60.0, 1..80),
        temperature in 0f64..3.0,
        top_k in prop::option::of(1usize..90),
        top_p in prop::option::of(0.01f64..=1.0),
        min_p in prop::option::of(0f64..=1.0),
    ) {
        let sampling = Sampling { temperature, top_k, top_p, min_p, ..Sampling::default() };
        let probs = sampling.distribution(&logits, &[]).unwrap();
        prop_assert!((probs.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        prop_assert!(probs.iter().all(|p| (0.0..=1.0).contains(p)));
        let likeliest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        prop_assert!((0..probs.len()).any(|id| logits[id] == likeliest && probs[id] > 0.0));
    }

    #[test]
    fn top_k_keeps_k_of_different_logits(
        ranks in Just((0..40).collect::<Vec<i32>>()).prop_shuffle(),
        k in 1usize..60,
    ) {
        let logits: Vec<f32> = ranks.iter().map(|&rank| rank as f32 / 4.0).collect();
        prop_assert_eq!(kept(Sampling { top_k: Some(k), ..warm() }, &logits).len(), k.min(40));
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_p(
        ranks in Just((0..30).collect::<Vec<i32>>()).prop_shuffle(),
        p in 0.05f64..0.95,
    ) {
        let logits: Vec<f32> = ranks.iter().map(|&rank| rank as f32 / 3.0).collect();
        let full = warm().distribution(&logits, &[]).unwrap();
        let mut left: Vec<f64> =
            kept(Sampling { top_p: Some(p), ..warm() }, &logits).iter().map(|&id| full[id]).collect();
        left.sort_by(f64::total_cmp);
        prop_assert!(left.iter().sum::<f64>() >= p - 1e-9);
        prop_assert!(left[1..].iter().sum::<f64>() < p + 1e-9);
    }

    #[test]
    fn a_seed_reproduces_tokens_and_a_low_temperature_is_greedy(
        logits in prop::collection::vec(-9f32..9.0, 2..50),
        seed: u64,
    ) {
        let draw = |temperature| {
            let mut sampler = Sampler::new(Sampling { temperature, seed, ..warm() }).unwrap();
            (0..8).map(|_| sampler.sample(&logits, &[]).unwrap()).collect::<Vec<_>>()
        };
        prop_assert_eq!(draw(1.0), draw(1.0));
        let likeliest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        prop_assert!(draw(1e-9).iter().all(|&id| logits[id as usize] == likeliest));
        prop_assert_eq!(logits[draw(0.0)[0] as usize], likeliest);
    }

    /// Many tokens are excluded without being sorted; among equal ones, the highest ids are kept.
    #[test]
    fn top_p_keeps_what_sorting_all_tokens_keeps(
        levels in prop::collection::vec(-40i8..=0, 1..60),
        p in 0.01f64..0.999,
    ) {
        let scores: Vec<f64> = levels.iter().map(|&level| f64::from(level) / 3.0).collect();
        let probs = softmax(&scores);
        let mut ids: Vec<usize> = (0..scores.len()).collect();
        ids.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let mut sum = 0.0;
        let gone = ids[..ids.len() - 1].iter().take_while(|&&id| {
            sum += probs[id];
            sum <= 1.0 - p
        });
        let gone: Vec<usize> = gone.copied().collect();
        let mut cut = scores.clone();
        keep_top_p(&mut cut, p);
        for (id, score) in cut.into_iter().enumerate() {
            prop_assert_eq!(score == f64::NEG_INFINITY, gone.contains(&id), "token {}", id);
        }
    }
}
