//! Mistakes that only some models invite: in the scaling of a rotation, in biases, and in what differs between families. Each is made in a correct
//! port; the checkpoint of its stage must fail, and the message must say what the port does.

#[allow(dead_code, reason = "other tests use all of it")]
mod altered;

use std::collections::BTreeMap;

use altered::{Altered, Instead, unaltered};
use candle_core::{DType, Device, Tensor};
use rbees_check::judge::{self, LlamaPort, Outcome, Status, Subject};
use rbees_check::model::{Attention, Block, Llama, Norm};
use rbees_check::probe::{Kind, Site};
use rbees_check::weights::{Activation, Config, LayerType, RopeLayout, RopeScaling};
use rbees_check::{Result, checkpoints, models};
use rstest::rstest;

/// The outcome of checkpoint `id` for a port of `model` that `mistake` was made in.
fn outcome(model: &str, dtype: DType, id: &str, mistake: fn(&mut Llama)) -> Outcome {
    outcome_on(Attention::Plain, model, dtype, id, mistake)
}

/// [`outcome`] on an attention path.
fn outcome_on(path: Attention, model: &str, dtype: DType, id: &str, mistake: fn(&mut Llama)) -> Outcome {
    let model = models::open(model).unwrap();
    let cases = ["short".to_owned(), "long".to_owned()];
    let mut subject = Subject::new(&model, &cases, &Device::Cpu, dtype, &[] as &[Attention]).unwrap();
    let mut llama = Llama::load(&model.weights, &Device::Cpu, dtype, path).unwrap();
    mistake(&mut llama);
    subject.ports = vec![Box::new(LlamaPort::new(llama))];
    judge::run(&mut subject, checkpoints::find(id).unwrap()).unwrap()
}

/// The mistakes named by an outcome, with what is said about them, without repeats.
fn named(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut all: Vec<_> =
        outcome.named().into_iter().map(|named| (named.mistake, named.says.clone())).collect();
    all.sort();
    all.dedup();
    all
}

/// Asserts that checkpoint `id` fails, and that only `mistake` is named, with `says` in every message.
fn assert_named(outcome: &Outcome, mistake: &str, says: &str) {
    assert_eq!(outcome.status(), Status::Failed);
    let named = named(outcome);
    assert!(!named.is_empty(), "nothing is named");
    for (name, text) in named {
        assert!(name == mistake && text.contains(says), "{name}: {text}");
    }
}

/// Rotates with the frequencies of another config.
fn rotate_as(llama: &mut Llama, scaling: RopeScaling) {
    llama.rope.frequencies = Config { rope_scaling: scaling, ..llama.config.clone() }.frequencies();
}

/// Llama 3's scaling with another factor and original context.
fn llama3(factor: f64, original: usize) -> RopeScaling {
    RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: original,
    }
}

/// A factor of 8 for some pairs of tiny-llama3. Pairs 0 and 1 are fast, 2 and 3 are blended, the others slow.
fn scaled_if(scaled: fn(usize) -> bool) -> RopeScaling {
    RopeScaling::PerPair { factors: (0..12).map(|pair| if scaled(pair) { 8.0 } else { 1.0 }).collect() }
}

