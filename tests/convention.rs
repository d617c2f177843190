//! Two correct ports may store the elements of a head in different orders. Unpermuted weights together with
//! the rotation that matches them are a convention. Either of the two without the other is a mistake.

#[allow(dead_code, reason = "each test file alters some of it")]
mod altered;

use std::collections::BTreeMap;

use altered::{Altered, Instead, judged, llama, named, nothing, tiny, unaltered};
use candle_core::{D, Tensor};
use proptest::prelude::*;
use rbees_check::Result;
use rbees_check::judge::{Outcome, Status};
use rbees_check::model::{Attention, Projection};
use rbees_check::probe::{Kind, Site};
use rstest::rstest;

const HEAD_DIM: usize = 32;

/// `projection`, `[heads * 32, in]`, with row `j` of each head replaced by row `from(j)` of that head.
fn reordered(projection: &Projection, from: impl Fn(usize) -> usize) -> Projection {
    let weight = projection.floats().unwrap();
    let rows: Vec<u32> =
        (0..weight.dims()[0]).map(|j| (j / HEAD_DIM * HEAD_DIM + from(j % HEAD_DIM)) as u32).collect();
    let rows = Tensor::new(rows, weight.device()).unwrap();
    projection.with_weight(weight.index_select(&rows, 0).unwrap())
}

fn notes(outcomes: &[Outcome]) -> String {
    outcomes.iter().flat_map(|outcome| &outcome.notes).cloned().collect::<Vec<_>>().join("\n")
}

/// An order that no file format uses.
fn scrambled(j: usize) -> usize {
    (5 * j + 3) % HEAD_DIM
}

/// Reorders the last axis of `x` within each head: entry `j` becomes entry `from(j)`.
fn heads_in(x: &Tensor, from: impl Fn(usize) -> usize) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    let order: Vec<u32> = (0..width).map(|j| (j / HEAD_DIM * HEAD_DIM + from(j % HEAD_DIM)) as u32).collect();
    Ok(x.contiguous()?.index_select(&Tensor::new(order, x.device())?, D::Minus1)?)
}

/// Scrambles q, k and their rotations. The rotation is recomputed from the scrambled q or k in `seen`.
fn scrambles(site: Site, x: &Tensor, seen: &BTreeMap<Site, Tensor>) -> Result<Option<Tensor>> {
    let from = match site.kind {
        Kind::QProj | Kind::KProj => return Ok(Some(heads_in(x, scrambled)?)),
        Kind::QRope => Kind::QProj,
        Kind::KRope => Kind::KProj,
        _ => return Ok(None),
    };
    let right = |j: usize| (0..HEAD_DIM).find(|&i| scrambled(i) == j).unwrap();
    let x = heads_in(&seen[&Site { kind: from, ..site }], right)?; // [b, s, heads * 32]
    let (b, s, width) = x.dims3()?;
    let x = x.reshape((b, s, width / HEAD_DIM, HEAD_DIM))?.transpose(1, 2)?.contiguous()?;
    let angles = (0..s).flat_map(|p| (0..16).map(move |i| p as f64 * 3e4f64.powf(-f64::from(i) / 16.0)));
    let (sin, cos): (Vec<f32>, Vec<f32>) = angles.map(|a| (a.sin() as f32, a.cos() as f32)).unzip();
    let table = |values| Tensor::from_vec(values, (s, 16), x.device());
    let turned = candle_nn::rotary_emb::rope(&x, &table(cos)?, &table(sin)?)?;
    Ok(Some(heads_in(&turned, scrambled)?))
}

/// As [`scrambles`], but leaves the keys in order, so that their products with the queries are wrong.
fn scrambles_queries(site: Site, x: &Tensor, seen: &BTreeMap<Site, Tensor>) -> Result<Option<Tensor>> {
    match site.kind {
        Kind::QProj | Kind::QRope => scrambles(site, x, seen),
        _ => Ok(None),
    }
}

#[rstest]
#[case::queries_and_keys(scrambles, Status::Passed)]
#[case::queries_only(scrambles_queries, Status::Failed)]
fn an_order_shared_by_queries_and_keys_passes_and_an_unshared_order_fails(
    #[case] before: Instead,
    #[case] status: Status,
) {
    let model = tiny();
    let port = Altered { before, behind: nothing, ..unaltered(llama(&model, Attention::Plain)) };
    let outcomes = judged(&model, port, &["01B", "02"]);
    assert!(outcomes.iter().all(|outcome| outcome.status() == status), "{}", notes(&outcomes));
    assert_eq!(
        notes(&outcomes).contains("(element 0 is at "),
        status == Status::Passed,
        "{}",
        notes(&outcomes)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_exact_row_permutation_of_q_proj_is_reported(
        order in Just((0..HEAD_DIM).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let first = (0..HEAD_DIM).find(|&j| order[j] != j);
        prop_assume!(first.is_some());
        let (first, model) = (first.unwrap(), tiny());
        let mut llama = llama(&model, Attention::Plain);
        for block in &mut llama.layers {
            block.self_attn.q_proj = reordered(&block.self_attn.q_proj, |j| order[j]);
        }
        let outcomes = judged(&model, unaltered(llama), &["02"]);
        prop_assert_eq!(named(&outcomes), ["unpermuted-qk"]);
        let says = outcomes[0].named()[0].says.clone();
        let moved = 6 * (0..HEAD_DIM).filter(|&j| order[j] != j).count();
        let expected = format!(
            "{moved} of 192 rows are moved, your row {first} is the reference's row {}",
            order[first],
        );
        prop_assert!(says.ends_with(&expected), "{says}: {expected}");
    }
}
