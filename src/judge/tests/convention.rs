use rstest::rstest;

use super::*;
use crate::judge::convention::named;
use crate::model::Projection;
use crate::probe::Layout;
use crate::weights::RopeLayout;

const HEAD_DIM: usize = 32;

/// Rows of every head in the order `from(head, j)`.
fn reordered(projection: &Projection, from: impl Fn(usize, usize) -> usize) -> Projection {
    let weight = projection.floats().unwrap();
    let row = |j: usize| (j / HEAD_DIM * HEAD_DIM + from(j / HEAD_DIM, j % HEAD_DIM)) as u32;
    let rows: Vec<u32> = (0..weight.dims()[0]).map(row).collect();
    let rows = Tensor::new(rows, weight.device()).unwrap();
    candle_nn::Linear::new(weight.index_select(&rows, 0).unwrap(), None).into()
}

/// As GGUF has them: i beside i + 16.
fn neighbours(_: usize, j: usize) -> usize {
    j / 2 + j % 2 * (HEAD_DIM / 2)
}

/// The first two rows of head 1 alone exchanged.
fn one_head(head: usize, j: usize) -> usize {
    if head == 1 && j < 2 { 1 - j } else { j }
}

/// What `id` says where q's and k's rows are reordered in every layer, and rotated in `layout`.
fn said(id: &str, from: fn(usize, usize) -> usize, layout: RopeLayout, path: Attention) -> Outcome {
    said_of(&["short"], id, from, layout, path)
}

fn said_of(
    cases: &[&str],
    id: &str,
    from: fn(usize, usize) -> usize,
    layout: RopeLayout,
    path: Attention,
) -> Outcome {
    bent(cases, id, Order { from, layers: &[0, 1, 2, 3], layout }, path, unbent())
}

/// Where q's and k's rows lie otherwise, and how they are rotated.
#[derive(Clone, Copy)]
struct Order {
    from: fn(usize, usize) -> usize,
    layers: &'static [usize],
    layout: RopeLayout,
}

/// As [`said_of`], of a port with these layers reordered and bent besides.
fn bent(
    cases: &[&str],
    id: &str,
    Order { from, layers, layout }: Order,
    path: Attention,
    bend: Bend,
) -> Outcome {
    let model = tiny();
    let mut llama = llama(&model, path);
    for &layer in layers {
        let attention = &mut llama.layers[layer].self_attn;
        attention.q_proj = reordered(&attention.q_proj, from);
        attention.k_proj = reordered(&attention.k_proj, from);
    }
    llama.rope.layout = layout;
    let mut subject = subject(&model, cases);
    subject.ports = vec![Box::new(Bent { port: LlamaPort::new(llama), bend })];
    run(&mut subject, checkpoints::find(id).unwrap()).unwrap()
}

const CONVENTION: Order = Order { from: neighbours, layers: &[0, 1, 2, 3], layout: RopeLayout::Interleaved };

/// Right everywhere, and said where q or k are looked at.
#[rstest]
fn another_order_that_gives_the_same_scores_is_a_convention(
    #[values("01B", "02", "03", "04", "06", "07")] id: &str,
    #[values(Attention::Plain, Attention::Fused)] path: Attention,
) {
    let outcome = said(id, neighbours, RopeLayout::Interleaved, path);
    assert_eq!(outcome.status(), Status::Passed, "{:?}", wrong(&outcome));
    let how = "rows of q and k lie as in GGUF, i beside i + head_dim/2; scores come right of it";
    let notes = outcome.notes.iter().filter(|note| note.starts_with("convention, ") && note.ends_with(how));
    assert_eq!(notes.count(), usize::from(["01B", "02"].contains(&id)), "{:?}", outcome.notes);
}

/// Seen in one case, it is known in those that cannot show it: of one token, of the last rows alone.
#[rstest]
fn it_is_one_in_every_case(#[values("02", "01B")] id: &str) {
    let cases = ["single", "long", "short"];
    let outcome = said_of(&cases, id, neighbours, RopeLayout::Interleaved, Attention::Plain);
    assert_eq!((outcome.status(), outcome.notes.len()), (Status::Passed, 1), "{:?}", wrong(&outcome));
}

/// Where nothing is rotated yet, rows without their rotation give the same scores.
#[test]
fn one_token_shows_no_convention() {
    let outcome = said_of(&["single"], "02", neighbours, RopeLayout::HalfSplit, Attention::Plain);
    assert_eq!((outcome.status(), outcome.failures().count()), (Status::Failed, 8));
}

