//! 00B tokens: checks prompt → ids, ids → text, and ids → embedding rows.
//!
//! Ids and text must be equal. Embedding rows are copies: their only measured noise is the rounding to the
//! run's dtype, so the factor has nothing to multiply and the floor of four ulps is the whole budget.

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
        "you add BOS twice, or not at all",
        "you use another model's pre-tokenizer regex: it splits digits in groups of three instead of one by one",
        "you omit the leading ▁ of SentencePiece vocabularies, or byte fallback: `<0xE6>` appears in the text",
        "you encode the special tokens of a chat template as plain text",
        "you scale the embedding by √hidden, as another family does",
    ],
    suspects: &["special-tokens", "device-kernel"],
};
