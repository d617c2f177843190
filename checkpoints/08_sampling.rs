//! 08 sampling: what the logits processors make of stored logits, and what is drawn from it.
//!
//! Which tokens are kept is exact. The probabilities of those come from float32 logits: a logit x
//! is good to |x| ulps, so e^x to as many parts, and so is their sum. Draws of one seed are the same
//! twice, and many draws follow the distribution.

use super::{Checkpoint, How};

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "08",
    name: "sampling",
    judges: "logit bias, penalty, temperature, top-k, top-p, min-p against stored distributions; seeds reproduce",
    how: How::Sampling,
    trips: &[
        "a logit bias added after the penalty or the temperature, or to the probabilities",
        "a repetition penalty that multiplies negative logits the wrong way, or is on by default",
        "top-p without the token that crosses p, or before the temperature",
        "top-k that drops ties, or keeps k + 1",
        "min-p against a fixed threshold, and not against the likeliest token",
        "temperature 0 divided by",
    ],
    suspects: &[],
};