#[rstest]
#[case::weights_without_their_rotation("02", neighbours, RopeLayout::HalfSplit, &["unpermuted-qk"])]
#[case::rotation_without_its_weights("01B", |_, j| j, RopeLayout::Interleaved, &["rope-pairing"])]
#[case::of_one_head_alone("02", one_head, RopeLayout::HalfSplit, &["unpermuted-qk"])]
fn any_other_order_is_a_mistake(
    #[case] id: &str,
    #[case] from: fn(usize, usize) -> usize,
    #[case] layout: RopeLayout,
    #[case] mistakes: &[&str],
) {
    let outcome = said(id, from, layout, Attention::Plain);
    // q and k of four layers; v is as it should be.
    assert_eq!((outcome.status(), outcome.failures().count()), (Status::Failed, 8));
    assert_eq!(outcome.notes, [] as [&str; 0]);
    let named: Vec<&str> = outcome.named().iter().map(|named| named.mistake).collect();
    assert_eq!(named, mistakes);
}

/// An order of some layers alone gives scores that are right in none or in some.
#[rstest]
#[case::the_first(&[0])]
#[case::a_later_one(&[2])]
fn an_order_of_one_layer_is_a_mistake(#[case] layers: &'static [usize]) {
    let order = Order { from: neighbours, layers, layout: RopeLayout::HalfSplit };
    let outcome = bent(&["short"], "02", order, Attention::Plain, unbent());
    assert_eq!((outcome.failures().count(), outcome.notes.len()), (2, 0), "{:?}", wrong(&outcome));
}

/// What is wrong behind the scores has its own checkpoint.
#[test]
fn a_mistake_elsewhere_hides_no_convention() {
    let bend = at("model.layers.0.mlp.down_proj", |down| Ok(Some((down * 1.5)?)));
    let outcome = bent(&["short"], "02", CONVENTION, Attention::Plain, bend);
    assert_eq!((outcome.status(), outcome.notes.len()), (Status::Passed, 1), "{:?}", wrong(&outcome));
}

/// Scores must have been seen to come right: of a port that keeps them to itself nothing is believed.
#[test]
fn without_its_scores_an_order_is_a_mistake() {
    let bend = |site: Site, tensor| Ok(Some(tensor).filter(|_| site.kind != Kind::Scores));
    let outcome = bent(&["short"], "02", CONVENTION, Attention::Plain, Box::new(bend));
    assert_eq!((outcome.failures().count(), outcome.notes.len()), (8, 0), "{:?}", wrong(&outcome));
}

/// Where q and k lie as they should in one case, what is wrong in another is no order.
#[test]
fn a_mistake_of_one_case_is_no_convention() {
    let bend =
        at("model.layers.1.self_attn.q_proj", |q| Ok(Some(if q.dims()[0] > 1 { (q * 1.5)? } else { q })));
    let sound = Order { layers: &[], layout: RopeLayout::HalfSplit, ..CONVENTION };
    let outcome = bent(&["short", "batch-left"], "02", sound, Attention::Plain, bend);
    assert_eq!((outcome.failures().count(), outcome.notes.len()), (1, 0), "{:?}", outcome.notes);
}

#[rstest]
#[case::of_truth(&[0, 1, 2, 3], None)]
#[case::of_gguf(&[0, 2, 1, 3], Some(Layout::Interleaved { head_dim: 4 }))]
#[case::its_own(&[1, 0, 2, 3], Some(Layout::Permuted([1, 0, 2, 3].into())))]
#[case::none_one_stands_twice(&[1, 0, 0, 2], None)]
fn an_order_has_each_column_once_and_a_name(#[case] columns: &[usize], #[case] want: Option<Layout>) {
    assert_eq!(named(columns.to_vec()), want);
}

/// Looking for an order in tensors that are no order of anything is no reason to stop.
#[test]
fn a_q_of_another_width_lies_in_no_order() {
    let narrow = site("model.layers.0.self_attn.q_proj");
    let wrong_value = site("model.layers.1.self_attn.q_proj");
    let bend = move |site, q: Tensor| match site {
        site if site == narrow => Ok(Some(q.narrow(2, 0, HEAD_DIM)?)),
        site if site == wrong_value => Ok(Some(nudged(&q, 7, 0.5)?)),
        _ => Ok(Some(q)),
    };
    let outcome = judged("02", Attention::Plain, Box::new(bend));
    assert_eq!(wrong(&outcome), ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]);
}
