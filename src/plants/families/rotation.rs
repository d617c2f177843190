//! Rotations that are scaled, or that have two θ.

use crate::model::Llama;
use crate::plants::making::{demand, first_layer};
use crate::plants::plant::{PLANT, Plant};
use crate::weights::{Config, LayerType, RopeScaling};

/// What a wrong rotation shares.
const ROTATION: Plant =
    Plant { fails: &["01B", "06", "07", "09"], first: Some("model.layers.0.self_attn.q_rope"), ..PLANT };

/// What a wrong scaling of Llama 3 shares.
const LLAMA3: Plant = Plant {
    name: "rope-scaling",
    shows: |setting| {
        let llama3 = matches!(setting.config.rope_scaling, RopeScaling::Llama3 { .. });
        demand(llama3, "this model's rotation is not scaled as in Llama 3")
    },
    ..ROTATION
};

pub const PLANTS: &[Plant] = &[
    Plant {
        does: "divides every frequency by the factor of Llama 3's scaling, those of fast pairs too",
        make: |correct| {
            correct.altered(|llama| {
                if let RopeScaling::Llama3 { factor, .. } = llama.config.rope_scaling {
                    rotate_as(llama, RopeScaling::Linear { factor });
                }
                Ok(())
            })
        },
        ..LLAMA3
    },
    Plant {
        does: "takes 8192 as the original context of Llama 3's scaling, whatever the config says",
        make: |correct| {
            correct.altered(|llama| {
                let mut scaling = llama.config.rope_scaling.clone();
                if let RopeScaling::Llama3 { original_max_position_embeddings, .. } = &mut scaling {
                    *original_max_position_embeddings = 8192;
                }
                rotate_as(llama, scaling);
                Ok(())
            })
        },
        ..LLAMA3
    },
    Plant {
        name: "rope-scaling",
        does: "multiplies frequencies by the factor of a linear scaling",
        make: |correct| {
            correct.altered(|llama| {
                if let RopeScaling::Linear { factor } = llama.config.rope_scaling {
                    rotate_as(llama, RopeScaling::Linear { factor: 1.0 / factor });
                }
                Ok(())
            })
        },
        layer: |config| first_layer(config, LayerType::Full),
        shows: |setting| {
            let linear = matches!(setting.config.rope_scaling, RopeScaling::Linear { .. });
            demand(linear, "this model's rotation is not scaled linearly")
        },
        ..ROTATION
    },
    Plant {
        name: "rope-theta",
        does: "rotates layers with a window by the θ of the others",
        make: |correct| {
            correct.altered(|llama| {
                llama.local_rope = None;
                Ok(())
            })
        },
        layer: |config| first_layer(config, LayerType::Sliding),
        shows: |setting| {
            demand(setting.config.local_rope_theta.is_some(), "all layers of this model have one θ")
        },
        ..ROTATION
    },
];

/// Rotates with the frequencies of another scaling.
fn rotate_as(llama: &mut Llama, scaling: RopeScaling) {
    llama.rope.frequencies = Config { rope_scaling: scaling, ..llama.config.clone() }.frequencies();
}
