//! 01B rope: compares queries and keys after rotation, fed reference projections.
//!
//! At position 0 every rotation is the identity, so no mistake shows there: the cases contain positions past
//! 256. PyTorch computes angles in float32, whose error grows with the position, so its noise is stored per
//! position. Our model uses float64 angles, and its error stays well below that noise.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "01B",
    name: "rope",
    judges: "queries and keys after rotation, at near and far positions",
    how: How::Sites(
        &[View { feed: Feed::Site, kinds: &[Kind::QRope, Kind::KRope] }],
        Factor {
            times: 8.0,
            because: "our model computes angles in float64 and the measured runs in float32, so correct models \
                      stay below the noise itself: 18% of this budget at most. The rest is for ports that \
                      compute angles in float32, as PyTorch does",
        },
    ),
    trips: &[
        "you rotate pairs (2i, 2i+1) where the weights need pairs (i, i + head_dim/2), or the reverse",
        "you leave θ at 10000 although the config has another value",
        "you shift every position by one: scores and text stay the same until a cache uses other positions",
        "you round the cos and sin tables to half precision",
        "you swap the sign of sin",
    ],
    suspects: &["rope-pairing", "rope-theta", "rope-scaling", "rope-half-tables", "pad-positions"],
};
