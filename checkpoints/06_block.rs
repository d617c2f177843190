//! 06 block: compares both residual additions fed reference inputs, then each whole block fed its reference
//! input.
//!
//! Inside a whole block, the error of one operation passes through the next ones. The noise was measured the
//! same way, under the same feed.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "06",
    name: "block",
    judges: "both residual additions, then each whole block fed its reference input",
    how: How::Sites(
        &[
            View { feed: Feed::Site, kinds: &[Kind::PostNormInput, Kind::FfnNormInput, Kind::Block] },
            View { feed: Feed::Block, kinds: &[Kind::Block] },
        ],
        Factor {
            times: 8.0,
            because: "a block passes the error of its first operation through all others, so one unlucky \
                      order of summation shows most here: a fused multiply-add from last to first reaches 38% \
                      of this budget, Candle 17%",
        },
    ),
    trips: &[
        "you take the second residual from before the attention, or from after the norm",
        "you add a residual twice, or not at all",
        "you swap two layers",
    ],
    suspects: &[],
};
