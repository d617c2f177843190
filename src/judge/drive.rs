//! Drives: how a port was run to produce the values that are judged.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::files::{Name, name};
use crate::reference::Feed;

/// How a port was run, or where a recorded tensor comes from. Findings of the same drive are compared with
/// each other.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Drive {
    /// Nothing was run: the finding is about a fact of the model.
    #[default]
    Nothing,
    /// A run on this path for a law or a text.
    Path(#[serde(deserialize_with = "name")] Name),
    /// One prefill on this path.
    Prefill(#[serde(deserialize_with = "name")] Name, Feed),
    /// The same sequence in pieces on one cache.
    InPieces(Pieces, #[serde(deserialize_with = "name")] Name, Feed),
    /// One text in the steps of a scheduler.
    SharedSteps(Company, #[serde(deserialize_with = "name")] Name, Feed),
    /// One row of a batch without the others.
    RowAlone(usize, #[serde(deserialize_with = "name")] Name),
    /// A recorded tensor; its values have not been compared yet.
    Recorded,
    /// A recorded tensor compared with the reference: from a whole pass, or from one operation that was fed
    /// reference inputs.
    RecordedAgainstReference(Feed),
    /// A recorded tensor compared with the same tensor recomputed from the recording's earlier tensors.
    Replay {
        /// The name of the recording, if there are two.
        of: Option<String>,
        /// The number of operations that were recomputed, this one included.
        operations: usize,
    },
    /// A recorded tensor compared with that of another recording, which has this name.
    Against(String),
}

/// How a sequence is split.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Pieces {
    /// Several tokens at a time.
    Chunks,
    /// One token at a time.
    Tokens,
}

/// Which other sequences share the steps of a text.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Company {
    /// None: its prompt is read in pieces.
    None,
    /// It joins while another one decodes, and a third one joins while it decodes.
    Joining,
    /// Of two others that decode, the first leaves.
    Leaving,
    /// Others come after it, so that their rows come after its own.
    After,
    /// It begins with a part of the cache of another one that has ended.
    Prefix,
}

impl Company {
    /// All of them, in the order in which they are judged.
    pub(super) const ALL: [Self; 5] = [Self::None, Self::Joining, Self::Leaving, Self::After, Self::Prefix];

    const fn name(self) -> &'static str {
        match self {
            Self::None => "steps of one sequence",
            Self::Joining => "steps that others join",
            Self::Leaving => "steps that another leaves",
            Self::After => "steps with others after it",
            Self::Prefix => "steps after a reused prefix",
        }
    }
}

impl Drive {
    /// Its parts as printed: `in chunks`, `plain`, `feed site`.
    pub fn parts(&self) -> Vec<String> {
        let feed = |feed: &Feed| format!("feed {}", feed.name());
        match self {
            Self::Nothing => vec![],
            Self::Path(path) => vec![(*path).to_owned()],
            Self::Prefill(path, fed) => vec![(*path).to_owned(), feed(fed)],
            Self::InPieces(pieces, path, fed) => {
                let pieces = match pieces {
                    Pieces::Chunks => "in chunks",
                    Pieces::Tokens => "token by token",
                };
                vec![pieces.to_owned(), (*path).to_owned(), feed(fed)]
            }
            Self::SharedSteps(company, path, fed) => {
                vec![company.name().to_owned(), (*path).to_owned(), feed(fed)]
            }
            Self::RowAlone(row, path) => vec![format!("row {row} alone"), (*path).to_owned()],
            Self::Recorded => vec!["recorded".to_owned()],
            Self::RecordedAgainstReference(Feed::Own) => vec!["own values".to_owned()],
            Self::RecordedAgainstReference(Feed::Site | Feed::Block) => {
                vec!["fed reference inputs".to_owned()]
            }
            Self::Replay { of, operations } => {
                let of = of.as_ref().map_or(String::new(), |name| format!(" in {name}"));
                let operations = match operations {
                    1 => String::new(),
                    n => format!(" of {n} operations"),
                };
                vec![format!("replay{operations}{of}")]
            }
            Self::Against(other) => vec![format!("against {other}")],
        }
    }
}

impl fmt::Display for Drive {
    /// `in chunks, plain, feed site`; empty for a fact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Drive::Nothing, "")]
    #[case(Drive::Prefill("plain", Feed::Site), "plain, feed site")]
    #[case(Drive::InPieces(Pieces::Tokens, "fused", Feed::Own), "token by token, fused, feed own")]
    #[case(
        Drive::SharedSteps(Company::Leaving, "plain", Feed::Own),
        "steps that another leaves, plain, feed own"
    )]
    #[case(Drive::RowAlone(2, "plain"), "row 2 alone, plain")]
    #[case(Drive::RecordedAgainstReference(Feed::Own), "own values")]
    #[case(Drive::Replay { of: None, operations: 1 }, "replay")]
    #[case(Drive::Replay { of: Some("b.npz".into()), operations: 3 }, "replay of 3 operations in b.npz")]
    fn a_drive_is_printed_as_its_parts(#[case] drive: Drive, #[case] text: &str) {
        assert_eq!(drive.to_string(), text);
    }
}
