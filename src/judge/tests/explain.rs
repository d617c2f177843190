use std::collections::BTreeMap;

use super::*;
use crate::judge::corrected;
use crate::judge::explain::{Kept, Seen};

/// As transformers reads it: what was parsed from the file may be the very mistake.
#[test]
fn a_red_site_is_explained_on_the_config_that_transformers_reads() {
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
    let (weights, ours) = (corrected(&model.weights, &theirs), model.weights.config());
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
    assert_eq!(config.vocab_size, ours.vocab_size); // and the rest is the file's
}

/// Of a site that differs in several windows the first is looked into; padding is gathered from all.
#[test]
fn what_was_wrong_first_is_kept() {
    let (q, k) = (site("model.layers.0.self_attn.q_rope"), site("model.layers.0.self_attn.k_rope"));
    let red = |at: Site, slot: usize| {
        let tensor = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).unwrap();
        BTreeMap::from([(at, Kept { site: at, tensor, window: slot..slot + 1 })])
    };
    let pad = |slot: usize| BTreeMap::from([(k, vec![((0, slot), vec![slot as f64])])]);
    let mut seen = Seen::default();
    seen.add(red(q, 0), pad(0));
    seen.add(red(q, 1), pad(1));
    seen.add(red(k, 2), BTreeMap::new());
    let windows: Vec<usize> = seen.kept.values().map(|kept| kept.window.start).collect();
    assert_eq!(windows, [0, 2]);
    assert_eq!(seen.pads[&k], [((0, 0), vec![0.0]), ((0, 1), vec![1.0])]);
}
