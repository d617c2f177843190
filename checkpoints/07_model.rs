//! 07 model: logits on a true final norm, then final norm and logits of a whole forward on nothing
//! but the prompt.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "07",
    name: "model",
    judges: "logits on a true final norm; final norm and logits of the whole forward",
    how: How::Sites(
        &[
            View { feed: Feed::Site, kinds: &[Kind::Logits] },
            View { feed: Feed::Own, kinds: &[Kind::FinalNorm, Kind::Logits] },
        ],
        Factor {
            times: 8.0,
            because: "over all layers the errors of many sums average out: honest runs in four orders of \
                      summation on three models reach 25% of this",
        },
    ),
    trips: &[
        "lm_head not tied where the config ties it",
        "logits of the wrong row: the one before the last, or a pad's",
        "the final norm forgotten, or applied twice",
    ],
    suspects: &["lm-head-random", "device-kernel", "logit-row", "batch-variance"],
};