#[rstest]
#[case::ignored("tiny-llama3", |llama: &mut Llama| rotate_as(llama, RopeScaling::None), "you ignore the config's rope scaling")]
#[case::every_pair("tiny-llama3", |llama: &mut Llama| rotate_as(llama, RopeScaling::Linear { factor: 8.0 }), "you divide every frequency by 8")]
#[case::fast_pairs("tiny-llama3", |llama: &mut Llama| rotate_as(llama, scaled_if(|pair| pair < 2)), "you scale the fast pairs and keep the slow ones")]
#[case::blended_pairs_kept("tiny-llama3", |llama: &mut Llama| rotate_as(llama, scaled_if(|pair| pair >= 4)), "you do not blend the pairs between low_freq_factor and high_freq_factor: you keep them")]
#[case::blended_pairs_scaled("tiny-llama3", |llama: &mut Llama| rotate_as(llama, scaled_if(|pair| pair >= 2)), "you do not blend the pairs between low_freq_factor and high_freq_factor: you scale them")]
#[case::another_factor("tiny-llama3", |llama: &mut Llama| rotate_as(llama, llama3(32.0, 64)), "you scale frequencies by 1/32; the config's factor is 8")]
#[case::the_default_context("tiny-llama3", |llama: &mut Llama| rotate_as(llama, llama3(8.0, 8192)), "you use 8192 as the original context of the rope scaling; it is 64")]
#[case::the_whole_context("tiny-llama3", |llama: &mut Llama| rotate_as(llama, llama3(8.0, 512)), "you use 512 as the original context of the rope scaling; it is 64")]
#[case::reversed_pairs("tiny-llama3", |llama: &mut Llama| {
    let own = llama.rope.frequencies.clone();
    rotate_as(llama, RopeScaling::None);
    let base = llama.rope.frequencies.clone();
    let last = own.len() - 1;
    llama.rope.frequencies = (0..=last).map(|pair| base[pair] * own[last - pair] / base[last - pair]).collect();
}, "to the pairs in reverse order")]
#[case::linear_ignored("tiny-linear", |llama: &mut Llama| rotate_as(llama, RopeScaling::None), "you ignore the config's rope scaling")]
#[case::linear_inverted("tiny-linear", |llama: &mut Llama| rotate_as(llama, RopeScaling::Linear { factor: 0.25 }), "you multiply frequencies by the factors of the rope scaling")]
#[case::another_linear_factor("tiny-linear", |llama: &mut Llama| rotate_as(llama, RopeScaling::Linear { factor: 8.0 }), "you scale frequencies by 1/8; the config's factor is 4")]
fn a_wrong_rope_scaling_is_named(#[case] model: &str, #[case] mistake: fn(&mut Llama), #[case] says: &str) {
    assert_named(&outcome(model, DType::F32, "01B", mistake), "rope-scaling", says);
}

#[rstest]
#[case::llama3("tiny-llama3")]
#[case::linear("tiny-linear")]
fn an_ignored_rope_scaling_is_named_in_half_precision(
    #[case] model: &str,
    #[values(DType::BF16, DType::F16)] dtype: DType,
) {
    let ignore = |llama: &mut Llama| rotate_as(llama, RopeScaling::None);
    assert_named(
        &outcome(model, dtype, "01B", ignore),
        "rope-scaling",
        "you ignore the config's rope scaling",
    );
}

#[rstest]
#[case::llama3("tiny-llama3")]
#[case::linear("tiny-linear")]
fn another_theta_is_named_beside_rope_scaling(#[case] model: &str) {
    let default = |llama: &mut Llama| {
        llama.rope.frequencies = Config { rope_theta: 1e4, ..llama.config.clone() }.frequencies();
    };
    assert_named(&outcome(model, DType::F32, "01B", default), "rope-theta", "you used θ = 10000");
}

#[rstest]
#[case::of_the_queries("02", |llama: &mut Llama| llama.layers[1].self_attn.q_proj.bias = None, "you do not add model.layers.1.self_attn.q_proj.bias")]
#[case::of_the_keys("02", |llama: &mut Llama| llama.layers[0].self_attn.k_proj.bias = None, "you do not add model.layers.0.self_attn.k_proj.bias")]
#[case::of_the_attention_output("03", |llama: &mut Llama| llama.layers[0].self_attn.o_proj.bias = None, "you do not add model.layers.0.self_attn.o_proj.bias")]
#[case::of_the_gate("05", |llama: &mut Llama| llama.layers[1].mlp.gate_proj.bias = None, "you do not add model.layers.1.mlp.gate_proj.bias")]
#[case::of_the_ffn_output("05", |llama: &mut Llama| llama.layers[0].mlp.down_proj.bias = None, "you do not add model.layers.0.mlp.down_proj.bias")]
fn a_dropped_bias_is_named_with_its_tensor(
    #[case] id: &str,
    #[case] mistake: fn(&mut Llama),
    #[case] says: &str,
    #[values(DType::F32, DType::BF16)] dtype: DType,
) {
    assert_named(&outcome("tiny-llama3", dtype, id, mistake), "bias-dropped", says);
}

