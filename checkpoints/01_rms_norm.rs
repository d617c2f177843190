//! 01 rms_norm: compares the attention norm, FFN norm and final norm, each fed reference inputs; in Gemma also the
//! norms of the outputs of attention and FFN.
//!
//! The mean of squares is a sum over the width, and each library chooses its own order of summation. In any
//! order, the error of a sum of n positive terms is far less than n ulps, and the square root halves the
//! relative error that remains.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "01",
    name: "rms_norm",
    judges: "attention norm, FFN norm and final norm, each fed reference inputs",
    how: How::Sites(
        &[View {
            feed: Feed::Site,
            kinds: &[Kind::InputNorm, Kind::PostNorm, Kind::FfnNorm, Kind::FfnPostNorm, Kind::FinalNorm],
        }],
        Factor {
            times: 8.0,
            because: "Candle sums squares in sequence and PyTorch sums them pairwise; with three more orders of \
                      summation in the products around the norm, correct models reach 14% of this budget on \
                      three models. The rest is for wider models, whose sums are longer",
        },
    ),
    trips: &[
        "you use another model's ε (1e-6 for 1e-5), or add it outside the root: the text does not show it",
        "you compute the sum of squares or the division in half precision",
        "you multiply by 1 + w, or multiply by w before rounding where the reference rounds first",
        "you subtract the mean, as LayerNorm does",
    ],
    suspects: &["norm-eps", "norm-plus-one", "norm-low-precision", "bf16-truncated"],
};
