//! Properties of this project's model that need no reference: splitting, padding or repeating a prompt does
//! not change the model's output.

mod tiny;

use candle_core::{DType, Device, Tensor};
use rbees_check::model::{Attention, Input, Llama, Projection, Side};
use rbees_check::probe::{Kind, Probe, Site};
use rbees_check::weights::RopeLayout;
use rbees_check::{Error, Result};
use rstest::rstest;

const PROMPT: [u32; 11] = [3, 14, 15, 92, 65, 35, 89, 79, 32, 38, 46];
const OTHER: [u32; 4] = [27, 18, 28, 8];

/// Records every tapped tensor.
#[derive(Default)]
struct Recorder(Vec<(Site, Tensor)>);

impl Probe for Recorder {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        assert!(tensor.is_contiguous(), "{site}");
        self.0.push((site, tensor.clone()));
        Ok(tensor)
    }
}

/// The logits of `input`, `[b, s, vocab]`, starting with an empty cache.
fn logits(llama: &Llama, input: &Input) -> Tensor {
    llama.forward(input, &mut llama.new_cache(), &mut ()).unwrap()
}

/// The largest difference, relative to the largest value.
fn distance(got: &Tensor, want: &Tensor) -> f32 {
    assert_eq!(got.dims(), want.dims());
    let values =
        |x: &Tensor| x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, want) = (values(got), values(want));
    let scale = want.iter().fold(0f32, |scale, x| scale.max(x.abs()));
    got.iter().zip(&want).fold(0f32, |most, (got, want)| {
        assert!(got.is_finite() && want.is_finite());
        most.max((got - want).abs())
    }) / scale
}

#[rstest]
fn every_site_is_tapped_once_in_forward_order_with_its_canonical_shape(
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
) {
    let llama = tiny::llama(attention);
    let (mut cache, mut seen) = (llama.new_cache(), Recorder::default());
    llama.forward(&Input::single(&OTHER, 0), &mut cache, &mut ()).unwrap();
    llama.forward(&Input::single(&PROMPT, 4), &mut cache, &mut seen).unwrap();

    let kinds = llama.kinds();
    let shown = |kind: &Kind| attention == Attention::Plain || !kind.over_keys();
    let layers = llama.layers.len();
    let in_layers = (0..layers).flat_map(|layer| {
        kinds.iter().filter(shown).filter(|k| k.in_layer()).map(move |k| Site::layer(layer, k))
    });
    let mut expected: Vec<Site> = in_layers.collect();
    expected.extend([Kind::Embed, Kind::FinalNorm, Kind::Logits].map(Site::model));
    expected.sort();
    assert_eq!(seen.0.iter().map(|(site, _)| *site).collect::<Vec<_>>(), expected);
    for (site, tensor) in &seen.0 {
        assert_eq!(tensor.dims(), canonical(&llama, site.kind), "{site}");
    }
}

/// The shape of a site when `PROMPT` is run after `OTHER` on the same cache.
fn canonical(llama: &Llama, kind: Kind) -> Vec<usize> {
    let (s, t) = (PROMPT.len(), PROMPT.len() + OTHER.len());
    let c = &llama.config;
    let (heads, kv_heads, d) = (c.num_attention_heads, c.num_key_value_heads, c.head_dim);
    match kind {
        Kind::QProj | Kind::QNorm | Kind::Context => vec![1, s, heads * d],
        Kind::KProj | Kind::KNorm | Kind::VProj => vec![1, s, kv_heads * d],
        Kind::QRope => vec![1, heads, s, d],
        Kind::KRope => vec![1, kv_heads, s, d],
        Kind::Scores | Kind::Probs => vec![1, heads, s, t],
        Kind::Gate | Kind::Up | Kind::Act => vec![1, s, c.intermediate_size],
        Kind::Logits => vec![1, s, c.vocab_size],
        _ => vec![1, s, c.hidden_size],
    }
}

#[rstest]
fn prefill_in_chunks_equals_one_prefill(
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
    #[values(1, 2, 4, 10)] chunk: usize,
) {
    let llama = tiny::llama(attention);
    let whole = Input::single(&PROMPT, 0);
    let mut cache = llama.new_cache();
    let chunks = (0..whole.len())
        .step_by(chunk)
        .map(|from| llama.forward(&whole.slice(from..from + chunk), &mut cache, &mut ()).unwrap());
    let chunks = Tensor::cat(&chunks.collect::<Vec<_>>(), 1).unwrap();
    assert!(distance(&chunks, &logits(&llama, &whole)) < 1e-5);
}