#[rstest]
#[case::no_bias_of_the_values("02", |llama: &mut Llama| llama.layers[1].self_attn.v_proj.bias = None, "bias-dropped", "you do not add model.layers.1.self_attn.v_proj.bias")]
#[case::no_bias_of_the_queries("02", |llama: &mut Llama| llama.layers[0].self_attn.q_proj.bias = None, "bias-dropped", "you do not add model.layers.0.self_attn.q_proj.bias")]
#[case::pairs_of_a_gguf_llama("01B", |llama: &mut Llama| llama.rope.layout = RopeLayout::Interleaved, "rope-pairing", "")]
#[case::default_theta("01B", |llama: &mut Llama| llama.rope.frequencies = Config { rope_theta: 1e4, ..llama.config.clone() }.frequencies(), "rope-theta", "you used θ = 10000")]
fn a_mistake_in_qwen_2_is_named(
    #[case] id: &str,
    #[case] make: fn(&mut Llama),
    #[case] mistake: &str,
    #[case] says: &str,
    #[values(DType::F32, DType::BF16)] dtype: DType,
) {
    assert_named(&outcome("tiny-qwen2", dtype, id, make), mistake, says);
}

#[rstest]
#[case::one_key_more(|llama: &mut Llama| llama.window = Some(6), "you let a token see the last 6 tokens, itself included; the window is 5 (`sliding_window`, config.json)")]
#[case::one_key_less(|llama: &mut Llama| llama.window = Some(4), "you let a token see the last 4 tokens, itself included; the window is 5")]
#[case::no_window(|llama: &mut Llama| llama.window = None, "you let a token see all earlier tokens; the window is 5")]
fn a_wrong_window_is_named(
    #[case] mistake: fn(&mut Llama),
    #[case] says: &str,
    #[values(Attention::Plain, Attention::Fused)] path: Attention,
    #[values(DType::F32, DType::BF16)] dtype: DType,
) {
    assert_named(&outcome_on(path, "tiny-mistral", dtype, "03", mistake), "sliding-window", says);
}

/// The weight of a norm plus a number.
fn plus(norm: &mut Norm, more: f64) {
    norm.weight = (&norm.weight + more).unwrap();
}

fn each_norm(llama: &mut Llama, change: impl Fn(&mut Norm)) {
    llama.layers.iter_mut().flat_map(Block::norms).for_each(|(_, norm)| change(norm));
    change(&mut llama.norm);
}

#[rstest]
#[case::other_weight("02", |llama: &mut Llama| {
    let attention = &mut llama.layers[1].self_attn;
    attention.q_norm = attention.k_norm.clone();
}, "norm-weight", "you multiply by the weight of model.layers.1.self_attn.k_norm; multiply by the weight of q_norm")]
#[case::weight_not_loaded("02", |llama: &mut Llama| {
    let norm = llama.layers[0].self_attn.q_norm.as_mut().unwrap();
    norm.weight = norm.weight.ones_like().unwrap();
}, "absent-tensors", "your norm's weight is all ones: you never load it")]
#[case::pairs_of_a_gguf_llama("01B", |llama: &mut Llama| llama.rope.layout = RopeLayout::Interleaved, "rope-pairing", "")]
fn a_mistake_in_qwen_3_is_named(
    #[case] id: &str,
    #[case] make: fn(&mut Llama),
    #[case] mistake: &str,
    #[case] says: &str,
    #[values(DType::F32, DType::BF16)] dtype: DType,
) {
    assert_named(&outcome("tiny-qwen3", dtype, id, make), mistake, says);
}

