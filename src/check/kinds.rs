//! Short names of kinds of site.

use crate::probe::Kind;

/// The last part of the site's name, for a list of kinds.
pub(super) fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Block => "model.layers.N",
        kind => kind.name(),
    }
}
