//! How a recorded tensor was rounded, given its recorded inputs.

use candle_core::DType;

use super::replay::{Replay, Way};
use super::replay_noise::{SAMPLED, spread};
use super::value::recorded_rows;
use crate::Result;
use crate::compare::Roundings;
use crate::diagnose::Named;
use crate::graph::{NodeId, Operation};
use crate::judge::Verdict;
use crate::recording::SiteTensor;

/// The number of neighbouring entries that form a cluster, where no error is common to a row.
const CLUSTER: usize = 32;

/// The rounding errors of the tensor recorded at `id` as a number of `dtype`. `None` if its inputs were not all
/// recorded, or if an honest operation of its kind does not err by 0 on average.
///
/// # Errors
/// A tensor or a weight cannot be read.
pub(super) fn roundings(
    replay: &Replay<'_>,
    id: NodeId,
    recorded: &SiteTensor,
    way: &Way,
    dtype: DType,
) -> Result<Option<Roundings>> {
    let Some(cluster) = replay.engine.graph.node(id).and_then(|node| cluster(&node.operation)) else {
        return Ok(None);
    };
    if !replay.is_one_operation(way) {
        return Ok(None);
    }
    let mut roundings = Roundings::to(dtype);
    let got = recorded_rows(recorded, &spread(&replay.places, SAMPLED))?;
    let Some(exact) = replay.exact(id, way, got.places())? else { return Ok(None) };
    let mut rows: Vec<&[f64]> = Vec::new();
    for (&place, want) in exact.places().iter().zip(exact.rows().iter()) {
        // Repeated tokens share rows, and their errors.
        if let Some(got) = got.at(place).filter(|_| !rows.contains(&want)) {
            roundings.row(got, want, cluster);
            rows.push(want);
        }
    }
    Ok(Some(roundings))
}

/// The number of entries of a row whose rounding errors may have a common cause. `None` for operations whose
/// intermediate roundings are shared by many entries: heads share the cosines of a rotation.
fn cluster(operation: &Operation) -> Option<usize> {
    match operation {
        Operation::Embedding(_)
        | Operation::Linear(_)
        | Operation::Context(_)
        | Operation::WeightedSum { .. } => Some(CLUSTER),
        // A port may round the factor of a row, or the sum of a softmax.
        Operation::Norm(_) | Operation::Softmax => Some(usize::MAX),
        Operation::Source
        | Operation::Rope(_)
        | Operation::Scores(_)
        | Operation::Activation(_)
        | Operation::Product
        | Operation::Softcap { .. }
        | Operation::Scale { .. } => None,
    }
}

/// The verdict on a tensor in half precision whose entries are within budget, but whose errors point towards
/// zero. `None` if they do not.
///
/// # Errors
/// A tensor or a weight cannot be read.
pub(super) fn truncation(
    replay: &Replay<'_>,
    id: NodeId,
    recorded: &SiteTensor,
    way: &Way,
) -> Result<Option<(Verdict, Named)>> {
    let dtype = replay.dump.dtype;
    if !matches!(dtype, DType::BF16 | DType::F16) {
        return Ok(None);
    }
    let Some(roundings) = roundings(replay, id, recorded, way, dtype)? else { return Ok(None) };
    let (dtype, entries) = (dtype.as_str(), roundings.entries());
    Ok(roundings.bias().map(|bias| {
        let how = format!(
            "its rounding errors point towards zero: {bias:.2} ulp on average over {entries} entries, and rounding to nearest gives 0"
        );
        let says = format!("you cut bits off where you convert to {dtype}; round to the nearest number");
        (Verdict::Broken(how), Named::new("bf16-truncated", says))
    }))
}
