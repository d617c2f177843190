//! Precision: half precision in f32 arrays, computed or only saved so; bits cut off; an activation that cancels.

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models;
use rbees_check::probe::Site;
use rstest::rstest;

use crate::alter::{only, site, values, without};
use crate::recorded::{Arrays, Recorded, ids, pass, remade, short, with_ids};
use crate::run::{fails, is_recognised, is_stated, is_undecided_without_weights, run, stating};

type Round = fn(f32) -> f32;

fn nearest(value: f32) -> f32 {
    bf16::from_f32(value).to_f32()
}

fn nearest_f16(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}

fn cut(value: f32) -> f32 {
    if value.is_finite() { f32::from_bits(value.to_bits() & 0xffff_0000) } else { value }
}

fn cut_f16(value: f32) -> f32 {
    let rounded = f16::from_f32(value);
    let beyond = rounded.to_f32().abs() > value.abs();
    if beyond && value.is_finite() {
        f16::from_bits(rounded.to_bits() - 1).to_f32()
    } else {
        rounded.to_f32()
    }
}

/// A pass in f32 whose values were converted when they were saved.
fn saved(round: Round) -> Arrays {
    values(short(), |_, _, _, value| round(value))
}

fn converted(tensor: &Tensor, round: Round) -> Tensor {
    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    let values: Vec<f32> = values.into_iter().map(round).collect();
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap()
}

/// A pass of a port that converts the result of every operation and continues with it.
fn computed(round: Round) -> Arrays {
    remade(&Input::single(&ids("short"), 0), |_, tensor, _| Some(converted(tensor, round)))
}

/// A pass in Candle's own half precision, widened to f32.
fn candle(dtype: DType) -> Arrays {
    let weights = models::open("tiny-llama").unwrap().weights;
    let llama = Llama::load(&weights, &Device::Cpu, dtype, Attention::Plain).unwrap();
    let mut recorded = Recorded::default();
    llama.forward(&Input::single(&ids("short"), 0), &mut llama.new_cache(), &mut recorded).unwrap();
    let widened = recorded.0.into_iter().map(|(site, tensor)| (site, tensor.to_dtype(DType::F32).unwrap()));
    with_ids(widened.collect(), &ids("short"))
}

#[rstest]
#[case::bf16(computed(nearest), "bf16")]
#[case::f16(computed(nearest_f16), "f16")]
#[case::candle_bf16(candle(DType::BF16), "bf16")]
#[case::candle_f16(candle(DType::F16), "f16")]
#[case::logits_in_f32(with_logits_of_f32(computed(nearest)), "bf16")]
fn half_precision_in_f32_arrays_is_recognised(#[case] arrays: Arrays, #[case] dtype: &str) {
    let what = format!("the port computes in {dtype}: every computed value is a {dtype} number");
    is_recognised(&arrays, &what, &format!("\"dtype\": \"{dtype}\""));
}

fn with_logits_of_f32(mut arrays: Arrays) -> Arrays {
    let weight = models::open("tiny-llama").unwrap().weights.canonical("model.embed_tokens.weight").unwrap();
    let logits = arrays["model.norm"].squeeze(0).unwrap().matmul(&weight.t().unwrap()).unwrap();
    arrays.insert("lm_head".into(), logits.unsqueeze(0).unwrap());
    arrays
}

#[rstest]
#[case::bf16(saved(nearest), "bf16")]
#[case::f16(saved(nearest_f16), "f16")]
#[case::bf16_truncated(saved(cut), "bf16 truncated")]
#[case::f16_truncated(saved(cut_f16), "f16 truncated")]
fn values_that_were_only_saved_in_half_precision_are_recognised(#[case] arrays: Arrays, #[case] saved: &str) {
    let dtype = saved.split(' ').next().unwrap();
    let what = format!(
        "values were computed in f32 and saved as {saved}: every one is a {dtype} number, but not the nearest to what its recorded inputs give"
    );
    is_recognised(&arrays, &what, &format!("\"dtype\": \"f32\", \"saved_as\": \"{saved}\""));
}

