use std::collections::BTreeMap;
use std::ops::Range;

use rstest::rstest;

use super::*;
use crate::checkpoints::NearTie;
use crate::judge::greedy::{Ends, judge_greedy, near_tie};
use crate::judge::{Finding, Verdict};
use crate::probe::{Arithmetic, Kinds};
use crate::reference::{Greedy, Prompt};

const RULE: NearTie = NearTie { times: 4.0, percentile: 0.95, decisive: 0.5, because: "" };

/// A port whose n-th token is `says[n]` for any input. The prompt is one token. The logits that it
/// hands to a probe prefer the prompt's token 5, by a twentieth.
struct Scripted {
    says: Vec<u32>,
    at: usize,
    arithmetic: Arithmetic,
    context: usize,
    /// Shows its mistake only when it runs this many tokens in one pass: it then says token 7.
    wrong: Option<Range<usize>>,
}

impl Scripted {
    fn new(says: &[u32]) -> Self {
        Self { says: says.into(), at: 0, arithmetic: Arithmetic::Dense, context: 64, wrong: None }
    }
}

impl Port for Scripted {
    fn traits(&self) -> Traits {
        let (path, hides, layouts) = ("plain", &[][..], vec![]);
        let &Self { arithmetic, context, .. } = self;
        Traits {
            path,
            arithmetic,
            dtype: DType::F32,
            layers: 1,
            kinds: Kinds::LLAMA,
            vocab: 8,
            context,
            hides,
            layouts,
        }
    }

    fn begin(&mut self) {
        self.at = 0;
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        assert_eq!(input.positions[0][0], self.at, "positions must continue");
        let positions = self.at..self.at + input.len();
        self.at = positions.end;
        let wrong = self.wrong.as_ref().is_some_and(|lengths| lengths.contains(&input.len()));
        let said = |position: usize| self.says.get(position).copied().filter(|_| !wrong).unwrap_or(7);
        let logit = |token, five| {
            (0..8).map(move |id| {
                if id == token {
                    1.0
                } else if id == 5 {
                    five
                } else {
                    0.0
                }
            })
        };
        let rows = |five: f32| {
            let rows: Vec<f32> = positions.clone().flat_map(|at| logit(said(at), five)).collect();
            Tensor::from_vec(rows, (1, input.len(), 8), &Device::Cpu)
        };
        assert!(!probe.wants(Kind::FinalNorm), "the judge does not need this site");
        if probe.wants(Kind::Logits) {
            probe.tap(Site::model(Kind::Logits), rows(1.05)?)?;
            probe.tap(Site::model(Kind::FinalNorm), rows(0.0)?)?;
        }
        Ok(rows(0.0)?)
    }
}

/// The reference's tokens are 1 2 3 4, and 4 ends the text; its gaps are `gap`, each with an error of 0.1, so
/// a gap under 0.4 is a near-tie.
fn judged(says: &[u32], gap: [f64; 4]) -> (Status, String) {
    judged_with(says, gap, &[4])
}

fn judged_with(says: &[u32], gap: [f64; 4], ours: &[u32]) -> (Status, String) {
    let (findings, notes) = findings(says, gap, ours);
    (findings.iter().map(|f| f.verdict.status()).max().unwrap(), notes.concat())
}

fn findings(says: &[u32], gap: [f64; 4], ours: &[u32]) -> (Vec<Finding>, Vec<String>) {
    let stored = Greedy { format: 1, prompts: vec![prompt(&[1, 2, 3, 4], gap)], quantized: BTreeMap::new() };
    judge_greedy(&mut Scripted::new(says), &stored, &Ends { ours, theirs: &[4] }, &RULE).unwrap()
}

fn prompt(tokens: &[u32], gap: [f64; 4]) -> Prompt {
    Prompt {
        prompt: "a".into(),
        ids: vec![5],
        tokens: tokens.into(),
        text: String::new(),
        gap: gap.into(),
        runner_up: vec![0; 4],
        gap_error: BTreeMap::from([("f32".into(), vec![0.1; 4])]),
    }
}

