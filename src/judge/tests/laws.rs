use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rstest::rstest;

use super::*;
use crate::compare::Noise;
use crate::judge::laws::{chunks, context_ends, cut_row, same_in_pieces, tokens};
use crate::judge::pieces::{Held, Sequence, Window, worse};
use crate::judge::{Verdict, laws_alone};
use crate::model::Matmul;
use crate::reference::Truth;

#[rstest]
#[case(1, std::slice::from_ref(&(0..1)))]
#[case(2, &[0..1, 1..2])]
#[case(5, &[0..2, 2..4, 4..5])]
#[case(9, &[0..3, 3..6, 6..9])]
fn chunks_cover_the_whole_and_the_second_begins_on_a_cache(#[case] length: usize, #[case] want: &[Window]) {
    assert_eq!(chunks(length), want);
}

/// The first judged row has a few decoded before it; what is long before goes in one piece.
#[rstest]
#[case::from_the_first(3, 0, &[0..1, 1..2, 2..3])]
#[case::late(12, 11, &[0..3, 3..4, 4..5, 5..6, 6..7, 7..8, 8..9, 9..10, 10..11, 11..12])]
fn tokens_go_one_by_one_where_rows_are_judged(
    #[case] length: usize,
    #[case] first: usize,
    #[case] want: &[Window],
) {
    assert_eq!(tokens(length, first), want);
}

#[test]
fn a_row_of_a_batch_is_cut_out_and_begins_at_0() {
    let truth = Truth {
        places: [(0, 2), (0, 3), (1, 1), (1, 2), (1, 3)].into(),
        row_shape: vec![2],
        values: (0..10).map(f64::from).collect(),
    };
    let cut = cut_row(&truth, 1, 1);
    assert_eq!(&*cut.places, &[(0, 0), (0, 1), (0, 2)]);
    assert_eq!((cut.row_shape, cut.values), (vec![2], (4..10).map(f64::from).collect::<Vec<_>>()));
}

fn differs() -> Verdict {
    Verdict::Differs(Default::default())
}

#[rstest]
#[case::the_larger_share(Verdict::Pass(0.1), Verdict::Pass(0.3), Verdict::Pass(0.3))]
#[case::the_larger_share_first(Verdict::Pass(0.3), Verdict::Pass(0.1), Verdict::Pass(0.3))]
#[case::a_failure(Verdict::Pass(0.3), differs(), differs())]
#[case::the_first_failure(Verdict::NeverReached, differs(), Verdict::NeverReached)]
#[case::it_stays(differs(), Verdict::Pass(0.3), differs())]
#[case::nothing_to_compare(Verdict::Pass(0.3), Verdict::Incomparable, Verdict::Pass(0.3))]
#[case::then_something(Verdict::Incomparable, Verdict::Pass(0.3), Verdict::Pass(0.3))]
fn windows_are_as_good_as_the_worst_of_them(#[case] a: Verdict, #[case] b: Verdict, #[case] want: Verdict) {
    assert_eq!(worse(a, b), want);
}

/// Counts its tokens and says nothing else; forgets when it is told to, or not.
pub(super) struct Counter {
    pub at: usize,
    pub context: usize,
    pub holds: usize,
    pub forgets: bool,
    pub not_a_number: bool,
}

pub(super) const COUNTER: Counter =
    Counter { at: 0, context: 16, holds: 16, forgets: true, not_a_number: false };

impl Port for Counter {
    fn traits(&self) -> Traits {
        let (path, hides, layouts, arithmetic) = ("plain", &[][..], vec![], Default::default());
        let context = self.context;
        Traits { path, arithmetic, dtype: DType::F32, layers: 0, vocab: 8, context, hides, layouts }
    }

    fn begin(&mut self) {
        if self.forgets {
            self.at = 0;
        }
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        self.at += input.len();
        if self.at > self.holds || input.ids.iter().flatten().any(|&id| id >= 8) {
            return Err(Error::input("full", "begin again"));
        }
        let value = if self.not_a_number { f32::NAN } else { self.at as f32 };
        let logits = Tensor::full(value, (1, input.len(), 8), &Device::Cpu)?;
        probe.tap(Site::model(Kind::Logits), logits)
    }
}

pub(super) fn sequence(ids: &[u32]) -> Sequence<'static> {
    let places = (0..ids.len()).map(|position| (0, position)).collect();
    Sequence { name: "made", input: Input::single(ids, 0), places }
}

