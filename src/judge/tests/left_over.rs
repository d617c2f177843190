use rstest::rstest;

use super::laws::{COUNTER, Counter, sequence};
use super::*;
use crate::judge::Verdict;
use crate::judge::laws::a_b_a;
use crate::judge::left_over::seen;

#[test]
fn a_cache_that_keeps_the_earlier_text_breaks_a_b_a() {
    let verdict = |mut port: Counter| a_b_a(&mut port, &sequence(&[1, 2])).unwrap().verdict;
    assert_eq!(verdict(COUNTER), Verdict::Pass(0.0));
    let kept = verdict(Counter { forgets: false, ..COUNTER });
    assert_eq!(kept, Verdict::Broken("logit 0 is 2 in the first run and 6 in the second".into()));
    let full = verdict(Counter { holds: 1, ..COUNTER });
    assert!(matches!(full, Verdict::Broken(how) if how.contains("the port returned an error: full")));
}

/// Returns `rows[n]` rows of logits in its n-th run, and records the ids that it read.
struct Shrinking {
    rows: &'static [usize],
    read: Vec<Vec<u32>>,
}

impl Port for Shrinking {
    fn traits(&self) -> Traits {
        COUNTER.traits()
    }

    fn begin(&mut self) {}

    fn forward(&mut self, input: &Input, _: &mut dyn Probe) -> Result<Tensor> {
        self.read.push(input.ids[0].clone());
        let rows = self.rows[(self.read.len() - 1).min(self.rows.len() - 1)];
        Ok(Tensor::zeros((1, rows, 8), DType::F32, &Device::Cpu)?)
    }
}

#[rstest]
#[case::the_same(&[2], Verdict::Pass(0.0))]
#[case::fewer_the_second_time(&[2, 2, 1], Verdict::Broken("the second run of the same text gives logits of another shape".into()))]
#[case::more_the_second_time(&[2, 2, 3], Verdict::Broken("the second run of the same text gives logits of another shape".into()))]
#[case::never_any(&[0], Verdict::Broken("the second run of the same text gives logits of another shape".into()))]
fn a_b_a_compares_logits_of_the_same_nonempty_shape(#[case] rows: &'static [usize], #[case] want: Verdict) {
    let mut port = Shrinking { rows, read: vec![] };
    let finding = a_b_a(&mut port, &sequence(&[0, 1, 3, 7])).unwrap();
    assert_eq!((finding.verdict, finding.about.as_str()), (want, "A, B, A"));
    assert_eq!((finding.case.as_str(), finding.drive.to_string().as_str()), ("made", "plain"));
    // B has another token at every place.
    assert_eq!((&port.read[0], &port.read[2]), (&vec![0, 1, 3, 7], &port.read[0]));
    assert!(port.read[0].iter().zip(&port.read[1]).all(|(a, b)| a != b && *b < 8), "{:?}", port.read[1]);
}

/// Hands over layer 0 of a text whose tokens have the values 1 2 | 3 4 in two key heads, used by four query
/// heads. The first place is padding, with values that no real token has.
#[derive(Clone)]
struct Layer {
    /// The context of the first real token, four heads wide.
    context: [f32; 8],
    /// How many keys the scores cover; `None` on a path that computes no scores.
    keys: Option<usize>,
    /// Returns an error at this site.
    stops: Option<Kind>,
}

const OWN: [f32; 8] = [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0];
const CORRECT: Layer = Layer { context: OWN, keys: Some(3), stops: None };

impl Port for Layer {
    fn traits(&self) -> Traits {
        unreachable!("the traits are not needed")
    }

