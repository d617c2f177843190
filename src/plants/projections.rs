//! Planted mistakes in weights and how they are read: rows 16, 17, 19 and 25 to 27 of the catalogue.

use candle_core::{DType, Device, Tensor};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::making::demand;
use super::plant::{PLANT, Plant};
use crate::Result;
use crate::model::Llama;
use crate::weights::{Config, Weights};

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "qkv-split",
        does: "joins q, k and v group by group and splits them as if all q came first",
        make: |correct| {
            correct.misread(|files| {
                let layers = files.config.num_hidden_layers;
                (0..layers).try_for_each(|layer| split_wrongly(&mut files.weights, &files.config, layer))
            })
        },
        fails: &["00", "02", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.q_proj"),
        ..PLANT
    },
    Plant {
        name: "bias-dropped",
        does: "adds no bias to q, k and v",
        make: |correct| {
            correct.altered(|llama| {
                for block in &mut llama.layers {
                    let attention = &mut block.self_attn;
                    for projection in [&mut attention.q_proj, &mut attention.k_proj, &mut attention.v_proj] {
                        projection.bias = None;
                    }
                }
                Ok(())
            })
        },
        fails: &["02", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.q_proj"),
        shows: |setting| {
            demand(setting.config.biases.contains("self_attn.q_proj"), "this model has no biases")
        },
        ..PLANT
    },
    Plant {
        name: "head-dim",
        does: "uses hidden_size / heads as head_dim; this changes the scale, but not the shapes, which come from the \
               tensors",
        make: |correct| {
            let mut planted = correct.altered(|llama| {
                let scale = 1.0 / (implied_head_dim(&llama.config) as f64).sqrt();
                llama.layers.iter_mut().for_each(|block| block.self_attn.scale = scale);
                Ok(())
            })?;
            planted.files.config.head_dim = implied_head_dim(&planted.files.config);
            Ok(planted)
        },
        fails: &["00", "03", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.scores"),
        shows: |setting| {
            let config = setting.config;
            let implied = implied_head_dim(config);
            demand(implied != config.head_dim, "this model's head_dim is hidden_size / heads")?;
            let scalar = config.query_pre_attn_scalar;
            demand(
                scalar.is_none_or(|scalar| scalar != implied as f64),
                "hidden_size / heads is this model's query_pre_attn_scalar, so the scale stays right",
            )
        },
        ..PLANT
    },
    Plant {
        name: "weight-transposed",
        does: "multiplies by the transposed q_proj",
        make: |correct| {
            correct.altered(|llama| {
                for block in &mut llama.layers {
                    let q = &mut block.self_attn.q_proj;
                    *q = q.with_weight(q.widened()?.t()?.contiguous()?);
                }
                Ok(())
            })
        },
        fails: &["02", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.q_proj"),
        shows: |setting| {
            let config = setting.config;
            demand(
                config.query_width() == config.hidden_size,
                "this model's q_proj is not square, so its transpose is a shape error",
            )
        },
        ..PLANT
    },
    Plant {
        name: "lm-head-random",
        does: "leaves lm_head at random values where the config ties it",
        make: |correct| correct.altered(randomise_lm_head),
        fails: &["07", "09"],
        first: Some("lm_head"),
        shows: |setting| demand(setting.config.tie_word_embeddings, "this model's lm_head is not tied"),
        ..PLANT
    },
    Plant {
        name: "absent-tensors",
        does: "does not load the weight of the first norm, and leaves it at ones",
        make: |correct| {
            correct.misread(|files| {
                let name = "model.layers.0.input_layernorm.weight";
                let weight = files.weights.tensor(name, DType::F32, &Device::Cpu)?;
                files.weights.replace(name, weight.ones_like()?);
                Ok(())
            })
        },
        fails: &["00", "01", "06", "07", "09"],
        first: Some("model.layers.0.input_layernorm"),
        ..PLANT
    },
];

fn implied_head_dim(config: &Config) -> usize {
    config.hidden_size / config.num_attention_heads
}

/// Fuses the weights as `[q of group 0, k 0, v 0, q of group 1, …]`, as Megatron and GPT-NeoX store them, and
/// splits them as `[q, k, v]`.
fn split_wrongly(weights: &mut Weights, config: &Config, layer: usize) -> Result<()> {
    let name = |part: &str| format!("model.layers.{layer}.self_attn.{part}_proj.weight");
    let read = |part: &str| weights.tensor(&name(part), DType::F32, &Device::Cpu);
    let (q, k, v) = (read("q")?, read("k")?, read("v")?);
    let (width, group) = (config.head_dim, config.query_width() / config.num_key_value_heads);
    let mut parts = Vec::new();
    for head in 0..config.num_key_value_heads {
        parts.push(q.narrow(0, head * group, group)?);
        parts.push(k.narrow(0, head * width, width)?);
        parts.push(v.narrow(0, head * width, width)?);
    }
    let fused = Tensor::cat(&parts, 0)?; // [(heads + 2 kv_heads) * head_dim, hidden]
    let mut start = 0;
    for (part, rows) in [("q", config.query_width()), ("k", config.key_width()), ("v", config.key_width())] {
        weights.replace(&name(part), fused.narrow(0, start, rows)?.contiguous()?);
        start += rows;
    }
    Ok(())
}

/// Fills lm_head with uniform random values within ±1/√hidden, the usual initial range of a layer.
fn randomise_lm_head(llama: &mut Llama) -> Result<()> {
    let (vocab, hidden) = llama.lm_head.widened()?.dims2()?;
    let (mut rng, spread) = (StdRng::seed_from_u64(0), 1.0 / (hidden as f32).sqrt());
    let values: Vec<f32> = (0..vocab * hidden).map(|_| rng.random_range(-spread..spread)).collect();
    let weight = Tensor::from_vec(values, (vocab, hidden), llama.device())?.to_dtype(llama.dtype())?;
    llama.lm_head = llama.lm_head.with_weight(weight);
    Ok(())
}