#[rstest]
#[case::as_declared(COUNTER, Verdict::Pass(0.0))]
#[case::many_times_its_vocabulary(Counter { context: 100, holds: 100, ..COUNTER }, Verdict::Pass(0.0))]
#[case::holds_less(Counter { holds: 15, ..COUNTER }, Verdict::Broken("16 tokens should fit: full\nhint: begin again".into()))]
#[case::goes_on(
    Counter { holds: 99, ..COUNTER },
    Verdict::Broken("a token past the context of 16 is accepted".into())
)]
#[case::not_finite(
    Counter { not_a_number: true, ..COUNTER },
    Verdict::Broken("16 tokens give logits that are not finite".into())
)]
#[case::too_long_to_fill(Counter { context: 5000, holds: 5000, ..COUNTER }, Verdict::Pass(0.0))]
#[case::too_long_and_goes_on(
    Counter { context: 5000, holds: 9999, ..COUNTER },
    Verdict::Broken("a token past the context of 5000 is accepted".into())
)]
fn a_context_holds_what_it_says_and_no_more(#[case] mut port: Counter, #[case] want: Verdict) {
    match (context_ends(&mut port).verdict, want) {
        (Verdict::Broken(got), Verdict::Broken(want)) => {
            let first = |text: &str| text.lines().next().unwrap().to_owned();
            assert_eq!(first(&got), first(&want));
        }
        (got, want) => assert_eq!(got, want),
    }
    assert_eq!(port.at, 0, "nothing of it stays in the cache");
}

/// Every row of a counter's logits says how much it has read when its piece ends: of a whole all say 5, of pieces
/// the first say less.
#[test]
fn what_depends_on_the_pieces_breaks_the_law_of_pieces() {
    let findings = laws_alone(&mut { COUNTER }, &[1, 2, 3, 4, 5], 16.0).unwrap();
    let wrong = findings.iter().filter(|f| f.status() != Status::Passed);
    let said: Vec<(&str, &str)> = wrong.map(|f| (f.about.as_str(), f.drive.as_str())).collect();
    let drives = ["in chunks, plain, feed own", "token by token, plain, feed own"];
    assert_eq!(said, drives.map(|drive| ("lm_head", drive)));
}

#[test]
fn a_sound_llama_keeps_them_and_every_site_is_compared_both_ways() {
    let model = tiny();
    let mut port = LlamaPort::new(llama(&model, Attention::Plain));
    let findings = laws_alone(&mut port, &[1, 70, 3, 200, 5], 16.0).unwrap();
    assert!(findings.iter().all(|f| f.status() == Status::Passed), "{findings:?}");
    let sites = 1 + 4 * 17 + 2;
    let compared = findings.iter().filter(|f| f.site.is_some()).count();
    assert_eq!((compared, findings.len()), (2 * sites, 2 * sites + 2));
}

/// Of five rows the first three are no larger than their noise, in whatever windows they come.
#[test]
fn rows_that_cannot_be_compared_are_counted_over_all_windows() {
    let model = tiny();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::BF16, Attention::Plain).unwrap();
    let noise = |_, (_, position)| {
        let of_scale = if position < 3 { 1.0 } else { 0.01 };
        Some(Noise { max: of_scale, rms: of_scale })
    };
    let held = Held { fed: None, judges: &|_, _| true, noise: &noise, factor: 16.0, around: None };
    let findings = same_in_pieces(&mut LlamaPort::new(llama), &sequence(&[1, 70, 3, 200, 5]), &held).unwrap();
    assert_eq!(findings.len(), 2 * (1 + 4 * 17 + 2));
    for finding in findings {
        assert_eq!((finding.status(), finding.incomparable), (Status::Passed, 3), "{finding:?}");
        assert_eq!(finding.case, "made");
    }
}

/// What 04 says of tiny-llama in these numbers on one case, once its sites have gone through `bend`.
fn kept(model: &str, case: &str, dtype: DType, matmul: Matmul, bend: Bend) -> Outcome {
    let model = models::open(model).unwrap();
    let path = Path { attention: Attention::Plain, matmul };
    let mut subject = subject(&model, &[case]);
    let llama = Llama::load(&model.weights, &Device::Cpu, dtype, path).unwrap();
    subject.ports = vec![Box::new(Bent { port: LlamaPort::new(llama), bend })];
    run(&mut subject, checkpoints::find("04").unwrap()).unwrap()
}

