use rstest::rstest;

use super::*;
use crate::judge::convention::named;
use crate::model::Projection;
use crate::probe::Layout;
use crate::weights::RopeLayout;

const HEAD_DIM: usize = 32;

/// Puts the rows of every head in the order `from(head, j)`.
fn reordered(projection: &Projection, from: impl Fn(usize, usize) -> usize) -> Projection {
    let weight = projection.floats().unwrap();
    let row = |j: usize| (j / HEAD_DIM * HEAD_DIM + from(j / HEAD_DIM, j % HEAD_DIM)) as u32;
    let rows: Vec<u32> = (0..weight.dims()[0]).map(row).collect();
    let rows = Tensor::new(rows, weight.device()).unwrap();
    projection.with_weight(weight.index_select(&rows, 0).unwrap())
}

/// The GGUF order: i next to i + 16.
fn neighbours(_: usize, j: usize) -> usize {
    j / 2 + j % 2 * (HEAD_DIM / 2)
}

/// Swaps the first two rows of head 1 only.
fn one_head(head: usize, j: usize) -> usize {
    if head == 1 && j < 2 { 1 - j } else { j }
}

/// The outcome of checkpoint `id` if q's and k's rows are reordered in every layer and rotated with `layout`.
fn outcome_of(id: &str, from: fn(usize, usize) -> usize, layout: RopeLayout, path: Attention) -> Outcome {
    outcome_in(&["short"], id, from, layout, path)
}

fn outcome_in(
    cases: &[&str],
    id: &str,
    from: fn(usize, usize) -> usize,
    layout: RopeLayout,
    path: Attention,
) -> Outcome {
    bent(cases, id, Reordering { from, layers: &[0, 1, 2, 3], layout }, path, unbent())
}

/// How the rows of q and k are reordered, and how q and k are rotated.
#[derive(Clone, Copy)]
struct Reordering {
    from: fn(usize, usize) -> usize,
    layers: &'static [usize],
    layout: RopeLayout,
}

/// Like [`outcome_in`], for a port with these layers reordered and another modification.
fn bent(
    cases: &[&str],
    id: &str,
    Reordering { from, layers, layout }: Reordering,
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

const CONVENTION: Reordering =
    Reordering { from: neighbours, layers: &[0, 1, 2, 3], layout: RopeLayout::Interleaved };

/// It passes everywhere, with a note in the checkpoints that judge q or k.
#[rstest]
fn another_order_that_gives_the_same_scores_is_accepted_as_a_convention(
    #[values("01B", "02", "03", "04", "06", "07")] id: &str,
    #[values(Attention::Plain, Attention::Fused)] path: Attention,
) {
    let outcome = outcome_of(id, neighbours, RopeLayout::Interleaved, path);
    assert_eq!(outcome.status(), Status::Passed, "{:?}", wrong(&outcome));
    let how = "q and k rows are arranged as in GGUF, i next to i + head_dim/2; attention scores match, so this is accepted";
    let notes = outcome.notes.iter().filter(|note| note.starts_with("convention, ") && note.ends_with(how));
    assert_eq!(notes.count(), usize::from(["01B", "02"].contains(&id)), "{:?}", outcome.notes);
}

/// Once one case has shown it, it also holds in cases that cannot show it: of one token, or with only the
/// last rows stored.
#[rstest]
fn a_convention_found_in_one_case_holds_in_all(#[values("02", "01B")] id: &str) {
    let cases = ["single", "long", "short"];
    let outcome = outcome_in(&cases, id, neighbours, RopeLayout::Interleaved, Attention::Plain);
    assert_eq!((outcome.status(), outcome.notes.len()), (Status::Passed, 1), "{:?}", wrong(&outcome));
}

/// At position 0 nothing is rotated, so reordered rows give the same scores even without the matching
/// rotation.
#[test]
fn a_case_of_one_token_cannot_show_a_convention() {
    let outcome = outcome_in(&["single"], "02", neighbours, RopeLayout::HalfSplit, Attention::Plain);
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
    let outcome = outcome_of(id, from, layout, Attention::Plain);
    // q and k of four layers fail; v is correct.
    assert_eq!((outcome.status(), outcome.failures().count()), (Status::Failed, 8));
    assert_eq!(outcome.notes, [] as [&str; 0]);
    let named: Vec<&str> = outcome.named().iter().map(|named| named.mistake).collect();
    assert_eq!(named, mistakes);
}

/// If only some layers are reordered, scores match in some layers at most.
#[rstest]
#[case::the_first(&[0])]
#[case::a_later_one(&[2])]
fn reordering_only_one_layer_is_a_mistake(#[case] layers: &'static [usize]) {
    let reordering = Reordering { from: neighbours, layers, layout: RopeLayout::HalfSplit };
    let outcome = bent(&["short"], "02", reordering, Attention::Plain, unbent());
    assert_eq!((outcome.failures().count(), outcome.notes.len()), (2, 0), "{:?}", wrong(&outcome));
}

/// A mistake after the scores belongs to another checkpoint.
#[test]
fn a_mistake_elsewhere_does_not_hide_a_convention() {
    let bend = at("model.layers.0.mlp.down_proj", |down| Ok(Some((down * 1.5)?)));
    let outcome = bent(&["short"], "02", CONVENTION, Attention::Plain, bend);
    assert_eq!((outcome.status(), outcome.notes.len()), (Status::Passed, 1), "{:?}", wrong(&outcome));
}

/// The scores must have been compared: a port that does not hand them over gets no convention accepted.
#[test]
fn without_scores_a_reordering_is_a_mistake() {
    let bend = |site: Site, tensor| Ok(Some(tensor).filter(|_| site.kind != Kind::Scores));
    let outcome = bent(&["short"], "02", CONVENTION, Attention::Plain, Box::new(bend));
    assert_eq!((outcome.failures().count(), outcome.notes.len()), (8, 0), "{:?}", wrong(&outcome));
}

/// If q and k match in one case, a mistake in another case is not an order.
#[test]
fn a_mistake_in_one_case_is_not_a_convention() {
    let bend =
        at("model.layers.1.self_attn.q_proj", |q| Ok(Some(if q.dims()[0] > 1 { (q * 1.5)? } else { q })));
    let sound = Reordering { layers: &[], layout: RopeLayout::HalfSplit, ..CONVENTION };
    let outcome = bent(&["short", "batch-left"], "02", sound, Attention::Plain, bend);
    assert_eq!((outcome.failures().count(), outcome.notes.len()), (1, 0), "{:?}", outcome.notes);
}

#[rstest]
#[case::the_reference_order(&[0, 1, 2, 3], None)]
#[case::of_gguf(&[0, 2, 1, 3], Some(Layout::Interleaved { head_dim: 4 }))]
#[case::its_own(&[1, 0, 2, 3], Some(Layout::Permuted([1, 0, 2, 3].into())))]
#[case::a_repeated_column(&[1, 0, 0, 2], None)]
fn a_permutation_of_columns_is_a_layout(#[case] columns: &[usize], #[case] want: Option<Layout>) {
    assert_eq!(named(columns.to_vec()), want);
}

/// The search for an order must not fail with an error on tensors that have another width.
#[test]
fn a_q_of_another_width_has_no_order() {
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