    fn begin(&mut self) {}

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        let s = input.len();
        let rows = |pad: f32, real: &[f32]| {
            let values: Vec<f32> = std::iter::repeat_n(pad, real.len()).chain(real.repeat(s - 1)).collect();
            Tensor::from_vec(values, (1, s, real.len()), &Device::Cpu)
        };
        let by_head = |heads, width| Tensor::zeros((1, heads, s, width), DType::F32, &Device::Cpu);
        let mut tensors =
            vec![(0, Kind::VProj, rows(9.0, &[1.0, 2.0, 3.0, 4.0])?), (0, Kind::KRope, by_head(2, 2)?)];
        if let Some(keys) = self.keys {
            tensors.push((0, Kind::Scores, by_head(4, keys)?));
        }
        tensors.push((0, Kind::Context, rows(7.0, &self.context)?));
        // Later layers attend to more; the check must ignore them.
        tensors.push((1, Kind::VProj, rows(0.0, &[50.0; 4])?));
        tensors.push((1, Kind::KRope, by_head(2, 4)?));
        tensors.push((1, Kind::Scores, by_head(4, 9)?));
        tensors.push((1, Kind::Context, rows(0.0, &[60.0; 8])?));
        for (layer, kind, tensor) in tensors {
            if self.stops == Some(kind) {
                return Err(Error::input("no more", ""));
            }
            if probe.wants(kind) {
                probe.tap(Site::layer(layer, kind), tensor)?;
            }
        }
        Ok(rows(0.0, &[0.0; 8])?)
    }
}

/// The first token of an empty cache attends only to itself: each head's context equals one of its own
/// values.
#[rstest]
#[case::itself_alone(CORRECT, false)]
#[case::on_a_path_without_scores(Layer { keys: None, ..CORRECT }, false)]
#[case::within_rounding(Layer { context: [1.0, 2.0, 1.0, 2.07, 3.0, 4.0, 3.0, 4.0], ..CORRECT }, false)]
#[case::one_head_sees_more(Layer { context: [1.0, 2.0, 1.0, 2.1, 3.0, 4.0, 3.0, 4.0], ..CORRECT }, true)]
#[case::one_head_sees_less(Layer { context: [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 3.9], ..CORRECT }, true)]
#[case::all_see_more(Layer { context: [5.0; 8], ..CORRECT }, true)]
#[case::over_more_keys_than_its_own(Layer { keys: Some(6), ..CORRECT }, true)]
#[case::over_fewer_in_a_window(Layer { keys: Some(2), ..CORRECT }, false)]
#[case::an_error_after_more_keys_were_seen(Layer { keys: Some(6), stops: Some(Kind::Context), ..CORRECT }, true)]
#[case::an_error_before_the_heads_are_known(Layer { stops: Some(Kind::KRope), ..CORRECT }, false)]
#[case::an_error_before_anything_is_known(Layer { keys: None, stops: Some(Kind::Context), ..CORRECT }, false)]
fn a_first_token_that_attends_to_more_than_itself_sees_the_earlier_text(
    #[case] mut port: Layer,
    #[case] want: bool,
) {
    let mut text = Input::single(&[0, 5, 6], 0);
    text.real[0][0] = false;
    assert_eq!(seen(&mut port, &text, &Input::single(&[1, 2], 0)), want);
}

/// A port that does not clear its cache.
struct Keeping(LlamaPort);

impl Port for Keeping {
    fn traits(&self) -> Traits {
        self.0.traits()
    }

    fn begin(&mut self) {}

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        self.0.forward(input, probe)
    }
}

/// A port that never gives the same result twice, but does not see the earlier text.
struct Drifting(LlamaPort, f64);

impl Port for Drifting {
    fn traits(&self) -> Traits {
        self.0.traits()
    }

    fn begin(&mut self) {
        self.0.begin();
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        self.1 += 1.0;
        Ok((self.0.forward(input, probe)? * self.1)?)
    }
}

#[rstest]
fn a_kept_cache_is_named_when_a_b_a_fails(#[values(Attention::Plain, Attention::Fused)] path: Attention) {
    let model = tiny();
    let port = || LlamaPort::new(llama(&model, path));
    let named = |port: &mut dyn Port| {
        let finding = a_b_a(port, &sequence(&[1, 70, 3])).unwrap();
        let Some(explained) = finding.explained else { return vec!["not looked into"] };
        explained.named.iter().map(|named| named.mistake).collect()
    };
    assert_eq!(named(&mut Keeping(port())), ["cache-kept"]);
    assert_eq!(named(&mut Drifting(port(), 0.0)), [] as [&str; 0]);
    assert_eq!(named(&mut port()), ["not looked into"]);
}