/// The dense reference has 1 2 3 4, the quantised one 1 2 6 4: a quantised port is compared with the
/// quantised one, and the note reports where it leaves the dense one.
#[rstest]
#[case::as_the_quantised_reference(&[1, 2, 6, 4], Some("\"a\" differs from the dense text from step 2 on: the dense token leads by 0.300 there, the plain one by 1.000"))]
#[case::as_dense(&[1, 2, 3, 4], None)]
fn a_note_says_where_a_quantised_text_leaves_the_dense_one(#[case] says: &[u32], #[case] note: Option<&str>) {
    let stored = Greedy {
        format: 1,
        prompts: vec![prompt(&[1, 2, 3, 4], [1.0, 1.0, 0.3, 1.0])],
        quantized: BTreeMap::from([(
            Arithmetic::Blocks32,
            vec![prompt(&[1, 2, 6, 4], [1.0, 1.0, 0.2, 1.0])],
        )]),
    };
    let mut port = Scripted { arithmetic: Arithmetic::Blocks32, ..Scripted::new(says) };
    let (findings, notes) =
        judge_greedy(&mut port, &stored, &Ends { ours: &[4], theirs: &[4] }, &RULE).unwrap();
    assert!(findings.iter().all(|f| f.status() == Status::Passed), "{findings:?}");
    assert_eq!(findings[0].drive.to_string(), "plain");
    let want = ["3 of 4 steps are decisive on plain"].into_iter().chain(note).collect::<Vec<_>>();
    assert_eq!(notes, want);
}

/// A context of four holds the prompt and three tokens; the fourth is drawn from it, but a fifth cannot be
/// fed.
#[rstest]
#[case(4, Verdict::Pass(0.0))]
#[case(3, Verdict::Broken("the text ends after 3 of 4 tokens".into()))]
#[case(2, Verdict::Broken("the text ends after 2 of 4 tokens".into()))]
fn a_text_ends_at_the_end_of_the_context(#[case] context: usize, #[case] want: Verdict) {
    let stored =
        Greedy { format: 1, prompts: vec![prompt(&[1, 2, 3, 4], [1.0; 4])], quantized: BTreeMap::new() };
    let mut port = Scripted { context, ..Scripted::new(&[1, 2, 3, 4]) };
    let (findings, _) = judge_greedy(&mut port, &stored, &Ends { ours: &[4], theirs: &[4] }, &RULE).unwrap();
    assert_eq!(findings[0].verdict, want);
}

#[rstest]
#[case::all_agree(&[1, 2, 3, 4], [1.0; 4], Status::Passed)]
#[case::wrong_where_it_is_decisive(&[1, 6, 3, 4], [1.0; 4], Status::Failed)]
#[case::other_side_of_a_near_tie(&[1, 6, 3, 4], [1.0, 0.3, 1.0, 1.0], Status::Passed)]
#[case::other_side_at_the_last_token(&[1, 2, 3, 6], [1.0, 1.0, 1.0, 0.3], Status::Passed)]
#[case::a_gap_equal_to_the_noise_is_a_near_tie(&[1, 6, 3, 4], [1.0, 0.4, 1.0, 1.0], Status::Passed)]
#[case::wrong_after_a_near_tie(&[1, 6, 6, 4], [1.0, 0.3, 1.0, 1.0], Status::Failed)]
#[case::half_are_decisive(&[1, 2, 3, 4], [1.0, 1.0, 0.3, 0.3], Status::Passed)]
#[case::a_quarter_are_decisive(&[1, 2, 3, 4], [1.0, 0.3, 0.3, 0.3], Status::NotJudged)]
#[case::none_is_decisive(&[1, 2, 3, 4], [0.3; 4], Status::NotJudged)]
fn a_step_counts_only_if_its_gap_exceeds_the_noise(
    #[case] says: &[u32],
    #[case] gap: [f64; 4],
    #[case] status: Status,
) {
    assert_eq!(judged(says, gap).0, status);
}

#[rstest]
#[case::ends_where_the_reference_does(&[4], Status::Passed)]
#[case::does_not_end(&[], Status::Failed)]
#[case::ends_too_early(&[2, 4], Status::Failed)]
fn a_text_must_end_where_the_reference_ends(#[case] ours: &[u32], #[case] status: Status) {
    assert_eq!(judged_with(&[1, 2, 3, 4], [1.0; 4], ours).0, status);
}

/// After a near-tie, steps are still counted from the prompt, not from the restart.
#[test]
fn a_wrong_token_is_reported_with_its_step_and_gap() {
    let (findings, _) = findings(&[6, 2, 6, 4], [0.3, 1.0, 1.5, 1.0], &[4]);
    let how = "token 2 is 6, want 3, whose logit leads by 1.500".to_owned();
    assert_eq!(findings[0].verdict, Verdict::Broken(how));
}

