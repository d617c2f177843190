//! Finds tensors that were never computed: every value is zero.

use super::{Alternative, Evidence, Named};
use crate::graph::Operation;

/// Names an operation that was not computed, if each of the port's values is zero and most of the reference's are
/// not. An operation with a weight gives the same tensor if that weight was never loaded; a product is left to the
/// search over its matrix.
pub(super) fn named(e: &Evidence<'_>) -> Option<Named> {
    let linear = matches!(e.node()?.operation, Operation::Linear(_));
    let expected = e.want.values.iter().filter(|&&v| v != 0.0).count();
    if linear || e.got.values.iter().any(|&v| v != 0.0) || 2 * expected <= e.want.values.len() {
        return None;
    }
    let weighted = matches!(e.node()?.operation, Operation::Embedding(_) | Operation::Norm(_));
    let says = "every value of your tensor is zero, although its input is not: the operation was not computed, as on a \
                device without a kernel for it";
    let unloaded = || Alternative {
        mistake: "absent-tensors",
        says: "its weight is all zeros: you never load it".into(),
    };
    let same_as = if weighted { vec![unloaded()] } else { vec![] };
    Some(Named { same_as, ..Named::new("device-kernel", says) })
}