#[rstest]
fn a_padded_row_of_a_batch_equals_the_row_alone(
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
    #[values(Side::Left, Side::Right)] side: Side,
) {
    let llama = tiny::llama(attention);
    let rows = [&PROMPT[..], &OTHER];
    let mut cache = llama.new_cache();
    let batch = llama.forward(&Input::padded(&rows, side, 0), &mut cache, &mut ()).unwrap();
    let step = Input {
        ids: vec![vec![7], vec![8]],
        positions: rows.iter().map(|row| vec![row.len()]).collect(),
        real: vec![vec![true]; 2],
    };
    let next = llama.forward(&step, &mut cache, &mut ()).unwrap();

    for (b, row) in rows.iter().enumerate() {
        let alone = logits(&llama, &Input::single(&[row, &step.ids[b][..]].concat(), 0));
        let start = if side == Side::Left { PROMPT.len() - row.len() } else { 0 };
        let padded = batch.narrow(0, b, 1).unwrap().narrow(1, start, row.len()).unwrap();
        let padded = Tensor::cat(&[padded, next.narrow(0, b, 1).unwrap()], 1).unwrap();
        assert!(distance(&padded, &alone) < 1e-5, "row {b}");
    }
}

#[rstest]
fn a_padded_batch_in_chunks_equals_the_batch_in_one_pass(
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
    #[values(Side::Left, Side::Right)] side: Side,
) {
    let llama = tiny::llama(attention);
    let whole = Input::padded(&[&PROMPT[..], &OTHER], side, 0);
    let mut cache = llama.new_cache();
    let mut chunk = |from: usize| llama.forward(&whole.slice(from..from + 3), &mut cache, &mut ()).unwrap();
    let chunks = Tensor::cat(&[chunk(0), chunk(3), chunk(6), chunk(9)], 1).unwrap();
    assert!(distance(&chunks, &logits(&llama, &whole)) < 1e-5);
}

/// In layer 0, both paths have equal queries, keys and values, so only attention itself can differ.
#[rstest]
fn fused_attention_equals_plain_attention(
    #[values((DType::F32, 1e-6), (DType::F16, 1e-3), (DType::BF16, 8e-3))] (dtype, near): (DType, f32),
) {
    let context = |attention, input: &Input| {
        let (llama, mut seen) = (tiny::llama_in(dtype, attention), Recorder::default());
        llama.forward(input, &mut llama.new_cache(), &mut seen).unwrap();
        let site = Site::layer(0, Kind::Context);
        seen.0.into_iter().find(|(at, _)| *at == site).unwrap().1
    };
    let rows = [&PROMPT[..], &OTHER];
    for input in
        [Input::single(&PROMPT, 0), Input::padded(&rows, Side::Left, 0), Input::padded(&rows, Side::Right, 0)]
    {
        let (fused, plain) = (context(Attention::Fused, &input), context(Attention::Plain, &input));
        assert!(distance(&fused, &plain) < near);
    }
}

#[rstest]
fn logits_in_half_precision_are_close_to_f32(
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
    #[values((DType::F16, 5e-3), (DType::BF16, 4e-2))] (dtype, near): (DType, f32),
) {
    let input = Input::single(&PROMPT, 0);
    let half = logits(&tiny::llama_in(dtype, attention), &input);
    assert_eq!(half.dtype(), dtype);
    assert!(distance(&half, &logits(&tiny::llama(attention), &input)) < near);
}

