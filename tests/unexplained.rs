//! Mistakes that are not in the catalogue must be caught. They are identified from the tensors, or stay
//! unexplained, because a wrong explanation is worse than none. If there are two known mistakes, both must be named. A correct port must get no
//! suspects.

mod altered;

use std::collections::BTreeMap;

use altered::{Altered, Instead, judged, llama, named, nothing, tiny, unaltered};
use candle_core::{D, Tensor};
use rbees_check::Result;
use rbees_check::judge::{Outcome, Status};
use rbees_check::model::Attention;
use rbees_check::probe::{Kind, Site};
use rbees_check::weights::RopeLayout;
use rstest::rstest;

const ALL: &[&str] = &["00", "00B", "01", "01B", "02", "03", "04", "05", "06", "07", "08", "09"];

/// The tensors that the port handed over earlier in the same pass.
type EarlierTensors = BTreeMap<Site, Tensor>;

fn beside(earlier: &EarlierTensors, site: Site, kind: Kind) -> Tensor {
    earlier[&Site { kind, ..site }].clone()
}

/// Rotates q or k with sin and cos exchanged: x · sin + rotated(x) · cos, `[b, heads, s, d]`.
fn sin_for_cos(site: Site, _: &Tensor, earlier: &EarlierTensors) -> Result<Option<Tensor>> {
    let from = match site.kind {
        Kind::QRope => Kind::QProj,
        Kind::KRope => Kind::KProj,
        _ => return Ok(None),
    };
    Ok(Some(rotated(&beside(earlier, site, from), |angle| (angle.cos(), angle.sin()))?))
}

/// `[b, s, heads * 32]` → `[b, heads, s, 32]`, rotated by (sin, cos) of the angles at θ = 3e4.
fn rotated(x: &Tensor, sin_cos: fn(f64) -> (f64, f64)) -> Result<Tensor> {
    let (b, s, width) = x.dims3()?;
    let x = x.reshape((b, s, width / 32, 32))?.transpose(1, 2)?;
    let angles = (0..s).flat_map(|p| (0..16).map(move |i| p as f64 * 3e4f64.powf(-f64::from(i) / 16.0)));
    let (sin, cos): (Vec<f32>, Vec<f32>) =
        angles.map(sin_cos).map(|(sin, cos)| (sin as f32, cos as f32)).unzip();
    let table = |values| Tensor::from_vec(values, (s, 16), x.device());
    Ok(candle_nn::rotary_emb::rope(&x.contiguous()?, &table(cos)?, &table(sin)?)?)
}

fn residual_twice(site: Site, x: &Tensor, earlier: &EarlierTensors) -> Result<Option<Tensor>> {
    Ok(match site.kind {
        Kind::Block => Some((x + beside(earlier, site, Kind::PostNormInput))?),
        _ => None,
    })
}

fn softmax_over_queries(site: Site, _: &Tensor, earlier: &EarlierTensors) -> Result<Option<Tensor>> {
    Ok(match site.kind {
        Kind::Probs => Some(candle_nn::ops::softmax(&beside(earlier, site, Kind::Scores), D::Minus2)?),
        _ => None,
    })
}

fn embedding_scaled(site: Site, x: &Tensor, _: &EarlierTensors) -> Result<Option<Tensor>> {
    Ok(if site.kind == Kind::Embed { Some((x * 128f64.sqrt())?) } else { None })
}

fn values_rotated(site: Site, v: &Tensor, _: &EarlierTensors) -> Result<Option<Tensor>> {
    Ok(match site.kind {
        Kind::VProj => Some(rotated(v, f64::sin_cos)?.transpose(1, 2)?.contiguous()?.reshape(v.shape())?),
        _ => None,
    })
}

fn gelu(site: Site, _: &Tensor, earlier: &EarlierTensors) -> Result<Option<Tensor>> {
    Ok(match site.kind {
        Kind::Act => Some((beside(earlier, site, Kind::Gate).gelu_erf()? * beside(earlier, site, Kind::Up))?),
        _ => None,
    })
}

fn weight_before_norm(site: Site, x: &Tensor, _: &EarlierTensors) -> Result<Option<Tensor>> {
    // A norm over each half of the row, like a per-head norm.
    let halves = |x: &Tensor| -> Result<Tensor> {
        let (b, s, width) = x.dims3()?;
        let x = x.reshape((b, s, 2, width / 2))?;
        let divisor = (x.sqr()?.mean_keepdim(D::Minus1)? + 3e-5)?.sqrt()?;
        Ok(x.broadcast_div(&divisor)?.reshape((b, s, width))?)
    };
    Ok(if site.kind == Kind::PostNorm { Some(halves(x)?) } else { None })
}

/// Makes values infinite above a limit that is not float16's. Values below it are not rounded to float16.
fn infinite_past_a_limit(site: Site, x: &Tensor, _: &EarlierTensors) -> Result<Option<Tensor>> {
    if site.kind != Kind::Down {
        return Ok(None);
    }
    let limit: f32 = x.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()? * 0.7;
    let sign = x.sign()?;
    Ok(Some(x.abs()?.gt(limit)?.where_cond(&(sign * f64::INFINITY)?, x)?))
}

/// Makes values infinite above float16's limit, and rounds values below it to float16.
fn infinite_past_65504(site: Site, x: &Tensor, _: &EarlierTensors) -> Result<Option<Tensor>> {
    if site.kind != Kind::Down {
        return Ok(None);
    }
    let scale = 65504.0 / (f64::from(x.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?) * 0.7);
    let half = (x * scale)?.to_dtype(candle_core::DType::F16)?;
    Ok(Some((half.to_dtype(candle_core::DType::F32)? / scale)?))
}

