//! Windows, and how scores are scaled and capped.

use crate::plants::making::{demand, first_layer};
use crate::plants::plant::{PLANT, Plant};
use crate::weights::LayerType;

/// What wrong scores share.
const SCORES: Plant =
    Plant { fails: &["03", "06", "07", "09"], first: Some("model.layers.0.self_attn.scores"), ..PLANT };

/// What a wrong window shares.
const WINDOW: Plant = Plant {
    name: "sliding-window",
    layer: |config| first_layer(config, LayerType::Sliding),
    shows: |setting| setting.filled_window(),
    ..SCORES
};

pub const PLANTS: &[Plant] = &[
    Plant {
        does: "lets a query see one key less than the window",
        make: |correct| {
            correct.altered(|llama| {
                llama.window = llama.window.map(|window| window - 1);
                Ok(())
            })
        },
        ..WINDOW
    },
    Plant {
        does: "ignores the window",
        make: |correct| {
            correct.altered(|llama| {
                llama.window = None;
                Ok(())
            })
        },
        ..WINDOW
    },
    Plant {
        does: "gives the window to the layers that have none, and not to those that have it",
        make: |correct| {
            correct.altered(|llama| {
                for block in &mut llama.layers {
                    block.layer_type = match block.layer_type {
                        LayerType::Full => LayerType::Sliding,
                        LayerType::Sliding => LayerType::Full,
                    };
                }
                // Only the window changes: each layer keeps its rotation.
                if let Some(local) = &mut llama.local_rope {
                    std::mem::swap(local, &mut llama.rope);
                }
                Ok(())
            })
        },
        layer: |_| 0,
        shows: |setting| {
            setting.filled_window()?;
            let full = first_layer(setting.config, LayerType::Full) < setting.config.num_hidden_layers;
            demand(full, "all layers of this model have the window")
        },
        ..WINDOW
    },
    Plant {
        name: "attention-scale",
        does: "scales by 1/√head_dim instead of 1/√query_pre_attn_scalar",
        make: |correct| {
            correct.altered(|llama| {
                let scale = 1.0 / (llama.config.head_dim as f64).sqrt();
                llama.layers.iter_mut().for_each(|block| block.self_attn.scale = scale);
                Ok(())
            })
        },
        shows: |setting| {
            let other = setting.config.query_pre_attn_scalar.is_some();
            demand(other, "this model's scores are scaled by 1/√head_dim")
        },
        ..SCORES
    },
    Plant {
        name: "score-softcap",
        does: "does not cap scores",
        make: |correct| {
            correct.altered(|llama| {
                llama.layers.iter_mut().for_each(|block| block.self_attn.softcap = None);
                Ok(())
            })
        },
        shows: |setting| {
            demand(setting.config.attn_logit_softcapping.is_some(), "this model's scores are not capped")
        },
        ..SCORES
    },
];
