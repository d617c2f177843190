use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rstest::rstest;

use super::*;
use crate::judge::diagnosis_inputs::{DiagnosisInputs, FailedTensor};
use crate::judge::explain::{CaseContext, explain};
use crate::judge::judged_rows::input;
use crate::judge::{Finding, Verdict};
use crate::model::Rope;
use crate::reference::{Feed, ReferenceRows};

/// The diagnosis uses the config as transformers reads it, because the parsed config may contain the mistake.
#[test]
fn a_failing_site_is_diagnosed_with_the_config_that_transformers_reads() {
    let model = tiny();
    let mut theirs = model.fixture.as_ref().unwrap().facts().unwrap().config;
    theirs.hidden_size += 1;
    theirs.intermediate_size += 2;
    theirs.num_hidden_layers += 3;
    theirs.num_attention_heads += 4;
    theirs.num_key_value_heads += 5;
    theirs.head_dim += 6;
    theirs.rms_norm_eps *= 2.0;
    theirs.rope_theta *= 2.0;
    theirs.tie_word_embeddings ^= true;
    let (weights, ours) = (models::corrected(&model.weights, &theirs), model.weights.config());
    let config = weights.config();
    assert_eq!(
        (config.hidden_size, config.intermediate_size),
        (ours.hidden_size + 1, ours.intermediate_size + 2)
    );
    assert_eq!(config.num_hidden_layers, ours.num_hidden_layers + 3);
    assert_eq!(config.num_attention_heads, ours.num_attention_heads + 4);
    assert_eq!(config.num_key_value_heads, ours.num_key_value_heads + 5);
    assert_eq!(config.head_dim, ours.head_dim + 6);
    assert_eq!((config.rms_norm_eps, config.rope_theta), (2.0 * ours.rms_norm_eps, 2.0 * ours.rope_theta));
    assert_eq!(config.tie_word_embeddings, !ours.tie_word_embeddings);
    assert_eq!(config.vocab_size, ours.vocab_size); // the other fields come from the file
}

/// If a site differs in several windows, the first one is kept; padding is collected from all of them.
#[test]
fn the_first_wrong_window_of_each_site_is_kept() {
    let (q, k) = (site("model.layers.0.self_attn.q_rope"), site("model.layers.0.self_attn.k_rope"));
    let failed = |at: Site, slot: usize| {
        let tensor = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).unwrap();
        BTreeMap::from([(at, FailedTensor { site: at, tensor, window: slot..slot + 1 })])
    };
    let pad = |slot: usize| BTreeMap::from([(k, vec![((0, slot), vec![slot as f64])])]);
    let mut inputs = DiagnosisInputs::default();
    inputs.add(DiagnosisInputs { failed: failed(q, 0), padding: pad(0) });
    inputs.add(DiagnosisInputs { failed: failed(q, 1), padding: pad(1) });
    inputs.add(DiagnosisInputs { failed: failed(k, 2), padding: BTreeMap::new() });
    let windows: Vec<usize> = inputs.failed.values().map(|failed| failed.window.start).collect();
    assert_eq!(windows, [0, 2]);
    assert_eq!(inputs.padding[&k], [((0, 0), vec![0.0]), ((0, 1), vec![1.0])]);
}

/// In chunks of four tokens after the first, the layers from `from` on rotate every token one position too
/// far.
fn turned(from: u16) -> Bend {
    let rope = Rope::new(tiny().weights.config());
    Box::new(move |site, tensor| {
        let turned = matches!(site.kind, Kind::QRope | Kind::KRope) && site.layer >= Some(from);
        if !turned || tensor.dims()[2] != 4 {
            return Ok(Some(tensor));
        }
        Ok(Some(rope.at(&[vec![1; 4]], &Device::Cpu)?.apply(&tensor.contiguous()?)?))
    })
}

/// Whether the first layer agrees distinguishes one position for all layers from a counter that each layer
/// advances.
#[rstest]
#[case(0, "decode-position")]
#[case(1, "shared-counter")]
fn the_first_layer_decides_which_position_mistake_is_named(#[case] from: u16, #[case] mistake: &str) {
    let outcome = judged("04", Attention::Plain, turned(from));
    assert_eq!(outcome.named()[0].mistake, mistake);
}

