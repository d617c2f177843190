//! 01 rms_norm: attention norm, FFN norm, final norm, each on true inputs.
//!
//! The mean of squares is a sum over the width; its order is the library's own business. A sum of n
//! positive terms errs by far less than n ulps in any order, and the root halves what is left.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "01",
    name: "rms_norm",
    judges: "attention norm, FFN norm and final norm, each on true inputs",
    how: How::Sites(
        &[View { feed: Feed::Site, kinds: &[Kind::InputNorm, Kind::PostNorm, Kind::FinalNorm] }],
        Factor {
            times: 8.0,
            because: "Candle sums squares in sequence and PyTorch pairwise; with three more orders of \
                      summation in the products around it, honest runs reach 14% of this on three models. \
                      The rest is for wider models, whose sums are longer",
        },
    ),
    trips: &[
        "eps of another model (1e-6 for 1e-5), or outside the root: invisible in the text",
        "the sum of squares or the division in half precision",
        "weight applied as 1 + w, or w applied before rounding where the reference rounds first",
        "LayerNorm's mean subtracted",
    ],
    suspects: &["norm-eps", "norm-plus-one", "norm-low-precision"],
};
