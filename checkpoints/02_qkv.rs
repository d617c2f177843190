//! 02 qkv: compares the three projections, each fed the reference norm output, and the norms of each head of q and
//! k that some families have.
//!
//! With grouped-query attention k and v are narrower than q, and with an explicit head_dim q is not as wide
//! as the model. In the fixtures all of these widths differ, so that no swap keeps the shape.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "02",
    name: "qkv",
    judges: "query, key and value projections",
    how: How::Sites(
        &[View {
            feed: Feed::Site,
            kinds: &[Kind::QProj, Kind::KProj, Kind::VProj, Kind::QNorm, Kind::KNorm],
        }],
        Factor {
            times: 8.0,
            because: "matrix products by Candle, and by plain loops in three other orders, reach 24% of this \
                      budget on three models. Their longest sums have 576 terms; a wider model's may be ten \
                      times as long",
        },
    ),
    trips: &[
        "you do not transpose a weight: you multiply by [out, in] as if it were [in, out]",
        "you split a fused qkv matrix at the wrong rows",
        "you permute q and k rows for another rotation than the one that follows",
        "you drop a bias that the family has",
        "you norm q and k over the whole row, or after the rotation, where the family norms each head before it",
    ],
    suspects: &[
        "unpermuted-qk",
        "qkv-split",
        "bias-dropped",
        "weight-transposed",
        "gemm-reduced",
        "fma",
        "bf16-truncated",
    ],
};
