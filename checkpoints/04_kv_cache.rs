//! 04 kv_cache: checks that one prefill, chunks, and token by token give the same tensors; that batch rows
//! do not affect each other; that running prompts A, B, A gives the first result again; and that the context
//! can be filled but not overfilled. If the port has a scheduler that runs several sequences in one step, a text must
//! also have these values whatever others join, leave or follow it, however its prompt is divided, and whether its
//! beginning is taken from a kept cache.
//!
//! The port is compared with its own prefill, site by site, once fed reference inputs and once on its own. A
//! mistake that affects prefill and decoding alike does not show here, but at the checkpoint of its stage.
//!
//! Equality is within budget, because Candle's matmul computes one row and many rows differently. Only the
//! two runs of A have identical shapes, and must agree bit for bit. Both sides of a comparison are correct
//! runs that may differ from the reference in opposite directions: hence twice the usual factor.

use super::{Checkpoint, Factor, How};

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "04",
    name: "kv_cache",
    judges: "one prefill equals chunks and single tokens; independent batch rows and sequences that share steps; prompts A, B, A; context length",
    how: How::Laws(Factor {
        times: 16.0,
        because: "both sides are correct runs that may differ from the reference in opposite directions, so the \
                  factor is twice that of a comparison with the reference; token by token against one prefill \
                  reaches 24% of this budget",
    }),
    trips: &[
        "your positions restart at 0 in decoding, or count loop iterations: the text is fluent, the keys are wrong",
        "you mask by `j > i` after tokens are cached: decoding sees only the first token",
        "you do not empty the cache between two prompts",
        "you advance a shared counter once per layer",
        "you count a batch's padding as positions",
        "your scheduler finds a sequence's cache by its place in the batch, and another sequence leaves",
        "you reuse a kept cache for a prompt that begins in another way",
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
        "other-cache",
        "stale-prefix",
        "chunk-position",
        "step-row",
    ],
};
