//! 00B tokens: prompt → ids, ids → text, ids → embedding rows.
//!
//! Ids and text are exact. Embedding rows are copies: their measured noise is nothing but the
//! rounding to the run's dtype, so the factor has nothing to multiply and the floor of four ulps
//! is the whole budget.

use super::{Checkpoint, Factor, How, View};
use crate::probe::Kind;
use crate::reference::Feed;

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "00B",
    name: "tokens",
    judges: "prompt to ids, ids to text, ids to embedding rows",
    how: How::Tokens(
        View { feed: Feed::Site, kinds: &[Kind::Embed] },
        Factor {
            times: 1.0,
            because: "a lookup computes nothing: its only error is the rounding to the run's dtype",
        },
    ),
    trips: &[
        "BOS added twice, or not at all",
        "the pre-tokenizer's regex of another model: digits in threes instead of one by one",
        "no leading ▁ in SentencePiece vocabularies; byte fallback missing: `<0xE6>` in the text",
        "special tokens of a chat template encoded as plain text",
        "an embedding scaled by √hidden, as another family does",
    ],
    suspects: &["special-tokens"],
};
