//! 05 ffn: compares gate, up, silu(gate) · up, and down, each fed reference inputs.

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
            because: "matrix products by Candle, and by plain loops in three other orders, reach 21% of this \
                      budget on three models; the down projection has the longest sums of all, 1536 terms here",
        },
    ),
    trips: &[
        "you swap gate and up: silu(up) · gate looks as plausible and is wrong",
        "you use GELU instead of SiLU",
        "you compute the activation in half precision",
        "you feed the attention's output instead of the norm of it",
    ],
    suspects: &["gate-up-swapped", "act-half", "f16-overflow", "gemm-reduced", "fma", "bf16-truncated"],
};
