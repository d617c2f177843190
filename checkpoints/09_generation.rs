//! 09 generation: compares greedy tokens with the reference's, on the path that generates text.
//!
//! The first prompt is decoded token by token, as `generate` does. For each other prompt, one pass over the
//! prompt and the reference's tokens gives all logits, and the generation code draws from them. A mistake that
//! shows only in decoding therefore shows in the first prompt, and in checkpoint 04.
//!
//! Where rounding error is larger than the gap of the two best logits, either token is right: the run then
//! continues from the reference's token, and the step does not count as decisive.

use super::{Checkpoint, How, NearTie};

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "09",
    name: "generation",
    judges: "greedy tokens against the reference's, up to end of sequence",
    how: How::Greedy(NearTie {
        times: 4.0,
        percentile: 0.95,
        decisive: 0.25,
        because: "a gap's error is that of two logits, which was measured in PyTorch's own runs in this dtype; \
                  four times its 95th percentile is more than a correct model reaches, and far less than most gaps",
    }),
    trips: &[
        "you compute the second token at position 0 or 1",
        "you stop at only one of several end-of-sequence tokens",
        "you apply a repetition penalty or a temperature that nobody asked for",
        "you leave out BOS or add it twice: the first token differs",
    ],
    suspects: &["one-eos", "sampler-default", "tie-break"],
};