/// A norm of q that is not each head's own: over the whole row, or after the rotation.
#[rstest]
#[case::of_the_whole_row(
    "02",
    whole_row,
    "norm-statistic",
    "you normalise the whole row of 120 in q_norm; normalise each head of 20 on its own"
)]
#[case::left_out("02", not_normed, "norm-skipped", "you do not apply q_norm: your tensor is its input")]
#[case::after_the_rotation(
    "01B",
    after_rotation,
    "norm-order",
    "you apply q_norm after the rotation of queries; apply it before"
)]
fn another_norm_of_the_queries_is_named(
    #[case] id: &str,
    #[case] before: Instead,
    #[case] mistake: &str,
    #[case] says: &str,
) {
    let model = models::open("tiny-qwen3").unwrap();
    let port = Altered { before, ..unaltered(altered::llama(&model, Attention::Plain)) };
    assert_named(&altered::judged(&model, port, &[id])[0], mistake, says);
}

fn query(site: Site, seen: &BTreeMap<Site, Tensor>, kind: Kind) -> Option<&Tensor> {
    seen.get(&Site { kind, ..site })
}

fn weight(site: Site) -> Tensor {
    let model = models::open("tiny-qwen3").unwrap();
    let name = format!("model.layers.{}.self_attn.q_norm.weight", site.layer.unwrap_or(0));
    model.weights.tensor(&name, DType::F32, &Device::Cpu).unwrap()
}

fn whole_row(site: Site, _: &Tensor, seen: &BTreeMap<Site, Tensor>) -> Result<Option<Tensor>> {
    let (Kind::QNorm, Some(x)) = (site.kind, query(site, seen, Kind::QProj)) else { return Ok(None) };
    let mean = x.sqr()?.mean_keepdim(2)?;
    let normed = x.broadcast_div(&(mean + 7e-6)?.sqrt()?)?;
    Ok(Some(normed.broadcast_mul(&weight(site).repeat(6)?)?))
}

fn not_normed(site: Site, _: &Tensor, seen: &BTreeMap<Site, Tensor>) -> Result<Option<Tensor>> {
    Ok(query(site, seen, Kind::QProj).filter(|_| site.kind == Kind::QNorm).cloned())
}

fn after_rotation(site: Site, _: &Tensor, seen: &BTreeMap<Site, Tensor>) -> Result<Option<Tensor>> {
    let (Kind::QRope, Some(normed)) = (site.kind, query(site, seen, Kind::QNorm)) else { return Ok(None) };
    let (b, s, _) = normed.dims3()?;
    let w = weight(site);
    let heads = normed.reshape((b, s, 6, 20))?.broadcast_div(&w)?.transpose(1, 2)?.contiguous()?;
    let model = models::open("tiny-qwen3").unwrap();
    let rope = altered::llama(&model, Attention::Plain).rope;
    let rotated = rope.at(&[(0..s).collect()], &Device::Cpu)?.apply(&heads)?;
    Ok(Some(rotated.broadcast_mul(&w)?))
}

#[rstest]
#[case::one_is_missing("01", |llama: &mut Llama| each_norm(llama, |norm| plus(norm, -1.0)), "norm-plus-one", "you multiply by w; the norms of this family multiply by 1 + w")]
#[case::one_is_added_twice("01", |llama: &mut Llama| each_norm(llama, |norm| plus(norm, 1.0)), "norm-plus-one", "you add the 1 twice")]
#[case::no_embedding_scale("00B", |llama: &mut Llama| llama.embedding_scale = None, "embedding-scale", "you do not scale the embedding; its factor is √hidden_size, 6.9282")]
#[case::no_score_cap("03", |llama: &mut Llama| {
    llama.layers.iter_mut().for_each(|block| block.self_attn.softcap = None);
}, "score-softcap", "you apply no softcap to the scores; theirs is 4")]
#[case::scale_of_head_dim("03", |llama: &mut Llama| {
    llama.layers.iter_mut().for_each(|block| block.self_attn.scale = 1.0 / 20f64.sqrt());
}, "attention-scale", "1/√head_dim; the scale should be 1/√12")]
#[case::window_in_the_other_layers("03", |llama: &mut Llama| {
    for block in &mut llama.layers {
        block.layer_type = match block.layer_type {
            LayerType::Full => LayerType::Sliding,
            LayerType::Sliding => LayerType::Full,
        };
    }
}, "sliding-window", "window")]
#[case::one_key_more("03", |llama: &mut Llama| llama.window = Some(6), "sliding-window", "you let a token see the last 6 tokens, itself included; the window is 5")]
fn a_mistake_in_gemma_2_is_named(
    #[case] id: &str,
    #[case] make: fn(&mut Llama),
    #[case] mistake: &str,
    #[case] says: &str,
    #[values(DType::F32, DType::BF16)] dtype: DType,
) {
    assert_named(&outcome("tiny-gemma2", dtype, id, make), mistake, says);
}

