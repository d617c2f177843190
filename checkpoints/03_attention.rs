//! 03 attention: scores with their mask, probabilities, context, output projection.
//!
//! Scores are judged where they are allowed; what is barred must be barred on both sides, whether
//! by −inf or by the most negative number. A fused kernel never makes scores and probabilities: it
//! is judged at its context, on true q, k and v.

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
            because: "Candle's fused kernel, whose softmax rescales as it goes in a way that no measured run \
                      does, reaches 38% of this; plain attention 15%",
        },
    ),
    trips: &[
        "query head h on key head h mod kv_heads instead of h / group",
        "scale 1/√hidden instead of 1/√head_dim, or applied twice",
        "the mask inverted, off by one, or built by multiplying with −inf, which makes NaN of zeros",
        "padding visible to real tokens, or a batch masked by its first row",
        "softmax over the wrong axis, or accumulated in half precision",
    ],
    suspects: &[
        "mask-inverted",
        "mask-missing",
        "mask-first-row",
        "mask-twice",
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
