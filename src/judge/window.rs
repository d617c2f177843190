//! Windows: the part of a case that one forward pass covers.

use std::ops::Range;

use crate::compare::Shape;
use crate::probe::Kind;
use crate::reference::{Place, ReferenceRows};

/// The positions that one forward pass covers, in every batch row.
pub(crate) type Window = Range<usize>;

/// The stored rows in the window.
pub(super) fn inside<'a>(
    reference: &'a ReferenceRows,
    window: &'a Window,
) -> impl Iterator<Item = (usize, Place)> + 'a {
    reference.places.iter().copied().enumerate().filter(|(_, (_, position))| window.contains(position))
}

/// The shape of the tensor that the model must hand over in this window.
pub(super) fn shape(kind: Kind, reference: &ReferenceRows, window: &Window, batch: usize) -> Shape {
    let heads = kind.by_head().then(|| reference.row_shape[0]);
    let stored = reference.row_shape.last().copied().unwrap_or(0);
    // If a window ends before the sequence does, only the keys up to its end have been seen.
    let width = if kind.over_keys() { window.end.min(stored) } else { stored };
    Shape { batch, queries: window.len(), heads, merged: 1, width, over_keys: kind.over_keys() }
}
