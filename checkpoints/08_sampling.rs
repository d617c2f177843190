//! 08 sampling: compares the distributions that the logits processors compute from stored logits, and the
//! tokens drawn from them.
//!
//! The set of kept tokens must be equal. Their probabilities come from float32 logits: a logit x is accurate
//! to |x| ulps, so e^x has that relative error, and so has the sum. Drawing twice with one seed gives the
//! same tokens, and many draws follow the distribution.

use super::{Checkpoint, How};

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "08",
    name: "sampling",
    judges: "logit bias, penalty, temperature, top-k, top-p, min-p against stored distributions; repeatable seeds",
    how: How::Sampling,
    trips: &[
        "you add a logit bias after the penalty or the temperature, or to the probabilities",
        "your repetition penalty multiplies negative logits the wrong way, or is on by default",
        "your top-p leaves out the token that crosses p, or runs before the temperature",
        "your top-k drops ties, or keeps k + 1 tokens",
        "your min-p compares with a fixed threshold instead of the most likely token",
        "you divide by a temperature of 0",
    ],
    suspects: &[],
};