/// Makes scores 20% too large, and sets masked entries to `lowest`: the dtype's lowest number or −inf.
fn too_large(layer: usize, lowest: f32) -> Bend {
    let place = Site::layer(layer, Kind::Scores);
    Box::new(move |site, tensor| {
        if site != place {
            return Ok(Some(tensor));
        }
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let bent = |v: f32| if v == f32::NEG_INFINITY { lowest } else { v * 1.2 };
        let values: Vec<f32> = values.into_iter().map(bent).collect();
        Ok(Some(Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?.to_dtype(tensor.dtype())?))
    })
}

/// −inf and the lowest number both mask a key; the mistake is found in the remaining entries, in every row of
/// a batch.
#[rstest]
#[case(DType::F32, f32::NEG_INFINITY)]
#[case(DType::F32, f32::MIN)]
#[case(DType::F16, f32::NEG_INFINITY)]
#[case(DType::F16, -65504.0)]
#[case(DType::BF16, f32::NEG_INFINITY)]
fn masked_keys_are_left_out_of_the_diagnosis(
    #[case] dtype: DType,
    #[case] lowest: f32,
    #[values("short", "batch-left")] case: &str,
) {
    let model = tiny();
    let llama = Llama::load(&model.weights, &Device::Cpu, dtype, Attention::Plain).unwrap();
    let mut subject = subject(&model, &[case]);
    subject.ports = vec![Box::new(Bent { port: LlamaPort::new(llama), bend: too_large(1, lowest) })];
    let outcome = run(&mut subject, checkpoints::find("03").unwrap()).unwrap();
    assert_eq!(wrong(&outcome), ["model.layers.1.self_attn.scores"]);
    let named: Vec<&str> = outcome.named().iter().map(|named| named.mistake).collect();
    assert_eq!(named[0], "attention-scale");
}

/// Asks for every site and changes nothing.
struct Listening;

impl Probe for Listening {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, _: Site, tensor: Tensor) -> Result<Tensor> {
        Ok(tensor)
    }
}

/// A row of zeros has no scale and therefore no budget, so the diagnosis must ignore it.
#[test]
fn a_row_of_zeros_does_not_hide_a_mistake() {
    let (model, failed) = (tiny(), site("model.layers.1.self_attn.scores"));
    let case = model.fixture.as_ref().unwrap().case("short").unwrap();
    let handed: Arc<Mutex<Option<Tensor>>> = Arc::default();
    let (keep, wrong) = (handed.clone(), too_large(1, f32::NEG_INFINITY));
    let bend = move |site, tensor| {
        let bent = wrong(site, tensor)?;
        if site == failed {
            *keep.lock().unwrap() = bent.clone();
        }
        Ok(bent)
    };
    let mut port = Bent { port: LlamaPort::new(llama(&model, Attention::Plain)), bend: Box::new(bend) };
    let traits = port.traits();
    port.begin();
    port.forward(&input(&case), &mut Listening).unwrap();

    // Row 5 of the reference and of the port are zeros.
    let tensor = handed.lock().unwrap().take().unwrap(); // [1, heads, queries, keys]
    let (_, heads, queries, keys) = tensor.dims4().unwrap();
    let mut values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    (0..heads).for_each(|head| values[(head * queries + 5) * keys..][..keys].fill(0.0));
    let tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap();
    let mut reference: ReferenceRows = case.rows(failed).unwrap().clone();
    reference.values[5 * heads * keys..6 * heads * keys].fill(0.0);

    let mut inputs = DiagnosisInputs::default();
    inputs.failed.insert(failed, FailedTensor { site: failed, tensor, window: 0..case.length() });
    let context = CaseContext { weights: &model.weights, case: &case, traits: &traits };
    let noise = |site, place| case.noise_on(traits.arithmetic, Feed::Site, site, place, traits.dtype);
    let verdict = Verdict::Differs(Default::default());
    let mut findings = [Finding { site: Some(failed), ..Finding::new(failed.to_string(), verdict) }];
    explain(&context, &inputs, &|_| Some(&reference), &noise, &|_| 8.0, &mut findings);
    assert_eq!(findings[0].explained.as_ref().unwrap().named[0].mistake, "attention-scale");
}