/// How many sites each drive was judged at.
fn drives(outcome: &Outcome) -> Vec<(&str, usize)> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    outcome.findings.iter().for_each(|f| *count.entry(&f.drive).or_default() += 1);
    count.into_iter().collect()
}

/// On its own values where sums are fine; elsewhere each block begins from truth. Every site is compared, in
/// batch rows all but scores and probs, whose keys are the batch's.
#[rstest]
#[case::fine("tiny-llama", "short", DType::F32, Matmul::Dense, "own", &[])]
#[case::half("tiny-llama", "short", DType::BF16, Matmul::Dense, "block", &[])]
#[case::quantized("tiny-llama:q8_0", "short", DType::F32, Matmul::Quantized, "block", &[])]
#[case::truth_of_the_last_rows("tiny-llama", "long", DType::F32, Matmul::Dense, "own", &[])]
#[case::those_in_half("tiny-llama", "long", DType::BF16, Matmul::Dense, "block", &[])]
#[case::batch("tiny-llama", "batch-left", DType::F32, Matmul::Dense, "own", &[0, 1, 2])]
#[case::batch_in_half("tiny-llama", "batch-left", DType::BF16, Matmul::Dense, "block", &[0, 1, 2])]
fn every_law_is_tried_at_every_site_and_not_broken_by_a_mistake_elsewhere(
    #[case] model: &str,
    #[case] case: &str,
    #[case] dtype: DType,
    #[case] matmul: Matmul,
    #[case] feed: &str,
    #[case] rows: &[usize],
) {
    let bend = at("model.layers.0.mlp.down_proj", |down| Ok(Some((down * 1.5)?)));
    let outcome = kept(model, case, dtype, matmul, bend);
    assert_eq!(outcome.status(), Status::Passed, "{:?}", wrong(&outcome));
    let path = Path { attention: Attention::Plain, matmul }.name();
    let sites = 1 + 4 * 17 + 2;
    let mut want: Vec<(String, usize)> = vec![(path.into(), 2)];
    for pieces in ["in chunks", "token by token"] {
        want.extend(["site", feed].map(|feed| (format!("{pieces}, {path}, feed {feed}"), sites)));
    }
    want.extend(rows.iter().map(|row| (format!("row {row} alone, {path}"), sites - 2 * 4)));
    want.sort();
    assert_eq!(drives(&outcome), want.iter().map(|(drive, n)| (drive.as_str(), *n)).collect::<Vec<_>>());
}

/// One token is already the whole; two are two pieces.
#[test]
fn a_whole_of_one_piece_is_not_held_against_itself() {
    let outcome = kept("tiny-llama", "single", DType::F32, Matmul::Dense, unbent());
    assert_eq!(drives(&outcome), [("plain", 2)]);
    let findings = laws_alone(&mut { COUNTER }, &[1, 2], 16.0).unwrap();
    let judged: Vec<&str> = findings.iter().filter(|f| f.site.is_some()).map(|f| f.drive.as_str()).collect();
    assert_eq!(judged, ["in chunks, plain, feed own", "token by token, plain, feed own"]);
}

/// How often a port is run with a probe to be judged by 04.
fn runs(case: &str, dtype: DType) -> usize {
    let runs = Rc::new(Cell::new(0));
    let count = runs.clone();
    let bend = at("model.embed_tokens", move |tensor| {
        count.set(count.get() + 1);
        Ok(Some(tensor))
    });
    kept("tiny-llama", case, dtype, Matmul::Dense, bend);
    runs.get()
}

/// A port's own sensitivity is asked for only where something differs: it costs nine runs and all of them again.
#[test]
fn a_port_that_keeps_the_laws_is_not_shaken() {
    let length = 13;
    // Fed and on its own: once whole, in three chunks, token by token. A, B, A and the context ask for no site.
    assert_eq!(runs("short", DType::F32), 2 * (1 + 3 + length));
}

/// Of 300 tokens all keys and values are stored, and the last eight rows of all else. Where a block begins from
/// truth only these are judged, and eight before them decoded: the rest goes in one piece.
#[test]
fn only_rows_whose_block_begins_from_truth_are_judged() {
    let (site_by_site, from_blocks) = (1 + 3 + 300, 1 + 3 + 1 + 8 + 8);
    assert_eq!(runs("long", DType::BF16), site_by_site + from_blocks);
}
