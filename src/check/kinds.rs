//! Kinds of site: those with an interleaved layout, and their short names.

use crate::probe::Kind;

/// The kinds whose layout changes if q and k are interleaved.
pub(super) const INTERLEAVED: [Kind; 4] = [Kind::QProj, Kind::KProj, Kind::QRope, Kind::KRope];

/// The last part of the site's name, for a list of kinds.
pub(super) fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Block => "model.layers.N",
        kind => kind.name(),
    }
}
