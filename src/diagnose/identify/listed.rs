//! One change of a tensor, with its name and its description, and the words for parts of a tensor.

use std::ops::Range;

use candle_core::DType;

use crate::diagnose::Evidence;
use crate::diagnose::deviation::Change;
use crate::graph::{Node, Role};

/// A change, the name of the deviation without `input-` or `output-`, and what is done to the tensor.
pub(super) struct Listed {
    pub name: [&'static str; 2],
    pub change: Change,
    pub how: String,
    pub coarse: Option<DType>,
}

pub(super) fn listed(name: [&'static str; 2], change: Change, how: impl Into<String>) -> Listed {
    Listed { name, change, how: how.into(), coarse: None }
}

/// The names of zeros in a tensor.
pub(super) const ZEROS: [&str; 2] = ["input-zeros", "output-zeros"];

/// The width of a head in a tensor that consists of heads; otherwise more than any width.
pub(super) fn heads_of(e: &Evidence<'_>, node: &Node) -> usize {
    let heads = [Role::QProj, Role::KProj, Role::VProj, Role::QRope, Role::KRope, Role::Context];
    if heads.contains(&node.role) { e.config().head_dim } else { usize::MAX }
}

/// `head 5 of 6 (columns 160 to 191)`, `columns 64 to 127 of 128`.
pub(super) fn columns(range: &Range<usize>, width: usize, head_dim: usize) -> String {
    let Range { start, end } = range.clone();
    let plain = if end - start == 1 {
        format!("column {start} of {width}")
    } else {
        format!("columns {start} to {} of {width}", end - 1)
    };
    let whole = [start, end, width].iter().all(|edge| edge.is_multiple_of(head_dim)) && width > head_dim;
    match (end - start) / head_dim {
        1 if whole => format!("head {} ({plain})", start / head_dim),
        n if whole && n > 1 => format!("heads {} to {} ({plain})", start / head_dim, end / head_dim - 1),
        _ => plain,
    }
}
