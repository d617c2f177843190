//! Kinds of site: those that may lie interleaved, and how a list names each.

use crate::probe::Kind;

/// The kinds that lie otherwise where q and k are interleaved.
pub(super) const INTERLEAVED: [Kind; 4] = [Kind::QProj, Kind::KProj, Kind::QRope, Kind::KRope];

/// The last parts of a site's name, for a list of kinds.
pub(super) fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Block => "model.layers.N",
        kind => kind.name(),
    }
}
