//! Budgets entry by entry, for operations without a sum: a lookup, an activation, a product of two entries, a
//! residual addition. Each entry of a correct port is a few roundings away from the exact one, however large the other
//! entries of its row are. Under the budget of its row alone, a small entry may be anything.

use candle_core::DType;

use super::reference::judged_as;
use super::replay::{Replay, Way};
use crate::Result;
use crate::compare::{spacing, ulp};
use crate::graph::{Activation, Node, NodeId, Operation};
use crate::oracle::{Placed, Rows};

/// The largest error allowed at each entry of `exact`, the rows of `id`. The budget of an entry is
/// `magnitude · (factor + 4) · ulp`, as that of a row whose noise is one ulp: the half ulps of two or three
/// roundings. The magnitude is the entry itself, and for a sum that of its terms, which may cancel.
///
/// `None` if the operation contains a sum over many terms, or if its inputs are not known exactly.
///
/// # Errors
/// A recorded tensor cannot be read.
pub(super) fn budgets(
    replay: &Replay<'_>,
    id: NodeId,
    way: &Way,
    exact: &Placed,
    factor: f64,
) -> Result<Option<Rows>> {
    let Some(node) = replay.engine.graph.node(id).filter(|_| replay.knows_inputs(way)) else {
        return Ok(None);
    };
    let dtype = judged_as(replay.dump.dtype);
    let allowed = (factor + 4.0) * ulp(dtype);
    // Below this, numbers are further apart than ulps, or are flushed to 0.
    let smallest = if dtype == DType::F16 { spacing(0.0, dtype) } else { f64::from(f32::MIN_POSITIVE) };
    let (y, width) = (exact.rows(), exact.rows().width);
    let input = |n: usize| input(replay, node, n, exact);
    Ok(match &node.operation {
        Operation::Embedding(_) => {
            Some(Rows::from_fn(y.len(), width, |r, j| y.row(r)[j].abs() * allowed + smallest))
        }
        Operation::WeightedSum { factors } => {
            let mut budgets = vec![0.0; y.values.len()];
            for (n, factor) in factors.iter().enumerate() {
                let Some(term) = input(n)? else { return Ok(None) };
                let magnitudes = term.values.iter().map(|x| (factor * x).abs() * allowed + smallest);
                budgets.iter_mut().zip(magnitudes).for_each(|(sum, magnitude)| *sum += magnitude);
            }
            Some(Rows { width, values: budgets })
        }
        Operation::Product => {
            let (Some((x, function)), Some(up)) = (activated(replay, node, exact)?, input(1)?) else {
                return Ok(None);
            };
            let entry = |r: usize, j: usize| {
                let (x, y, up) = (x.row(r)[j], y.row(r)[j], up.row(r)[j]);
                let rest =
                    (factor + 4.0) * smallest * (1.0 + up.abs()) + of_difference(function, x) * up.abs();
                y.abs() * (allowed + of_exponential(x, dtype)) + rest
            };
            Some(Rows::from_fn(y.len(), width, entry))
        }
        &Operation::Activation(function) => {
            let Some(x) = input(0)? else { return Ok(None) };
            let entry = |r: usize, j: usize| {
                let (x, y) = (x.row(r)[j], y.row(r)[j]);
                let rest = (factor + 4.0) * smallest + of_difference(function, x);
                y.abs() * (allowed + of_exponential(x, dtype)) + rest
            };
            Some(Rows::from_fn(y.len(), width, entry))
        }
        _ => None,
    })
}

/// The relative error of e^−x: in float32 it is x ulps. Where e^−x overflows, x / (1 + e^−x) is 0 in kernels that
/// compute it in their dtype, as Candle's CPU kernel of SiLU does in f16 below −11.09. Float32 and bf16 underflow
/// there too.
fn of_exponential(x: f64, dtype: DType) -> f64 {
    let overflows = dtype == DType::F16 && (-x).exp() > f64::from(half::f16::MAX);
    4.0 * x.abs() * ulp(DType::F32) + if overflows { 1.0 } else { 0.0 }
}

/// The absolute error of 1 + tanh in x/2 · (1 + tanh …): for a large negative x, tanh is near −1, and its last bits in
/// float32 are all that is left.
fn of_difference(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Silu => 0.0,
        Activation::GeluTanh => 2.0 * x.abs() * ulp(DType::F32),
    }
}

/// The rows of input `n` of a node at the places of `exact`; `None` if it was not recorded.
fn input(replay: &Replay<'_>, node: &Node, n: usize, exact: &Placed) -> Result<Option<Rows>> {
    let Some(input) = node.inputs.get(n).filter(|input| replay.was_recorded(input.node)) else {
        return Ok(None);
    };
    let rows = replay.exactly(input.node, exact.places())?.filter(|rows| rows.places() == exact.places());
    Ok(rows.map(|rows| rows.rows().clone()))
}

/// The recorded input of the activation that is the first factor of a product, and its function.
fn activated(replay: &Replay<'_>, product: &Node, exact: &Placed) -> Result<Option<(Rows, Activation)>> {
    let first = product.inputs.first().and_then(|input| replay.engine.graph.node(input.node));
    match first.map(|node| (node, &node.operation)) {
        Some((node, &Operation::Activation(function))) => {
            Ok(input(replay, node, 0, exact)?.map(|rows| (rows, function)))
        }
        _ => Ok(None),
    }
}
