use rstest::rstest;

use super::*;
use crate::judge::Verdict;
use crate::judge::sampling::{as_likely, distribution, judge_sampling, largest, same_distribution, seeded};
use crate::reference::{Processors, Sampling, SamplingCase};

fn stored() -> Sampling {
    subject(&tiny(), &[]).model.unwrap().sampling
}

/// The names of the findings that do not pass.
fn wrong_of(stored: &Sampling) -> Vec<String> {
    let findings = judge_sampling(stored).unwrap().into_iter();
    findings.filter(|f| f.status() != Status::Passed).map(|f| f.about).collect()
}

#[test]
fn the_projects_sampling_passes_all_distributions_greedy_seeds_and_draws() {
    let stored = stored();
    let findings = judge_sampling(&stored).unwrap();
    assert!(findings.iter().all(|f| f.status() == Status::Passed));
    assert_eq!(findings.len(), stored.cases.len() + 3);
    let about: Vec<&str> = findings[stored.cases.len()..].iter().map(|f| f.about.as_str()).collect();
    assert_eq!(about, ["greedy", "seeds", "draws"]);
}

/// Each part of a stored setting affects at least one stored distribution.
#[rstest]
#[case::temperature(|p: &mut Processors| p.temperature = p.temperature.map(|t| t * 1.01))]
#[case::top_k(|p: &mut Processors| p.top_k = p.top_k.map(|k| k + 1))]
#[case::top_p(|p: &mut Processors| p.top_p = None)]
#[case::min_p(|p: &mut Processors| p.min_p = None)]
#[case::repetition_penalty(|p: &mut Processors| p.repetition_penalty = p.repetition_penalty.map(|by| by * 1.1))]
#[case::logit_bias(|p: &mut Processors| p.sequence_bias.iter_mut().flatten().for_each(|(_, bias)| *bias += 0.1))]
fn every_processor_is_applied(#[case] change: fn(&mut Processors)) {
    let stored = stored();
    let shows = |case: &SamplingCase| {
        let mut other = case.clone();
        change(&mut other.processors);
        distribution(&other, &stored.logits).status() == Status::Failed
    };
    assert!(stored.cases.iter().any(shows));
}

/// Four tokens, one of them masked, with logits of at most 4: the budget is 20 ulps of each probability.
#[rstest]
#[case::the_same(&[0.5, 0.3, 0.2, 0.0], Status::Passed)]
#[case::within_rounding(&[0.5 * (1.0 + 10.0 * ULP), 0.3, 0.2, 0.0], Status::Passed)]
#[case::more_than_that(&[0.5 * (1.0 + 40.0 * ULP), 0.3, 0.2, 0.0], Status::Failed)]
#[case::less_than_that(&[0.5, 0.3, 0.2 * (1.0 - 40.0 * ULP), 0.0], Status::Failed)]
#[case::a_token_more(&[0.5, 0.3, 0.2, 1e-12], Status::Failed)]
#[case::a_token_fewer(&[0.5, 0.5, 0.0, 0.0], Status::Failed)]
#[case::too_few(&[0.5, 0.3, 0.2], Status::Failed)]
fn probabilities_must_be_as_accurate_as_float32_logits_allow(#[case] got: &[f64], #[case] status: Status) {
    let case = case(Processors::default(), &[0.5, 0.3, 0.2, 0.0]);
    assert_eq!(same_distribution(got, &case, &[4.0, -3.0, 2.0, 1.0]).status(), status);
}

const ULP: f64 = f32::EPSILON as f64;

fn case(processors: Processors, probabilities: &[f64]) -> SamplingCase {
    let (key, context) = ("made".to_owned(), vec![]);
    SamplingCase { key, processors, context, probabilities: probabilities.to_vec() }
}

/// A bias is added to the largest logit, a penalty multiplies it, a temperature divides it; the budget
/// follows.
#[rstest]
#[case::plain(Processors::default(), 4.0)]
#[case::bias(Processors { sequence_bias: Some(vec![([1], -6.0)]), ..Default::default() }, 10.0)]
#[case::penalty(Processors { repetition_penalty: Some(0.5), ..Default::default() }, 8.0)]
#[case::temperature(Processors { temperature: Some(0.25), ..Default::default() }, 16.0)]
#[case::all(
    Processors {
        sequence_bias: Some(vec![([1], 4.0)]),
        repetition_penalty: Some(2.0),
        temperature: Some(2.0),
        ..Default::default()
    },
    8.0
)]
fn the_budget_grows_with_the_largest_processed_logit(#[case] processors: Processors, #[case] largest: f64) {
    let case = case(processors, &[0.75, 0.25]);
    let error = 0.5 * 4.0 * (1.0 + largest) * ULP; // half of it
    let verdict = same_distribution(&[0.75 * (1.0 + error), 0.25], &case, &[-4.0, 1.0]);
    assert!(matches!(verdict, Verdict::Pass(share) if (share - 0.5).abs() < 1e-3), "{verdict:?}");
}

#[test]
fn an_empty_distribution_fails() {
    assert_eq!(same_distribution(&[], &case(Processors::default(), &[]), &[]).status(), Status::Failed);
}

