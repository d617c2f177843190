//! Planted mistakes in masks, heads and scale: rows 9 to 15, 18, 30 and 41 of the catalogue.

use candle_core::Tensor;

use super::attending::{Attend, AttentionView, attending};

use super::making::{demand, first_layer};
use super::plant::{PLANT, Plant};
use crate::Result;
use crate::weights::LayerType;

const SCORES: Option<&str> = Some("model.layers.0.self_attn.scores");

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "mask-inverted",
        does: "masks the keys before a query and shows those after it",
        make: |correct| correct.driven(|llama| attending(llama, Inverted)),
        fails: &["03", "04", "06", "07", "09"],
        first: SCORES,
        ..PLANT
    },
    Plant {
        name: "mask-missing",
        does: "masks only padding",
        make: |correct| correct.driven(|llama| attending(llama, Missing)),
        fails: &["03", "04", "06", "07", "09"],
        first: SCORES,
        ..PLANT
    },
    Plant {
        name: "mask-square",
        does: "masks j > i for several queries at once and ignores the length of the cache",
        make: |correct| correct.driven(|llama| attending(llama, Square)),
        fails: &["04"],
        first: SCORES,
        ..PLANT
    },
    Plant {
        name: "mask-first-row",
        does: "uses the padding mask of a batch's first row for all rows",
        make: |correct| correct.driven(|llama| attending(llama, FirstRow)),
        fails: &["03", "04", "06", "07"],
        first: SCORES,
        shows: |setting| setting.padded_left(),
        ..PLANT
    },
    Plant {
        name: "mask-twice",
        does: "masks later keys, and then masks a query's own key as well",
        make: |correct| correct.driven(|llama| attending(llama, Twice)),
        fails: &["03", "04", "06", "07", "09"],
        first: SCORES,
        ..PLANT
    },
    Plant {
        name: "sliding-window",
        does: "lets a query see one key more than the window",
        make: |correct| {
            correct.altered(|llama| {
                llama.window = llama.window.map(|window| window + 1);
                Ok(())
            })
        },
        fails: &["03", "06", "07", "09"],
        first: SCORES,
        layer: |config| first_layer(config, LayerType::Sliding),
        shows: |setting| setting.filled_window(),
        ..PLANT
    },
    Plant {
        name: "head-map",
        does: "matches query head h with key head h mod kv_heads",
        make: |correct| correct.driven(|llama| attending(llama, Tiled)),
        fails: &["03", "06", "07", "09"],
        first: SCORES,
        shows: |setting| {
            let (heads, kv_heads) = (setting.config.num_attention_heads, setting.config.num_key_value_heads);
            demand(
                heads != kv_heads && kv_heads > 1,
                "this model does not group its query heads on several key heads",
            )
        },
        ..PLANT
    },
    Plant {
        name: "attention-scale",
        does: "scales by 1/√hidden_size",
        make: |correct| {
            correct.altered(|llama| {
                let scale = 1.0 / (llama.config.hidden_size as f64).sqrt();
                llama.layers.iter_mut().for_each(|block| block.self_attn.scale = scale);
                Ok(())
            })
        },
        fails: &["03", "06", "07", "09"],
        first: SCORES,
        ..PLANT
    },
    Plant {
        name: "storage-offset",
        does: "reads the cache's keys and values as if they had no gaps in memory",
        make: |correct| correct.driven(|llama| attending(llama, Unstrided)),
        fails: &["03", "06", "07", "09"],
        may: (
            &["04"],
            "a row reads other slots in a batch than alone, so checkpoint 04 fails with a batch and passes with one row",
        ),
        first: SCORES,
        ..PLANT
    },
    Plant {
        name: "pads-visible",
        does: "fills padding with zeros and does not mask it",
        make: |correct| correct.driven(|llama| attending(llama, PadsVisible)),
        fails: &["03", "04", "06", "07"],
        first: SCORES,
        shows: |setting| setting.padded_left(),
        ..PLANT
    },
];

/// Whether there is only one query; most ports use no mask then.
fn alone(view: &AttentionView<'_>) -> bool {
    view.queries == 1
}

struct Inverted;

impl Attend for Inverted {
    fn visible(&self, view: &AttentionView<'_>, b: usize, i: usize, j: usize) -> bool {
        (alone(view) || !view.causal(i, j)) && view.real[b][j]
    }
}

struct Missing;

impl Attend for Missing {
    fn visible(&self, view: &AttentionView<'_>, b: usize, _: usize, j: usize) -> bool {
        view.real[b][j]
    }
}

struct Square;

impl Attend for Square {
    fn visible(&self, view: &AttentionView<'_>, b: usize, i: usize, j: usize) -> bool {
        let sees = if alone(view) { view.within(i, j) } else { j <= i && i < j + view.window };
        sees && view.real[b][j]
    }
}

struct FirstRow;

impl Attend for FirstRow {
    fn visible(&self, view: &AttentionView<'_>, _: usize, i: usize, j: usize) -> bool {
        view.causal(i, j) && view.within(i, j) && view.real[0][j]
    }
}

struct Twice;

impl Attend for Twice {
    fn visible(&self, view: &AttentionView<'_>, b: usize, i: usize, j: usize) -> bool {
        (alone(view) || j < i + view.past) && view.within(i, j) && view.real[b][j]
    }
}

struct Tiled;

impl Attend for Tiled {
    fn key_head(&self, h: usize, _: usize, kv_heads: usize) -> usize {
        h % kv_heads
    }
}

struct PadsVisible;

impl Attend for PadsVisible {
    fn visible(&self, view: &AttentionView<'_>, _: usize, i: usize, j: usize) -> bool {
        view.causal(i, j) && view.within(i, j)
    }

    fn read(&self, cached: &Tensor, view: &AttentionView<'_>) -> Result<Tensor> {
        let (b, _, t, _) = cached.dims4()?;
        let real: Vec<f32> = view.real.iter().flatten().map(|&real| f32::from(u8::from(real))).collect();
        let real = Tensor::from_vec(real, (b, 1, t, 1), cached.device())?.to_dtype(cached.dtype())?;
        Ok(cached.broadcast_mul(&real)?)
    }
}

struct Unstrided;

/// The number of slots by which a cache's storage grows.
const GROWTH: usize = 256;

impl Attend for Unstrided {
    fn read(&self, cached: &Tensor, _: &AttentionView<'_>) -> Result<Tensor> {
        let (b, kv_heads, t, d) = cached.dims4()?;
        let free = t.next_multiple_of(GROWTH) - t;
        let storage = cached.pad_with_zeros(2, 0, free)?; // [b, kv_heads, capacity, d]
        Ok(storage.flatten_all()?.narrow(0, 0, b * kv_heads * t * d)?.reshape((b, kv_heads, t, d))?)
    }
}
