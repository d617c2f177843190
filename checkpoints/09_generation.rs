//! 09 generation: greedy tokens against the reference's, on the path that generates.
//!
//! Where the two best logits are closer than arithmetic can tell apart, either token is right: the
//! run is set back on the reference's token there, and the step is not counted as decisive.

use super::{Checkpoint, How, NearTie};

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "09",
    name: "generation",
    judges: "greedy tokens against the reference's, up to end of sequence",
    how: How::Greedy(NearTie {
        times: 4.0,
        percentile: 0.95,
        decisive: 0.25,
        because: "a gap's error is that of two logits, which PyTorch's own runs in this dtype have measured; \
                  four times its 95th percentile is more than an honest run reaches, and far less than most gaps",
    }),
    trips: &[
        "the second token computed at position 0, or 1",
        "one end-of-sequence token of several",
        "a repetition penalty, or a temperature, nobody asked for",
        "BOS missing or doubled: another first token",
    ],
    suspects: &["one-eos", "sampler-default", "tie-break"],
};