#[rstest]
fn a_prompt_after_a_cache_reset_gives_bit_identical_logits(
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
) {
    let llama = tiny::llama(attention);
    let mut cache = llama.new_cache();
    let mut bits = |prompt: &[u32]| {
        cache.reset();
        let logits = llama.forward(&Input::single(prompt, 0), &mut cache, &mut ()).unwrap();
        logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let before = bits(&PROMPT);
    bits(&OTHER);
    assert_eq!(bits(&PROMPT), before);
}

#[rstest]
fn the_full_context_length_works_and_one_more_token_is_an_error(
    #[values(Attention::Plain, Attention::Fused)] attention: Attention,
) {
    let llama = tiny::llama(attention);
    let context = llama.config.max_position_embeddings;
    let ids: Vec<u32> = (0..context as u32).map(|i| i * 31 % 97).collect();
    let mut cache = llama.new_cache();
    let (head, tail) = ids.split_at(context - 20);
    llama.forward(&Input::single(head, 0), &mut cache, &mut ()).unwrap();
    let end = llama.forward(&Input::single(tail, head.len()), &mut cache, &mut ()).unwrap();
    let whole = logits(&llama, &Input::single(&ids, 0)).narrow(1, head.len(), 20).unwrap();
    assert!(distance(&end, &whole) < 1e-5);

    assert_eq!((cache.len(), cache.room()), (context, 0));
    let error = llama.forward(&Input::single(&[1], context), &mut cache, &mut ()).unwrap_err();
    assert!(error.to_string().contains("exceed the context length of 300"), "{error}");
}

#[test]
fn no_value_is_nan_and_only_masked_scores_are_infinite() {
    let llama = tiny::llama(Attention::Plain);
    for side in [Side::Left, Side::Right] {
        let mut seen = Recorder::default();
        let input = Input::padded(&[&PROMPT[..], &OTHER], side, 0);
        llama.forward(&input, &mut llama.new_cache(), &mut seen).unwrap();
        for (site, tensor) in seen.0 {
            let scores = site.kind == Kind::Scores;
            for x in tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap() {
                assert!(x.is_finite() || (scores && x == f32::NEG_INFINITY), "{site} holds {x}");
            }
        }
    }
}

#[test]
fn logits_depend_only_on_the_distances_between_positions() {
    let llama = tiny::llama(Attention::Plain);
    let (near, far) = (Input::single(&PROMPT, 0), Input::single(&PROMPT, 200));
    let apart = Input { positions: vec![(0..PROMPT.len()).map(|p| 2 * p).collect()], ..near.clone() };
    assert!(distance(&logits(&llama, &far), &logits(&llama, &near)) < 1e-4);
    assert!(distance(&logits(&llama, &apart), &logits(&llama, &near)) > 1e-2);
}

#[test]
fn interleaved_rotation_of_permuted_weights_equals_half_split_rotation() {
    let plain = tiny::llama(Attention::Plain);
    let mut permuted = plain.clone();
    permuted.rope.layout = RopeLayout::Interleaved;
    let d = plain.config.head_dim;
    let interleave = |matrix: &Projection| {
        let w = matrix.floats().unwrap();
        let (rows, width) = w.dims2().unwrap();
        let w = w.reshape((rows / d, 2, d / 2, width)).unwrap().transpose(1, 2).unwrap();
        matrix.with_weight(w.contiguous().unwrap().reshape((rows, width)).unwrap())
    };
    for layer in &mut permuted.layers {
        layer.self_attn.q_proj = interleave(&layer.self_attn.q_proj);
        layer.self_attn.k_proj = interleave(&layer.self_attn.k_proj);
    }
    let input = Input::single(&PROMPT, 0);
    assert!(distance(&logits(&permuted, &input), &logits(&plain, &input)) < 1e-5);
}

/// Replaces layer 0's keys by zeros. If `stop` is set, it also fails the forward pass at the second layer.
struct Meddler {
    stop: bool,
}

impl Probe for Meddler {
    fn wants(&self, kind: Kind) -> bool {
        kind == Kind::KRope
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        match (site.kind, site.layer) {
            (Kind::KRope, Some(1)) if self.stop => Err(Error::input("stopped", "")),
            (Kind::KRope, Some(0)) => Ok(tensor.zeros_like()?),
            _ => Ok(tensor),
        }
    }
}

#[test]
fn the_cache_stores_the_tensor_that_the_probe_returns() {
    let llama = tiny::llama(Attention::Plain);
    let (mut cache, mut seen) = (llama.new_cache(), Recorder::default());
    llama.forward(&Input::single(&OTHER, 0), &mut cache, &mut Meddler { stop: false }).unwrap();
    llama.forward(&Input::single(&[5], 4), &mut cache, &mut seen).unwrap();
    let scores = Site::layer(0, Kind::Scores);
    let (_, scores) = seen.0.iter().find(|(site, _)| *site == scores).unwrap();
    for head in scores.squeeze(2).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap() {
        assert_eq!(head[..4], [0.0; 4]);
        assert_ne!(head[4], 0.0);
    }
}

#[test]
fn a_cache_is_unusable_after_a_failed_forward_pass_until_it_is_reset() {
    let llama = tiny::llama(Attention::Plain);
    let (mut cache, input) = (llama.new_cache(), Input::single(&OTHER, 0));
    llama.forward(&input, &mut cache, &mut Meddler { stop: true }).unwrap_err();
    let error = llama.forward(&input, &mut cache, &mut ()).unwrap_err();
    assert!(error.to_string().contains("stopped half-way"), "{error}");
    cache.reset();
    llama.forward(&input, &mut cache, &mut ()).unwrap();
}

#[test]
fn empty_inputs_unknown_tokens_and_wrong_batch_sizes_are_errors() {
    let llama = tiny::llama(Attention::Plain);
    let mut cache = llama.new_cache();
    for input in [Input::single(&[], 0), Input::single(&[97], 0), Input::padded(&[[1u32; 0]], Side::Left, 0)]
    {
        llama.forward(&input, &mut cache, &mut ()).unwrap_err();
    }
    llama.forward(&Input::single(&OTHER, 0), &mut cache, &mut ()).unwrap();
    let two = Input::padded(&[[1u32], [2]], Side::Left, 0);
    let error = llama.forward(&two, &mut cache, &mut ()).unwrap_err();
    assert!(error.to_string().contains("the cache has 1 rows, the input has 2"), "{error}");
}

#[test]
fn a_config_that_does_not_match_the_weights_is_an_error_that_names_the_tensor() {
    let weights = tiny::weights();
    let mut config = weights.config().clone();
    config.intermediate_size += 1;
    let load = |config, dtype| Llama::with_config(config, &weights, &Device::Cpu, dtype, Attention::Plain);
    let error = load(config, DType::F32).unwrap_err().to_string();
    assert_eq!(
        error,
        "model.layers.0.mlp.gate_proj.weight has the shape [80, 48], but its config says [81, 48]"
    );
    load(weights.config().clone(), DType::F64).unwrap_err();
}
