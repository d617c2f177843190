//! Feeds: where a forward pass gets reference inputs.

use serde::{Deserialize, Serialize};

use crate::probe::Kind;

/// Where reference tensors replace the model's own in a forward pass.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Feed {
    /// After every stored site, so each operation gets reference inputs.
    Site,
    /// At each block's input; inside a block the model continues with its own values.
    Block,
    /// Nowhere.
    Own,
}

impl Feed {
    /// Its name in manifests and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Feed::Site => "site",
            Feed::Block => "block",
            Feed::Own => "own",
        }
    }

    /// The feed with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Feed::Site, Feed::Block, Feed::Own].into_iter().find(|feed| feed.name() == name)
    }

    /// Does this feed replace sites of this kind with reference tensors?
    pub fn replaces(self, kind: Kind) -> bool {
        match self {
            Feed::Site => true,
            Feed::Block => matches!(kind, Kind::Embed | Kind::Block),
            Feed::Own => false,
        }
    }
}
