//! 03 attention: compares masked scores, probabilities, context and the output projection.
//!
//! Scores are compared where the mask allows them. A masked entry must be masked on both sides, either by
//! −inf or by the most negative number. A fused kernel never produces scores and probabilities: only its
//! context is compared, with reference q, k and v as inputs.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "03",
    name: "attention",
    judges: "scores with mask, probabilities, context, output projection; plain and fused",
    how: How::Sites(
        &[View { feed: Feed::Site, kinds: &[Kind::Scores, Kind::Probs, Kind::Context, Kind::OProj] }],
        Factor {
            times: 8.0,
            because: "Candle's fused kernel, whose softmax rescales as it goes, unlike that of any measured run, \
                      reaches 38% of this budget; plain attention reaches 15%",
        },
    ),
    trips: &[
        "you match query head h with key head h mod kv_heads instead of h / group",
        "you scale by 1/√hidden instead of 1/√head_dim, or you scale twice",
        "you invert the mask, shift it by one, or build it by multiplying by −inf, which turns zeros into NaN",
        "you let real tokens see padding, or you use the first row's mask for the whole batch",
        "you take the softmax over the wrong axis, or accumulate it in half precision",
    ],
    suspects: &[
        "mask-inverted",
        "mask-missing",
        "mask-first-row",
        "mask-twice",
        "mask-value",
        "sliding-window",
        "head-map",
        "attention-scale",
        "head-dim",
        "weight-transposed",
        "f16-overflow",
        "storage-offset",
        "missing-barrier",
        "pads-visible",
        "softmax-half",
        "cache-kept",
    ],
};
