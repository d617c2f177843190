//! 07 model: compares the logits computed from the reference final norm, then the final norm and logits of a
//! whole forward pass that gets only the prompt.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "07",
    name: "model",
    judges: "logits from the reference final norm; then final norm and logits of a whole forward pass",
    how: How::Sites(
        &[
            View { feed: Feed::Site, kinds: &[Kind::Logits, Kind::CappedLogits] },
            View { feed: Feed::Own, kinds: &[Kind::FinalNorm, Kind::Logits, Kind::CappedLogits] },
        ],
        Factor {
            times: 8.0,
            because: "over all layers the errors of many sums average out: correct models in four orders of \
                      summation reach 25% of this budget on three models",
        },
    ),
    trips: &[
        "you do not tie lm_head where the config ties it",
        "you take the logits of the wrong row: the one before the last, or a padding row",
        "you omit the final norm, or apply it twice",
    ],
    suspects: &["lm-head-random", "device-kernel", "logit-row", "batch-variance"],
};
