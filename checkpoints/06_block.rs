//! 06 block: both residual additions on true inputs, then each block as a whole on its true input.
//!
//! Inside a whole block errors of one operation pass through the next ones; the noise was measured
//! the same way, under the same feed.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "06",
    name: "block",
    judges: "both residual additions, then each whole block on its true input",
    how: How::Sites(
        &[
            View { feed: Feed::Site, kinds: &[Kind::PostNormInput, Kind::Block] },
            View { feed: Feed::Block, kinds: &[Kind::Block] },
        ],
        Factor {
            times: 8.0,
            because: "a block passes the error of its first operation through all others, so one unlucky \
                      order of summation shows most here: a fused multiply-add from last to first reaches 38% \
                      of this, Candle 17%",
        },
    ),
    trips: &[
        "the second residual taken from before the attention, or from after the norm",
        "a residual added twice, or not at all",
        "two layers exchanged",
    ],
    suspects: &[],
};