/// Draws are compared with the stored probabilities: here those of two equally likely tokens.
#[rstest]
#[case::fair(&[0.0, 0.0], &[0.5, 0.5], true)]
#[case::loaded(&[0.3, 0.0], &[0.5, 0.5], false)]
#[case::rare_tokens_together(&[6.0, 0.0, 0.0, 0.0, 6.0], &[0.4975, 5e-4, 5e-4, 4e-3, 0.4975], false)]
fn draws_must_follow_the_distribution(
    #[case] logits: &[f32],
    #[case] probabilities: &[f64],
    #[case] fair: bool,
) {
    let stored =
        Sampling { logits: logits.to_vec(), cases: vec![case(Processors::default(), probabilities)] };
    assert_eq!(!wrong_of(&stored).contains(&"draws".to_owned()), fair);
}

/// 4000 draws. Expected: the excess over the mean as a share of six standard deviations; for one degree of
/// freedom, (χ² − 1) / 6√2.
#[rstest]
#[case::as_expected(&[2000, 2000], &[0.5, 0.5], Some(0.0))]
#[case::less_than_its_mean(&[2010, 1990], &[0.5, 0.5], Some(0.0))]
#[case::a_little_off(&[2080, 1920], &[0.5, 0.5], Some(5.4 / 72f64.sqrt()))]
#[case::at_the_budget(&[2097, 1903], &[0.5, 0.5], Some(8.409 / 72f64.sqrt()))]
#[case::over_the_budget(&[2098, 1902], &[0.5, 0.5], None)]
#[case::of_three(&[1040, 980, 1980], &[0.25, 0.25, 0.5], Some(0.2 / 144f64.sqrt()))]
#[case::rare_tokens_share_a_cell(&[3992, 1, 3, 4], &[0.998, 0.0005, 0.0005, 0.001], Some(0.0))]
#[case::rare_tokens_too_often(&[3972, 10, 10, 8], &[0.998, 0.0005, 0.0005, 0.001], None)]
#[case::too_rare_for_a_cell(
    &[2076, 1921, 3],
    &[0.499, 0.5, 0.001],
    Some((6400.0 / 1996.0 + 6400.0 / 2004.0 - 1.0) / 72f64.sqrt())
)]
#[case::five_expected_draws_are_enough(&[3995, 5], &[0.99875, 0.00125], Some(0.0))]
#[case::five_expected_draws_together_are_enough(&[3995, 3, 2], &[0.99875, 0.000625, 0.000625], Some(0.0))]
#[case::a_token_of_probability_zero(&[2000, 1999, 1], &[0.5, 0.5, 0.0], None)]
fn counts_must_be_likely_under_their_probabilities(
    #[case] counts: &[usize],
    #[case] probabilities: &[f64],
    #[case] share: Option<f64>,
) {
    match (as_likely(counts, probabilities), share) {
        (Verdict::Pass(got), Some(want)) => approx::assert_abs_diff_eq!(got, want, epsilon = 1e-9),
        (Verdict::Broken(_), None) => (),
        (got, want) => panic!("{got:?}, want {want:?}"),
    }
}

#[rstest]
#[case::the_largest(2, true)]
#[case::as_large_as_another(0, true)]
#[case::another_is_larger(1, false)]
#[case::outside_the_vocabulary(3, false)]
fn greedy_must_take_a_largest_logit(#[case] token: u32, #[case] right: bool) {
    assert_eq!(largest(token, &[4.0, -5.0, 4.0]).status() == Status::Passed, right);
}

#[rstest]
#[case::seeds_matter_and_decide(&[1, 2], &[1, 2], &[2, 1], true)]
#[case::one_seed_draws_twice(&[1, 2], &[2, 2], &[2, 1], false)]
#[case::a_seed_is_not_read(&[1, 2], &[1, 2], &[1, 2], false)]
fn the_seed_must_decide_what_is_drawn(
    #[case] once: &[usize],
    #[case] again: &[usize],
    #[case] other: &[usize],
    #[case] right: bool,
) {
    assert_eq!(seeded(once, again, other).status() == Status::Passed, right);
}

/// A nearly certain token is drawn with any seed, so only the flattest case, at any index in the list, can
/// show whether seeds matter. A masked token does not make a case less flat.
#[rstest]
fn draws_use_the_flattest_distribution(#[values(0, 1, 2)] first: usize) {
    let at = |temperature: f64| {
        let odds = (2.0 / temperature).exp();
        let setting = Processors { temperature: Some(temperature), top_k: Some(2), ..Default::default() };
        case(setting, &[odds / (1.0 + odds), 1.0 / (1.0 + odds), 0.0])
    };
    let mut cases = vec![at(0.05), at(4.0), at(0.1)];
    cases.rotate_left(first);
    assert_eq!(wrong_of(&Sampling { logits: vec![2.0, 0.0, -9.0], cases }), [] as [&str; 0]);
}

#[test]
fn draws_of_one_certain_token_are_inconclusive() {
    let stored = Sampling { logits: vec![80.0, 0.0], cases: vec![case(Processors::default(), &[1.0, 0.0])] };
    let findings = judge_sampling(&stored).unwrap();
    assert_eq!(findings.last().unwrap().verdict, Verdict::Incomparable);
    // The seed check fails too: every seed draws the same.
    assert!(wrong_of(&stored).contains(&"seeds".to_owned()));
}