/// Four times the 95th percentile: for errors of 1 to 21, that is 20.
#[test]
fn the_near_tie_gap_is_measured_over_all_steps_of_its_dtype() {
    let prompt = |errors: Vec<f64>| Prompt {
        prompt: String::new(),
        ids: vec![],
        tokens: vec![],
        text: String::new(),
        gap: vec![],
        runner_up: vec![],
        gap_error: BTreeMap::from([("f32".into(), errors), ("bf16".into(), vec![99.0])]),
    };
    let prompts = [prompt((11..=21).map(f64::from).collect()), prompt((1..=10).map(f64::from).collect())];
    let traits = Scripted::new(&[]).traits();
    assert_eq!(near_tie(&prompts, &traits, &RULE), Some(4.0 * 20.0));
    assert_eq!(near_tie(&[], &traits, &RULE), None);
}

#[test]
fn a_text_that_does_not_end_is_explained() {
    let (findings, _) = findings(&[1, 2, 3, 4], [1.0; 4], &[]);
    assert_eq!(findings[0].explained.as_ref().unwrap().named[0].mistake, "one-eos");
}

/// Token 6 does not have the largest logit; the prompt's token has, unless repeated tokens are penalised.
#[test]
fn a_token_chosen_against_its_logits_is_blamed_on_the_sampler() {
    let (findings, _) = findings(&[1, 6, 3, 4], [1.0; 4], &[4]);
    let named = &findings[0].explained.as_ref().unwrap().named[0];
    assert_eq!(
        (named.mistake, named.says.contains("penalty of 1.1")),
        ("sampler-default", true),
        "{}",
        named.says
    );
}

#[test]
fn decisive_steps_are_counted() {
    // For a dense port there is no note about where it leaves the dense text.
    let (_, note) = judged(&[1, 6, 3, 4], [1.0, 0.3, 1.0, 0.5]);
    assert_eq!(note, "3 of 4 steps are decisive on plain");
}

/// The first prompt is decoded: one token, then one at a time. The second is one pass over four tokens.
#[rstest]
#[case::decoding(1..2, [Status::Failed, Status::Passed])]
#[case::one_pass(4..5, [Status::Passed, Status::Failed])]
fn the_first_prompt_is_decoded_and_the_others_follow_the_reference(
    #[case] wrong: Range<usize>,
    #[case] statuses: [Status; 2],
) {
    let prompts = vec![prompt(&[1, 2, 3, 4], [1.0; 4]); 2];
    let stored = Greedy { format: 1, prompts, quantized: BTreeMap::new() };
    let mut port = Scripted { wrong: Some(wrong), ..Scripted::new(&[1, 2, 3, 4]) };
    let (findings, _) = judge_greedy(&mut port, &stored, &Ends { ours: &[4], theirs: &[4] }, &RULE).unwrap();
    assert_eq!(findings.iter().map(|f| f.verdict.status()).collect::<Vec<_>>(), statuses);
}

/// The reference's own token follows a near-tie that the port decides the other way.
#[rstest]
#[case::other_side_of_a_near_tie(&[1, 6, 3, 4], [1.0, 0.3, 1.0, 1.0], Status::Passed)]
#[case::wrong_after_a_near_tie(&[1, 6, 6, 4], [1.0, 0.3, 1.0, 1.0], Status::Failed)]
#[case::goes_on_after_the_end(&[1, 2, 3, 6], [1.0; 4], Status::Failed)]
#[case::all_agree(&[1, 2, 3, 4], [1.0; 4], Status::Passed)]
fn a_prompt_that_follows_the_reference_is_judged_by_the_same_rule(
    #[case] says: &[u32],
    #[case] gap: [f64; 4],
    #[case] status: Status,
) {
    // The first prompt has no tokens to generate, so only the second one is judged.
    let nothing = Prompt { tokens: vec![], gap: vec![], ..prompt(&[], [1.0; 4]) };
    let stored =
        Greedy { format: 1, prompts: vec![nothing, prompt(&[1, 2, 3, 4], gap)], quantized: BTreeMap::new() };
    let mut port = Scripted::new(says);
    let (findings, _) = judge_greedy(&mut port, &stored, &Ends { ours: &[4], theirs: &[4] }, &RULE).unwrap();
    assert_eq!(findings[1].verdict.status(), status);
}
