//! Scores: masked by a finite number, or recorded before the mask or the scale.

use candle_core::{D, Device, Tensor};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use rbees_check::plants::{self, Correct};
use rbees_check::port::LlamaPort;
use rstest::rstest;

use crate::alter::{only, site, values, without};
use crate::recorded::{Arrays, Recorded, ids, input_of, pass_over, remade, short, with_ids};
use crate::run::{fails, is_recognised, is_stated, is_undecided, run};

/// The recording with the scores of later tokens replaced.
fn masked(arrays: Arrays, mask: impl Fn(usize, usize, f32) -> f32) -> Arrays {
    values(
        arrays,
        |site, query, key, score| {
            if site.ends_with(".scores") && key > query { mask(query, key, score) } else { score }
        },
    )
}

#[rstest]
#[case(-1e9, "-1e9")]
#[case(-1e4, "-10000")]
#[case(-65504.0, "-65504")]
#[case(-1e30, "-1e30")]
#[case(-150.0, "-150")]
fn a_finite_mask_is_recognised(#[case] value: f32, #[case] written: &str) {
    let what = format!("masked scores are {written} instead of -inf");
    is_recognised(&masked(short(), |_, _, _| value), &what, &format!("\"mask_value\": \"{written}\""));
}

#[test]
fn a_mask_that_is_added_to_the_scores_is_recognised() {
    let all = raw(&short(), true, false);
    let added = values(
        all,
        |site, query, key, score| {
            if site.ends_with(".scores") && key > query { score - 1e4 } else { score }
        },
    );
    is_recognised(&added, "masked scores are -10000 instead of -inf", "\"mask_value\": \"-10000\"");
}

#[test]
fn a_finite_mask_of_later_tokens_and_padding_is_recognised() {
    let case = models::fixture("tiny-llama").unwrap().case("batch-left").unwrap();
    let model = models::open("tiny-llama").unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, candle_core::DType::F32, Attention::Plain).unwrap();
    let arrays = pass_over(&mut LlamaPort::new(llama), &input_of(&case), &case);
    let finite =
        values(
            arrays,
            |site, _, _, score| {
                if site.ends_with(".scores") && score == f32::NEG_INFINITY { -1e9 } else { score }
            },
        );
    is_recognised(&finite, "masked scores are -1e9 instead of -inf", "\"mask_value\": \"-1e9\"");
}

/// e^−20 is not 0.
#[rstest]
fn a_mask_that_leaves_masked_keys_a_weight_fails_and_is_named(#[values(-20.0, -80.0)] value: f32) {
    let mask = move |scores: &Tensor| {
        let hidden = scores.eq(f32::NEG_INFINITY).unwrap();
        hidden.where_cond(
            &Tensor::new(value, &Device::Cpu).unwrap().broadcast_as(scores.shape()).unwrap(),
            scores,
        )
    };
    let arrays = remade(&Input::single(&ids("short"), 0), |site, tensor, _| {
        site.to_string().ends_with(".scores").then(|| mask(tensor).unwrap())
    });
    fails(&run(&arrays), &["03"], &["mask-value"]);
}

/// The mask is right, but it is applied to too few keys.
#[test]
fn a_finite_mask_that_hides_too_little_fails() {
    let arrays = remade(&Input::single(&ids("short"), 0), |site, tensor, so_far| {
        site.to_string().ends_with(".scores").then(|| {
            let layer = usize::from(site.layer.unwrap());
            let all = products(so_far, layer, true).unwrap();
            let late = |n: usize| n % 13 > n / 13 % 13 + 1;
            let all: Vec<f32> = all.flatten_all().unwrap().to_vec1().unwrap();
            let masked = all.into_iter().enumerate().map(|(n, score)| if late(n) { -1e9 } else { score });
            Tensor::from_vec(masked.collect::<Vec<f32>>(), tensor.shape(), &Device::Cpu).unwrap()
        })
    });
    let run = run(&arrays);
    assert_eq!((run.code, run.failed()), (1, vec!["03", "07"]), "{}", run.text);
}

/// q kᵀ of a layer, scaled if asked, without a mask: `[1, heads, s, s]`.
fn products(arrays: &Arrays, layer: usize, scaled: bool) -> candle_core::Result<Tensor> {
    let (q, k) = (&arrays[&site(layer, "self_attn.q_rope")], &arrays[&site(layer, "self_attn.k_rope")]);
    let (_, heads, s, d) = q.dims4()?;
    let kv_heads = k.dim(1)?;
    let k = k.unsqueeze(2)?.broadcast_as((1, kv_heads, heads / kv_heads, s, d))?.reshape((1, heads, s, d))?;
    let products = q.contiguous()?.matmul(&k.transpose(D::Minus1, D::Minus2)?.contiguous()?)?;
    if scaled { products / (d as f64).sqrt() } else { Ok(products) }
}

