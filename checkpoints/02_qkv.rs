//! 02 qkv: the three projections, on true normed inputs.
//!
//! With grouped queries k and v are narrower than q, and with an explicit head_dim q is not as wide
//! as the model: fixtures have all of these differ, so that no exchange keeps the shape.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "02",
    name: "qkv",
    judges: "query, key and value projections",
    how: How::Sites(
        &[View { feed: Feed::Site, kinds: &[Kind::QProj, Kind::KProj, Kind::VProj] }],
        Factor {
            times: 8.0,
            because: "matrix products by Candle and by plain loops in three other orders reach 24% of this \
                      on three models: the longest sums are 576 terms, and a wider model's may be ten times \
                      as long",
        },
    ),
    trips: &[
        "a weight not transposed: [out, in] multiplied as [in, out]",
        "a fused qkv matrix split at the wrong places",
        "q and k rows permuted for another rotation than the one that follows",
        "a bias that the family has, dropped",
    ],
    suspects: &["unpermuted-qk", "qkv-split", "bias-dropped", "weight-transposed", "gemm-reduced", "fma"],
};