#[test]
fn an_overflow_at_65504_is_named_as_a_float16_overflow() {
    let model = tiny();
    let port = Altered { before: infinite_past_65504, ..unaltered(llama(&model, Attention::Plain)) };
    let outcomes = judged(&model, port, &["05"]);
    assert_eq!(named(&outcomes), ["f16-overflow"]);
    let says = &outcomes[0].named()[0].says;
    assert!(says.contains("your scaling maps 65504, the largest float16 number, to "), "{says}");
}

#[rstest]
#[case::infinite_above_another_limit(infinite_past_a_limit, nothing, "05")]
#[case::norm_by_halves(weight_before_norm, nothing, "01")]
fn a_mistake_that_no_deviation_reproduces_is_caught_and_unexplained(
    #[case] before: Instead,
    #[case] behind: Instead,
    #[case] id: &str,
) {
    assert_eq!(named(&caught(before, behind, id)), [""; 0]);
}

/// No row of the catalogue describes these mistakes: the operation's inputs and its result do.
#[rstest]
#[case::sin_and_cos_exchanged(sin_for_cos, nothing, "01B", "rope-tables", "use the sine for the cosine")]
#[case::residual_added_twice(residual_twice, nothing, "06", "residual-sum", "2 · the residual stream")]
#[case::softmax_over_the_queries(softmax_over_queries, nothing, "03", "softmax-form", "over the queries")]
#[case::embedding_scaled(embedding_scaled, nothing, "00B", "output-scaled", "you multiply the embedding by")]
#[case::values_rotated_too(nothing, values_rotated, "03", "context-form", "you rotate the values too")]
#[case::gelu_for_silu(gelu, nothing, "05", "activation-function", "you use GELU")]
fn an_uncatalogued_mistake_is_identified(
    #[case] before: Instead,
    #[case] behind: Instead,
    #[case] id: &str,
    #[case] name: &str,
    #[case] says: &str,
) {
    let outcomes = caught(before, behind, id);
    assert_eq!(named(&outcomes), [name]);
    let named = outcomes[0].named();
    assert!(named[0].says.contains(says), "{}", named[0].says);
}

/// The outcomes of a checkpoint that a port with a mistake fails.
fn caught(before: Instead, behind: Instead, id: &str) -> Vec<Outcome> {
    let model = tiny();
    let port = Altered { before, behind, ..unaltered(llama(&model, Attention::Plain)) };
    let outcomes = judged(&model, port, &[id]);
    assert_eq!(outcomes[0].status(), Status::Failed);
    outcomes
}

#[test]
fn the_weights_of_two_exchanged_layers_are_identified() {
    let model = tiny();
    let mut llama = llama(&model, Attention::Plain);
    llama.layers.swap(1, 2);
    let outcomes = judged(&model, unaltered(llama), &["01", "02", "03", "05", "06"]);
    assert!(outcomes.iter().all(|outcome| outcome.status() == Status::Failed));
    assert_eq!(named(&outcomes), ["norm-weight", "other-matrix"]);
    assert!(outcomes[0].named()[0].says.contains("model.layers.2.input_layernorm"));
}

#[test]
fn two_mistakes_in_one_operation_are_both_named() {
    let model = tiny();
    let mut llama = llama(&model, Attention::Plain);
    llama.rope.layout = RopeLayout::Interleaved;
    llama.rope.frequencies = (0..16).map(|i| 1e4f64.powf(-f64::from(i) / 16.0)).collect();
    let outcomes = judged(&model, unaltered(llama), &["01B"]);
    assert_eq!(named(&outcomes), ["rope-pairing", "rope-theta"]);
}

#[test]
fn mistakes_in_two_operations_are_both_named() {
    let model = tiny();
    let mut llama = llama(&model, Attention::Fused);
    llama.layers[0].input_layernorm.eps = 1e-6;
    llama.rope.layout = RopeLayout::Interleaved;
    let outcomes = judged(&model, unaltered(llama), &["01", "01B"]);
    assert_eq!(named(&outcomes), ["norm-eps", "rope-pairing"]);
}

#[test]
fn different_mistakes_of_one_operation_in_two_layers_are_both_named() {
    let model = tiny();
    let mut llama = llama(&model, Attention::Plain);
    llama.layers[0].input_layernorm.eps = 1e-6;
    let weight = &mut llama.layers[2].input_layernorm.weight;
    *weight = (&*weight + 1.0).unwrap();
    let outcomes = judged(&model, unaltered(llama), &["01"]);
    assert_eq!(named(&outcomes), ["norm-eps", "norm-plus-one"]);
}

#[test]
fn a_wrong_eps_and_swapped_gate_and_up_are_both_named() {
    let model = tiny();
    let mut llama = llama(&model, Attention::Plain);
    for block in &mut llama.layers {
        block.input_layernorm.eps = 1e-6;
        std::mem::swap(&mut block.mlp.gate_proj, &mut block.mlp.up_proj);
    }
    let outcomes = judged(&model, unaltered(llama), &["01", "05"]);
    assert_eq!(named(&outcomes), ["norm-eps", "gate-up-swapped"]);
}

#[rstest]
fn a_correct_port_passes_every_checkpoint_without_suspects(
    #[values(Attention::Plain, Attention::Fused)] path: Attention,
) {
    let model = tiny();
    let outcomes = judged(&model, unaltered(llama(&model, path)), ALL);
    for outcome in &outcomes {
        assert_eq!(outcome.status(), Status::Passed, "{}", outcome.checkpoint.id);
        assert!(outcome.findings.iter().all(|finding| finding.explained.is_none()));
    }
}
