//! 01B rope: queries and keys after rotation, on true projections.
//!
//! At position 0 every rotation is the identity and every mistake is invisible: cases hold
//! positions past 256. PyTorch computes angles in float32, whose error grows with the position, so
//! its noise is kept position by position; ours come from float64 angles and stay well below it.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "01B",
    name: "rope",
    judges: "queries and keys after rotation, near positions and far ones",
    how: How::Sites(
        &[View { feed: Feed::Site, kinds: &[Kind::QRope, Kind::KRope] }],
        Factor {
            times: 8.0,
            because: "our angles are float64 and the measured runs' float32, so honest runs stay below the \
                      noise itself: 18% of this at most. The rest is for ports that, like PyTorch, make \
                      angles in float32",
        },
    ),
    trips: &[
        "pairs (2i, 2i+1) rotated in weights made for pairs (i, i + head_dim/2), or the reverse",
        "θ left at 10000 while the config says otherwise",
        "every position off by one: the scores, and so the text, do not change until a cache disagrees",
        "cos and sin tables rounded to half precision",
        "the sign of sin exchanged",
    ],
    suspects: &["rope-pairing", "rope-theta", "rope-scaling", "rope-half-tables", "pad-positions"],
};
