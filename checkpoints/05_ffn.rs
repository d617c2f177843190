//! 05 ffn: gate, up, silu(gate) · up, down, each on true inputs.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "05",
    name: "ffn",
    judges: "gate, up, silu(gate) · up, down",
    how: How::Sites(
        &[View { feed: Feed::Site, kinds: &[Kind::Gate, Kind::Up, Kind::Act, Kind::Down] }],
        Factor {
            times: 8.0,
            because: "matrix products by Candle and by plain loops in three other orders reach 21% of this \
                      on three models; the down projection has the longest sums of all, 1536 terms here",
        },
    ),
    trips: &[
        "gate and up exchanged: silu(up) · gate is as smooth and as wrong",
        "GELU for SiLU",
        "the activation in half precision",
        "fed with the attention's output instead of its norm",
    ],
    suspects: &["gate-up-swapped", "act-half", "f16-overflow", "gemm-reduced", "fma"],
};
