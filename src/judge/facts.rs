//! Compares the config and the weights with what PyTorch and transformers read from the same files.

use std::collections::BTreeMap;

use super::verdict::{Finding, Verdict};
use crate::Result;
use crate::diagnose;
use crate::files::short_name;
use crate::models;
use crate::reference::{self, Facts};
use crate::weights::{Config, Meaning, RopeScaling, Unread, Weights, sha256_of};

/// Judges every config key, and the presence, shape and canonical bytes of every tensor. A tensor that the model
/// does not use, although it would compute something else with it, is wrong too.
pub(super) fn judge_facts(config: &Config, weights: &Weights, facts: &Facts) -> Result<Vec<Finding>> {
    let mut findings = judge_config(config, &facts.config, weights);
    let right = facts.tensors.iter().map(|(name, fact)| (name.as_str(), fact.sha256.as_str())).collect();
    let ours: BTreeMap<String, Vec<usize>> = weights
        .names()
        .into_iter()
        .map(|name| {
            let shape = weights.shape(&name).unwrap_or_default().to_vec();
            (name, shape)
        })
        .collect();
    for (name, fact) in &facts.tensors {
        let verdict = match ours.get(name) {
            None => Verdict::NeverReached,
            Some(shape) if *shape != fact.shape => {
                Verdict::Shape { got: shape.clone(), want: fact.shape.clone() }
            }
            Some(_) => {
                let sha256 = sha256_of(&weights.canonical(name)?)?;
                if sha256 == fact.sha256 {
                    Verdict::Pass(0.0)
                } else {
                    Verdict::Broken(format!(
                        "SHA-256 is {sha256:.12}…, but PyTorch reads a tensor with {:.12}…",
                        fact.sha256
                    ))
                }
            }
        };
        let named = match verdict {
            Verdict::NeverReached => Some(diagnose::tensors::absent(name)),
            Verdict::Broken(_) => diagnose::tensors::altered(weights, name, &right)?,
            _ => None,
        };
        findings.push(Finding::explained(name, verdict, named));
    }
    let unknown = ours.keys().filter(|name| !facts.tensors.contains_key(*name));
    findings.extend(unknown.map(|name| Finding::new(name, Verdict::Unclaimed)));
    let unread = weights.unread().into_iter().filter(|tensor| !facts.tensors.contains_key(&tensor.name));
    findings.extend(unread.filter_map(|Unread { name, meaning }| match meaning {
        Meaning::Changes(what) => {
            let how = format!("it is in the file, but the model does not use it: {what}");
            Some(Finding::new(short_name(&name), Verdict::Broken(how)))
        }
        Meaning::Nothing | Meaning::Unknown => None,
    }));
    Ok(findings)
}

fn judge_config(ours: &Config, theirs: &crate::reference::Config, weights: &Weights) -> Vec<Finding> {
    let key = |name: &'static str, got: &dyn std::fmt::Debug, want: &dyn std::fmt::Debug| {
        let (got, want) = (format!("{got:?}"), format!("{want:?}"));
        if got == want {
            return Finding::new(name, Verdict::Pass(0.0));
        }
        let named = diagnose::config::wrong(weights, name, &got, &want);
        Finding::explained(name, Verdict::Broken(format!("{got}, but transformers reads {want}")), named)
    };
    // GGUF stores numbers as float32, so numbers are equal if they round to the same float32.
    let single = |v: f64| v as f32;
    vec![
        key("hidden_size", &ours.hidden_size, &theirs.hidden_size),
        key("intermediate_size", &ours.intermediate_size, &theirs.intermediate_size),
        key("num_hidden_layers", &ours.num_hidden_layers, &theirs.num_hidden_layers),
        key("num_attention_heads", &ours.num_attention_heads, &theirs.num_attention_heads),
        key("num_key_value_heads", &ours.num_key_value_heads, &theirs.num_key_value_heads),
        key("head_dim", &ours.head_dim, &theirs.head_dim),
        key("vocab_size", &ours.vocab_size, &theirs.vocab_size),
        key("max_position_embeddings", &ours.max_position_embeddings, &theirs.max_position_embeddings),
        key("rms_norm_eps", &single(ours.rms_norm_eps), &single(theirs.rms_norm_eps)),
        key("rope_theta", &single(ours.rope_theta), &single(theirs.rope_theta)),
        rope_scaling(ours, theirs, weights),
        key("local_rope_theta", &ours.local_rope_theta.map(single), &theirs.local_rope_theta.map(single)),
        key("layer_types", &ours.layer_types, &models::config_without_weights(theirs).layer_types),
        key(
            "query_pre_attn_scalar",
            &ours.query_pre_attn_scalar.map(single),
            &theirs.query_pre_attn_scalar.map(single),
        ),
        key(
            "attn_logit_softcapping",
            &ours.attn_logit_softcapping.map(single),
            &theirs.attn_logit_softcapping.map(single),
        ),
        key(
            "final_logit_softcapping",
            &ours.final_logit_softcapping.map(single),
            &theirs.final_logit_softcapping.map(single),
        ),
        key("sliding_window", &ours.sliding_window, &theirs.sliding_window),
        key("tie_word_embeddings", &ours.tie_word_embeddings, &theirs.tie_word_embeddings),
        key("biases", &ours.biases, &theirs.biases),
        key("bos_token_id", &ours.bos_token_id, &theirs.bos_token_id),
        key("eos_token_ids", &ours.eos_token_ids, &theirs.eos_token_ids),
    ]
}

/// A GGUF file states a factor for each pair, in float32, where transformers reads the parameters that they are
/// computed from. So the scaled frequencies are compared.
fn rope_scaling(ours: &Config, theirs: &reference::Config, weights: &Weights) -> Finding {
    let name = "rope_scaling";
    let want = models::scaling(theirs);
    let scaled = |scaling: &RopeScaling| {
        Config { rope_scaling: scaling.clone(), ..ours.clone() }.frequencies() // [head_dim/2]
    };
    let (got, right) = (scaled(&ours.rope_scaling), scaled(&want));
    if got.iter().zip(&right).all(|(got, right)| (got / right - 1.0).abs() < 1e-6) {
        return Finding::new(name, Verdict::Pass(0.0));
    }
    let (got, want) = (ours.rope_scaling.to_string(), want.to_string());
    let named = diagnose::config::wrong(weights, name, &got, &want);
    Finding::explained(name, Verdict::Broken(format!("{got}; transformers reads {want}")), named)
}