/// The recording with scores from before the mask, the scale, or both.
fn raw(arrays: &Arrays, scaled: bool, masked: bool) -> Arrays {
    let mut raw = arrays.clone();
    for layer in 0..4 {
        raw.insert(site(layer, "self_attn.scores"), products(arrays, layer, scaled).unwrap());
    }
    if !masked {
        return raw;
    }
    values(
        raw,
        |site, query, key, score| {
            if site.ends_with(".scores") && key > query { f32::NEG_INFINITY } else { score }
        },
    )
}

#[rstest]
#[case::mask(true, false, "the mask", "unmasked")]
#[case::scale(false, true, "the scale", "unscaled")]
#[case::both(false, false, "scale and mask", "unmasked, unscaled")]
fn scores_from_before_the_mask_or_scale_are_recognised_by_what_was_computed_from_them(
    #[case] scaled: bool,
    #[case] masked: bool,
    #[case] before: &str,
    #[case] stated: &str,
    #[values("probs", "context", "o_proj")] consumer: &str,
) {
    let missing: &[&str] = match consumer {
        "probs" => &[],
        "context" => &[".probs"],
        _ => &[".probs", ".context"],
    };
    is_recognised(
        &without(raw(&short(), scaled, masked), missing),
        &format!("scores were recorded before {before}, as model.layers.0.self_attn.{consumer} shows"),
        &format!("\"scores\": \"{stated}\""),
    );
}

/// The whole pass of a port with a planted mistake.
fn planted(name: &str) -> Arrays {
    let model = models::open("tiny-llama").unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, candle_core::DType::F32, Attention::Plain).unwrap();
    let mut port =
        (plants::find(name).unwrap().make)(&Correct { model: &model, llama: &llama }).unwrap().port;
    let mut recorded = Recorded::default();
    port.begin();
    port.forward(&Input::single(&ids("short"), 0), &mut recorded).unwrap();
    with_ids(recorded.0, &ids("short"))
}

#[rstest]
#[case::probs(&[])]
#[case::context(&[".probs"])]
fn a_port_that_applies_no_mask_fails_and_is_named(#[case] missing: &[&str]) {
    fails(&run(&without(planted("mask-missing"), missing)), &["03"], &["mask-missing"]);
}

#[test]
fn a_port_that_does_not_scale_fails_and_is_named() {
    let unscaled = remade(&Input::single(&ids("short"), 0), |site, tensor, _| {
        site.to_string().ends_with(".scores").then(|| (tensor * 32f64.sqrt()).unwrap())
    });
    fails(&run(&unscaled), &["03"], &["attention-scale"]);
}

/// Scores from before the mask with a wrong head map: only the head map is a mistake.
#[test]
fn another_mistake_in_scores_from_before_the_mask_is_named() {
    let mut arrays = planted("head-map");
    let scores: Vec<(String, Tensor)> = arrays
        .iter()
        .filter(|(site, _)| site.ends_with(".scores"))
        .map(|(s, t)| (s.clone(), t.clone()))
        .collect();
    for (site, scores) in scores {
        // Any number stands for a score that the mask hides later.
        let hidden = scores.eq(f32::NEG_INFINITY).unwrap();
        let visible = hidden.where_cond(&scores.zeros_like().unwrap(), &scores).unwrap();
        arrays.insert(site, visible);
    }
    let run = run(&arrays);
    assert_eq!((run.named(), run.code), (vec!["head-map"], 1), "{}", run.text);
}

#[test]
fn scores_alone_do_not_show_whether_the_port_applies_a_mask() {
    let alone =
        only(raw(&short(), true, false), &["0.self_attn.q_rope", "0.self_attn.k_rope", "0.self_attn.scores"]);
    is_undecided(
        &alone,
        "model.layers.0.self_attn.scores was recorded before the mask, or the port never applies it",
        "record model.layers.0.self_attn.probs too; or, if the scores were recorded before the mask, state it: \"scores\": \"unmasked\" in the metadata",
    );
    is_stated(&alone, &[("scores", "unmasked")]);
}

#[rstest]
#[case("scores", "raw", "unknown scores `raw` in the metadata: use unmasked, unscaled or both")]
#[case("mask_value", "low", "mask_value in the metadata must be a negative number, for example -1e9")]
#[case("residual", "added", "unknown residual `added` in the metadata: use apart")]
#[case("hidden_states", "all", "unknown hidden_states `all` in the metadata: use inputs, normed or both")]
#[case(
    "saved_as",
    "f8",
    "unknown saved_as `f8` in the metadata: use bf16, f16, `bf16 truncated` or `f16 truncated`"
)]
#[case("cached", "some", "cached in the metadata is not one number, or one for each row")]
fn metadata_with_an_unknown_value_is_refused(#[case] key: &str, #[case] value: &str, #[case] error: &str) {
    let run = crate::run::stating(&short(), &[(key, value)]);
    assert_eq!(run.code, 2, "{}", run.text);
    assert!(run.text.contains(error), "{}", run.text);
}