/// Stored as bf16, without metadata.
#[test]
fn values_that_were_stored_in_half_precision_are_recognised_too() {
    let stored = short().into_iter().map(|(site, tensor)| {
        let tensor =
            if tensor.dtype() == DType::F32 { tensor.to_dtype(DType::BF16).unwrap() } else { tensor };
        (site, tensor)
    });
    let what = "values were computed in f32 and saved as bf16: every one is a bf16 number, but not the nearest to what its recorded inputs give";
    is_recognised(&stored.collect(), what, "\"dtype\": \"f32\", \"saved_as\": \"bf16\"");
}

#[rstest]
fn half_precision_fails_if_the_metadata_say_f32(#[values(saved(nearest), computed(nearest))] arrays: Arrays) {
    let run = stating(&arrays, &[("dtype", "f32")]);
    assert_eq!((run.code, run.notes().len()), (1, 0), "{}", run.text);
}

/// One operation is rounded: the port computes in f32, with a mistake.
#[test]
fn a_port_in_f32_that_rounds_one_operation_fails() {
    let arrays = remade(&Input::single(&ids("short"), 0), |site, tensor, _| {
        site.to_string().ends_with("up_proj").then(|| converted(tensor, nearest))
    });
    fails(&run(&arrays), &["05"], &["output-rounded"]);
}

/// The mistake is larger than what saving explains.
#[rstest]
#[case::theta("01B", |config: &mut rbees_check::weights::Config| config.rope_theta = 1e4, &["rope-theta"])]
fn a_mistake_in_values_that_were_saved_in_half_precision_fails_and_is_named(
    #[case] checkpoint: &str,
    #[case] altered: fn(&mut rbees_check::weights::Config),
    #[case] named: &[&str],
) {
    let arrays = values(pass(&ids("short"), altered), |_, _, _, value| nearest(value));
    let run = run(&arrays);
    assert!(run.notes().len() == 1 && run.notes()[0].contains("saved as bf16"), "{}", run.text);
    assert!(run.failed().contains(&checkpoint) && run.code == 1, "{}", run.text);
    assert_eq!(run.named(), named, "{}", run.text);
}

/// The probabilities follow from scores of up to 500, which were saved to half a unit only. No other operation was
/// recorded that would show how they were saved.
#[test]
fn a_few_sites_may_not_show_whether_values_were_computed_or_saved_in_half_precision() {
    let scores = values(short(), |_, _, _, value| value * 40.0).remove(&site(0, "self_attn.scores")).unwrap();
    let probs = candle_nn::ops::softmax_last_dim(&scores).unwrap();
    let mut few = only(pass(&[5, 99, 7, 300, 12, 8, 5, 99, 7, 300, 12, 8, 1], |_| {}), &[]);
    few.insert(site(0, "self_attn.scores"), converted(&scores, nearest));
    few.insert(site(0, "self_attn.probs"), converted(&probs, nearest));
    is_undecided_without_weights(
        &few,
        "model.layers.0.self_attn.probs is wrong if the port computes in bf16, and right if it computes in f32 and saves as bf16",
        "state it: \"dtype\": \"bf16\", or \"dtype\": \"f32\", \"saved_as\": \"bf16\", in the metadata",
    );
}

#[rstest]
#[case::bf16(computed(cut), "bf16", &["00B", "01", "02", "03", "05", "06"])]
// The weights are f16 numbers, so no bits of the embedding are cut off.
#[case::f16(computed(cut_f16), "f16", &["01", "02", "03", "05", "06"])]
fn a_port_that_cuts_bits_off_fails_and_is_named(
    #[case] arrays: Arrays,
    #[case] dtype: &str,
    #[case] checkpoints: &[&str],
) {
    let run = stating(&arrays, &[("dtype", dtype)]);
    fails(&run, checkpoints, &vec!["bf16-truncated"; checkpoints.len() + 1]);
    assert!(run.text.contains("wrong      its rounding errors point towards zero: -0."), "{}", run.text);
    // Without metadata the dtype is recognised first.
    let run = crate::run::run(&arrays);
    assert_eq!((run.notes().len(), run.code), (1, 1), "{}", run.text);
}

/// The metadata say that the port computes in bf16, so it cut the bits off.
#[test]
fn bits_cut_off_when_saving_fail_if_the_metadata_say_bf16() {
    let run = stating(&saved(cut), &[("dtype", "bf16")]);
    assert!(run.code == 1 && run.named().iter().all(|name| *name == "bf16-truncated"), "{}", run.text);
    assert!(run.failed().contains(&"01"), "{}", run.text);
}

