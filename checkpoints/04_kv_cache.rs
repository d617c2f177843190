//! 04 kv_cache: one prefill = chunks = token by token; batch rows do not see each other; A, B, A;
//! the context can be filled and not overfilled.
//!
//! The port is held against its own prefill, site by site, fed with truth and on its own. A mistake
//! that treats prefill and decoding alike is not seen here but at its own stage.
//!
//! Equality is within budget, because Candle's matmul is not the same for one row and for many;
//! only A, B, A runs identical shapes, and must be the same bit for bit. Both sides of a comparison
//! are honest runs that may lie on opposite sides of truth: hence twice the usual factor.

use super::{Checkpoint, Factor, How};

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "04",
    name: "kv_cache",
    judges: "one prefill = chunks = token by token; batch rows independent; A, B, A; context length",
    how: How::Laws(Factor {
        times: 16.0,
        because: "both sides are honest runs and may lie on opposite sides of truth, so twice the factor \
                  of a comparison with truth; token by token against one prefill reaches 24% of this",
    }),
    trips: &[
        "positions restart at 0, or count the loop, in decoding: fluent text, wrong keys",
        "the mask `j > i` on a warm cache: decoding sees only the first token",
        "a cache not emptied between two prompts",
        "a shared counter advanced once a layer",
        "pads of a batch counted as positions",
    ],
    suspects: &[
        "decode-position",
        "shared-counter",
        "uncached-position",
        "mask-missing",
        "mask-square",
        "cache-kept",
        "pad-positions",
        "batch-variance",
        "f16-overflow",
        "logit-row",
    ],
};
