use rstest::rstest;

use super::*;
use crate::judge::laws::{a_b_a, chunks, context_ends, cut_row, tokens};
use crate::judge::noise::{shaken, spread};
use crate::judge::pieces::{Sequence, Window, worse};
use crate::judge::{Verdict, laws_alone};
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
struct Counter {
    at: usize,
    context: usize,
    holds: usize,
    forgets: bool,
    not_a_number: bool,
}

const COUNTER: Counter = Counter { at: 0, context: 16, holds: 16, forgets: true, not_a_number: false };

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
        if self.at > self.holds {
            return Err(Error::input("full", "begin again"));
        }
        let value = if self.not_a_number { f32::NAN } else { self.at as f32 };
        let logits = Tensor::full(value, (1, input.len(), 8), &Device::Cpu)?;
        probe.tap(Site::model(Kind::Logits), logits)
    }
}

fn sequence(ids: &[u32]) -> Sequence<'static> {
    let places = (0..ids.len()).map(|position| (0, position)).collect();
    Sequence { name: "made", input: Input::single(ids, 0), places }
}

#[test]
fn what_stays_from_the_text_before_breaks_a_b_a() {
    let said = |mut port: Counter| a_b_a(&mut port, &sequence(&[1, 2])).unwrap().verdict;
    assert_eq!(said(COUNTER), Verdict::Pass(0.0));
    let kept = said(Counter { forgets: false, ..COUNTER });
    assert_eq!(kept, Verdict::Broken("logit 0 is 2 and then 6".into()));
    let full = said(Counter { holds: 1, ..COUNTER });
    assert!(matches!(full, Verdict::Broken(how) if how.contains("the port stops: full")));
}

#[rstest]
#[case::as_declared(COUNTER, Verdict::Pass(0.0))]
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

#[test]
fn the_spread_of_two_tensors_is_that_of_their_worst_rows() {
    let a = Tensor::new(&[[3f32, -4.0], [0.0, 0.0], [1.0, 1.0]], &Device::Cpu).unwrap();
    let b = Tensor::new(&[[3f32, -4.5], [9.0, 9.0], [1.1, 1.0]], &Device::Cpu).unwrap();
    let noise = spread(&a, &b).unwrap();
    // 0.5 of 4 and 0.5/√2 of √12.5; a row of zeros has no scale.
    approx::assert_relative_eq!(noise.max, 0.125, max_relative = 1e-6);
    approx::assert_relative_eq!(noise.rms, 0.1, max_relative = 1e-6);
}

/// At the embedding nothing has been rounded yet; at the end of four layers an ulp has grown, and not to
/// the size of the values.
#[test]
fn an_ulp_at_every_site_is_felt_at_every_site_behind_it() {
    let model = tiny();
    let mut port = LlamaPort::new(llama(&model, Attention::Plain));
    let noise = shaken(&mut port, &Input::single(&[1, 70, 3], 0)).unwrap();
    assert_eq!(noise.len(), 1 + 4 * 17 + 2);
    assert_eq!(noise[&site("model.embed_tokens")].max, 0.0);
    let logits = noise[&site("lm_head")];
    assert!(logits.max > 1e-7 && logits.max < 1e-4 && logits.rms < 1e-4, "{logits:?}");
}
