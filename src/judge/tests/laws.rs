use rstest::rstest;

use super::*;
use crate::compare::Noise;
use crate::judge::laws::{chunks, context_ends, cut_row, same_in_pieces, tokens};
use crate::judge::pieces::{Criteria, Sequence, record, worse};
use crate::judge::window::Window;
use crate::judge::{Verdict, laws_alone};
use crate::probe::Kinds;
use crate::reference::ReferenceRows;

#[rstest]
#[case(1, std::slice::from_ref(&(0..1)))]
#[case(2, &[0..1, 1..2])]
#[case(5, &[0..2, 2..4, 4..5])]
#[case(9, &[0..3, 3..6, 6..9])]
fn chunks_cover_the_whole_sequence(#[case] length: usize, #[case] want: &[Window]) {
    assert_eq!(chunks(length), want);
}

/// A few tokens before the first judged row are decoded one by one; everything before them is one piece.
#[rstest]
#[case::from_the_first(3, 0, &[0..1, 1..2, 2..3])]
#[case::late(12, 11, &[0..3, 3..4, 4..5, 5..6, 6..7, 7..8, 8..9, 9..10, 10..11, 11..12])]
fn tokens_are_fed_one_by_one_near_judged_rows(
    #[case] length: usize,
    #[case] first: usize,
    #[case] want: &[Window],
) {
    assert_eq!(tokens(length, first), want);
}

#[test]
fn a_row_cut_out_of_a_batch_starts_at_0() {
    let reference = ReferenceRows {
        places: [(0, 2), (0, 3), (1, 1), (1, 2), (1, 3)].into(),
        row_shape: vec![2],
        values: (0..10).map(f64::from).collect(),
    };
    let cut = cut_row(&reference, 1, 1);
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
#[case::then_nothing_to_compare(Verdict::Pass(0.3), Verdict::Incomparable, Verdict::Pass(0.3))]
#[case::then_something(Verdict::Incomparable, Verdict::Pass(0.3), Verdict::Pass(0.3))]
fn the_worst_window_decides(#[case] a: Verdict, #[case] b: Verdict, #[case] want: Verdict) {
    assert_eq!(worse(a, b), want);
}

/// A port whose logits are the number of tokens it has read. It may or may not forget them in `begin`.
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
        Traits {
            path,
            arithmetic,
            dtype: DType::F32,
            layers: 0,
            kinds: Kinds::LLAMA,
            vocab: 8,
            context,
            hides,
            layouts,
        }
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
#[case::holds_less(Counter { holds: 15, ..COUNTER }, Verdict::Broken("16 tokens should fit into the context, but the port returned an error: full\nhint: begin again".into()))]
#[case::goes_on(
    Counter { holds: 99, ..COUNTER },
    Verdict::Broken("the port accepts a token beyond its context of 16".into())
)]
#[case::not_finite(
    Counter { not_a_number: true, ..COUNTER },
    Verdict::Broken("with 16 tokens, some logits are NaN or infinite".into())
)]
#[case::too_long_to_fill(Counter { context: 5000, holds: 5000, ..COUNTER }, Verdict::Pass(0.0))]
#[case::too_long_and_goes_on(
    Counter { context: 5000, holds: 9999, ..COUNTER },
    Verdict::Broken("the port accepts a token beyond its context of 5000".into())
)]
fn a_context_accepts_its_declared_length_and_no_more(#[case] mut port: Counter, #[case] want: Verdict) {
    match (context_ends(&mut port).verdict, want) {
        (Verdict::Broken(got), Verdict::Broken(want)) => {
            let first = |text: &str| text.lines().next().unwrap().to_owned();
            assert_eq!(first(&got), first(&want));
        }
        (got, want) => assert_eq!(got, want),
    }
    assert_eq!(port.at, 0, "the cache must be empty afterwards");
}

/// A counter's logits at every row are the number of tokens read when its piece ends: 5 everywhere in one
/// prefill, less in the first pieces.
#[test]
fn results_that_depend_on_the_pieces_fail() {
    let findings = laws_alone(&mut { COUNTER }, &[1, 2, 3, 4, 5], 16.0).unwrap();
    let wrong = findings.iter().filter(|f| f.status() != Status::Passed);
    let failed: Vec<(&str, String)> = wrong.map(|f| (f.about.as_str(), f.drive.to_string())).collect();
    let drives = ["in chunks, plain, feed own", "token by token, plain, feed own"];
    assert_eq!(failed, drives.map(|drive| ("lm_head", drive.to_owned())));
}

#[test]
fn a_correct_llama_passes_and_every_site_is_compared_in_both_kinds_of_pieces() {
    let model = tiny();
    let mut port = LlamaPort::new(llama(&model, Attention::Plain));
    let findings = laws_alone(&mut port, &[1, 70, 3, 200, 5], 16.0).unwrap();
    assert!(findings.iter().all(|f| f.status() == Status::Passed), "{findings:?}");
    let sites = 1 + 4 * 17 + 2;
    let compared = findings.iter().filter(|f| f.site.is_some()).count();
    assert_eq!((compared, findings.len()), (2 * sites, 2 * sites + 2));
}

/// The first three of five rows are no larger than their noise, in whichever windows they fall.
#[test]
fn rows_that_cannot_be_compared_are_counted_over_all_windows() {
    let model = tiny();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::BF16, Attention::Plain).unwrap();
    let noise = |_, (_, position)| {
        let of_scale = if position < 3 { 1.0 } else { 0.01 };
        Some(Noise { max: of_scale, rms: of_scale })
    };
    let criteria = Criteria { fed: None, judges: &|_, _| true, noise: &noise, factor: 16.0, context: None };
    let (mut port, whole) = (LlamaPort::new(llama), sequence(&[1, 70, 3, 200, 5]));
    let prefill = record(&mut port, &whole, &criteria).unwrap();
    let findings = same_in_pieces(&mut port, &whole, &prefill, &criteria).unwrap();
    assert_eq!(findings.len(), 2 * (1 + 4 * 17 + 2));
    for finding in findings {
        assert_eq!((finding.status(), finding.incomparable), (Status::Passed, 3), "{finding:?}");
        assert_eq!(finding.case, "made");
    }
}
