//! Where truth enters.

use crate::probe::Kind;

/// Where truth enters a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    /// After every stored site: each operation is judged on clean inputs.
    Site,
    /// At each block's input; inside a block the model goes on with its own values.
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

    /// Is a site of this kind replaced by truth?
    pub fn replaces(self, kind: Kind) -> bool {
        match self {
            Feed::Site => true,
            Feed::Block => matches!(kind, Kind::Embed | Kind::Block),
            Feed::Own => false,
        }
    }
}
