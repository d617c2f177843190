//! Finds tensors that were never computed: every value is zero.

use super::{Alternative, Evidence, Named};
use crate::graph::Operation;

const NOT_LOADED: (&str, &str) = ("absent-tensors", "your weight is all zeros: you never load it");
const NOT_COMPUTED: (&str, &str) = (
    "device-kernel",
    "every value of your tensor is zero, although its input is not: the operation was not computed, as on a device \
     without a kernel for it",
);

/// Names an operation that was not computed, if each of the port's values is zero and most of the reference's are
/// not. An operation with a weight gives the same tensor if that weight was never loaded, which is the likelier of the
/// two for a matrix.
pub(super) fn named(e: &Evidence<'_>) -> Option<Named> {
    let expected = e.want.values.iter().filter(|&&v| v != 0.0).count();
    if e.got.values.iter().any(|&v| v != 0.0) || 2 * expected <= e.want.values.len() {
        return None;
    }
    let ((mistake, says), other) = match e.node()?.operation {
        Operation::Linear(_) => (NOT_LOADED, Some(NOT_COMPUTED)),
        Operation::Embedding(_) | Operation::Norm(_) => (NOT_COMPUTED, Some(NOT_LOADED)),
        _ => (NOT_COMPUTED, None),
    };
    let other = other.map(|(mistake, says)| Alternative { mistake, says: says.into() });
    Some(Named { same_as: other.into_iter().collect(), ..Named::new(mistake, says) })
}