#[rstest]
#[case::one_theta("01B", |llama: &mut Llama| llama.local_rope = None, "rope-theta", "you rotate with the frequencies of layer 2, θ = 400000; in this layer, the config says θ = 20000 (`rope_local_base_freq`, config.json)")]
#[case::no_scaling("01B", |llama: &mut Llama| rotate_as(llama, RopeScaling::None), "rope-scaling", "you ignore the config's rope scaling")]
#[case::window_in_every_layer("03", |llama: &mut Llama| {
    llama.layers.iter_mut().for_each(|block| block.layer_type = LayerType::Sliding);
    llama.local_rope = None;
}, "sliding-window", "you let a token see only the last 5 tokens; this layer has no window (`layer_types`, config.json)")]
#[case::one_key_more("03", |llama: &mut Llama| llama.window = Some(6), "sliding-window", "you let a token see the last 6 tokens, itself included; the window is 5")]
#[case::one_is_missing_in_q_norm("02", |llama: &mut Llama| {
    llama.layers.iter_mut().for_each(|block| plus(block.self_attn.q_norm.as_mut().unwrap(), -1.0));
}, "norm-plus-one", "you multiply by w; the norms of this family multiply by 1 + w")]
fn a_mistake_in_gemma_3_is_named(
    #[case] id: &str,
    #[case] make: fn(&mut Llama),
    #[case] mistake: &str,
    #[case] says: &str,
    #[values(DType::F32, DType::BF16)] dtype: DType,
) {
    assert_named(&outcome("tiny-gemma3", dtype, id, make), mistake, says);
}

/// In bf16, these change a tensor by few budgets, and are not named.
#[rstest]
#[case::silu("tiny-gemma2", "05", |llama: &mut Llama| {
    llama.layers.iter_mut().for_each(|block| block.mlp.activation = Activation::Silu);
}, "activation-function", "you use SiLU as the activation of gate; it should be GELU's tanh approximation")]
#[case::epsilon("tiny-qwen3", "02", |llama: &mut Llama| {
    for block in &mut llama.layers {
        block.self_attn.k_norm.as_mut().unwrap().eps = 1e-2;
    }
}, "norm-eps", "the config says 7e-6")]
#[case::no_logit_cap("tiny-gemma2", "07", |llama: &mut Llama| llama.softcap = Some(f64::from(u32::MAX)), "logit-softcap", "you apply no softcap to the logits; their softcap is 14")]
#[case::scale_of_head_dim("tiny-gemma3", "03", |llama: &mut Llama| {
    llama.layers.iter_mut().for_each(|block| block.self_attn.scale = 1.0 / 18f64.sqrt());
}, "attention-scale", "the scale should be 1/√14")]
fn a_mistake_that_float32_shows_is_named(
    #[case] model: &str,
    #[case] id: &str,
    #[case] make: fn(&mut Llama),
    #[case] mistake: &str,
    #[case] says: &str,
) {
    assert_named(&outcome(model, DType::F32, id, make), mistake, says);
}
