//! Biases, the activation, and what Gemma does with the embedding and the logits.

use crate::plants::making::{Setting, demand};
use crate::plants::plant::{PLANT, Plant};
use crate::plants::remake::remade;
use crate::probe::Kind;
use crate::weights::Activation;

/// What a wrong activation shares.
const ACTIVATION: Plant = Plant {
    name: "activation-function",
    fails: &["05", "06", "07", "09"],
    first: Some("model.layers.0.mlp.act"),
    shows: |setting| {
        let gelu = setting.config.family.activation() == Activation::GeluTanh;
        demand(gelu, "this family's activation is not GELU")
    },
    ..PLANT
};

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "bias-dropped",
        does: "adds no bias to v",
        make: |correct| {
            correct.altered(|llama| {
                llama.layers.iter_mut().for_each(|block| block.self_attn.v_proj.bias = None);
                Ok(())
            })
        },
        fails: &["02", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.v_proj"),
        shows: |setting| biased(setting, "self_attn.v_proj"),
        ..PLANT
    },
    Plant {
        name: "bias-dropped",
        does: "adds no bias to the attention's output",
        make: |correct| {
            correct.altered(|llama| {
                llama.layers.iter_mut().for_each(|block| block.self_attn.o_proj.bias = None);
                Ok(())
            })
        },
        fails: &["03", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.o_proj"),
        shows: |setting| biased(setting, "self_attn.o_proj"),
        ..PLANT
    },
    Plant {
        name: "embedding-scale",
        does: "does not scale the embedding",
        make: |correct| {
            correct.altered(|llama| {
                llama.embedding_scale = None;
                Ok(())
            })
        },
        fails: &["00B", "07", "09"],
        first: Some("model.embed_tokens"),
        shows: |setting| {
            demand(setting.config.embedding_scale().is_some(), "this family does not scale the embedding")
        },
        ..PLANT
    },
    Plant {
        name: "logit-softcap",
        does: "does not cap logits; the order of tokens stays the same",
        make: |correct| {
            correct.altered(|llama| {
                llama.softcap = Some(f64::from(u32::MAX)); // tanh(x) is x there
                Ok(())
            })
        },
        fails: &["07"],
        first: Some("lm_head.softcap"),
        shows: |setting| {
            demand(setting.config.final_logit_softcapping.is_some(), "this model's logits are not capped")
        },
        ..PLANT
    },
    Plant {
        does: "uses the exact GELU instead of its tanh approximation",
        make: |correct| {
            correct.driven(|llama| {
                remade(llama, |pass, site, _| match (site.kind, pass.last(Kind::Gate), pass.last(Kind::Up)) {
                    (Kind::Act, Some(gate), Some(up)) => Ok(Some((gate.gelu_erf()? * up)?)),
                    _ => Ok(None),
                })
            })
        },
        // The two functions differ by up to 5e-4.
        fails: &["05", "06", "07"],
        may: (&["09"], "the difference is small, and may change no token"),
        ..ACTIVATION
    },
    Plant {
        does: "uses SiLU instead of GELU",
        make: |correct| {
            correct.altered(|llama| {
                llama.layers.iter_mut().for_each(|block| block.mlp.activation = Activation::Silu);
                Ok(())
            })
        },
        ..ACTIVATION
    },
];

fn biased(setting: &Setting<'_>, module: &str) -> Result<(), String> {
    demand(setting.config.biases.contains(module), "this model has no such bias")
}