#[rstest]
#[case::bf16(computed(nearest), "bf16")]
#[case::f16(computed(nearest_f16), "f16")]
#[case::candle_bf16(candle(DType::BF16), "bf16")]
#[case::candle_f16(candle(DType::F16), "f16")]
#[case::saved(saved(nearest), "bf16")]
fn rounding_to_nearest_passes(#[case] arrays: Arrays, #[case] dtype: &str) {
    is_stated(&arrays, &[("dtype", dtype)]);
}

/// x · σ(x) with σ(x) = 1 − σ(−x), each step rounded: for large negative x, nothing is left of it.
#[test]
fn an_activation_that_cancels_fails_although_its_rows_are_within_budget() {
    let silu = |x: f32| nearest(x * nearest(1.0 - nearest(1.0 / (1.0 + x.exp()))));
    let act = |so_far: &Arrays, at: Site| {
        let of = |name: &str| -> Vec<f32> {
            let layer = usize::from(at.layer.unwrap());
            so_far[&site(layer, name)].flatten_all().unwrap().to_vec1().unwrap()
        };
        let (gate, up) = (of("mlp.gate_proj"), of("mlp.up_proj"));
        let act: Vec<f32> = gate.iter().zip(&up).map(|(&gate, up)| nearest(silu(gate) * up)).collect();
        Tensor::from_vec(act, (1, 13, 256), &Device::Cpu).unwrap()
    };
    let arrays = remade(&Input::single(&ids("short"), 0), |at, tensor, so_far| {
        let act = at.to_string().ends_with("mlp.act").then(|| act(so_far, at));
        Some(act.unwrap_or_else(|| converted(tensor, nearest)))
    });
    fails(&stating(&arrays, &[("dtype", "bf16")]), &["05"], &[]);
    is_stated(&without(arrays, &["mlp.act"]), &[("dtype", "bf16")]);
}

/// Gates below −11.09, where e^−x overflows in f16: Candle's SiLU gives 0.
#[test]
fn an_activation_of_candle_in_f16_passes_where_its_exponential_overflows() {
    let arrays = remade(&Input::single(&ids("short"), 0), |at, tensor, so_far| {
        let name = at.to_string();
        let half = |tensor: &Tensor| tensor.to_dtype(DType::F16).unwrap();
        if name.ends_with("gate_proj") {
            return Some(converted(&(tensor - 12.0).unwrap(), nearest_f16));
        }
        let made = name.ends_with("mlp.act").then(|| {
            let layer = usize::from(at.layer.unwrap());
            let of = |name: &str| half(&so_far[&site(layer, name)]);
            (of("mlp.gate_proj").silu().unwrap() * of("mlp.up_proj")).unwrap()
        });
        Some(made.map_or_else(|| converted(tensor, nearest_f16), |act| act.to_dtype(DType::F32).unwrap()))
    });
    let gates: Vec<f32> = arrays[&site(0, "mlp.gate_proj")].flatten_all().unwrap().to_vec1().unwrap();
    let act: Vec<f32> = arrays[&site(0, "mlp.act")].flatten_all().unwrap().to_vec1().unwrap();
    assert!(gates.iter().zip(&act).any(|(&gate, &act)| (-16.0..-11.1).contains(&gate) && act == 0.0));
    // The gates are not what the weights give, and only they fail.
    let run = stating(&arrays, &[("dtype", "f16")]);
    assert!(run.text.contains("gate_proj") && !run.text.contains("mlp.act"), "{}", run.text);
}

/// The embedding is not computed, so its only error is that of saving: half an ulp, an eighth of its budget.
#[test]
fn values_saved_in_half_precision_use_at_most_half_of_their_budget() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let dump = crate::recorded::write(folder.path(), &saved(nearest));
    let args =
        ["run", "all", "--dump", dump.to_str().unwrap(), "--report", &format!("json={}", report.display())];
    let output =
        crate::program::rbees_in(std::path::Path::new("/"), &crate::program::home(), &args).output().unwrap();
    assert!(output.status.success(), "{}", crate::program::stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let checkpoints = report["checkpoints"].as_array().unwrap();
    let shares: Vec<f64> =
        checkpoints.iter().filter_map(|checkpoint| checkpoint["worst_share"].as_f64()).collect();
    assert!(shares.len() >= 7 && shares.iter().all(|share| *share < 0.5), "{shares:?}");
}
