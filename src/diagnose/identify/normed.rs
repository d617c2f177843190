//! Tensors that are normed once more than they should be.

use super::proposal::called;
use crate::Result;
use crate::diagnose::Evidence;
use crate::diagnose::deviation::Change;
use crate::graph::{Node, Operation, Role};
use crate::oracle::vector;

/// A norm, a name and the changes that make it.
pub(super) type Norms = Vec<(&'static str, Vec<Change>, String)>;

/// A tensor normed once more: without a weight, or by one of the layer's norms.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn norms(e: &Evidence<'_>, node: &Node, width: usize) -> Result<Norms> {
    let (head_dim, eps) = (e.config().head_dim, e.config().rms_norm_eps);
    let mut all: Norms = Vec::new();
    for run in [width, head_dim] {
        if run < 2 || !width.is_multiple_of(run) || (run == width) == (run == head_dim) && all.len() > 1 {
            continue;
        }
        let of = if run == width { "each row" } else { "each head" };
        let unit = Change::Normed { run, eps, unit: true };
        all.push(("tensor-normed", vec![unit], format!("with {of} scaled to length 1")));
        for (eps, how) in [(eps, ""), (0.0, " and no ε")] {
            let normed = Change::Normed { run, eps, unit: false };
            let how = format!("with {of} divided by its root mean square, without a weight{how}");
            all.push(("tensor-normed", vec![normed], how));
        }
    }
    for norm in layer_norms(e, node, width)? {
        for (eps, without) in [(norm.eps, ""), (0.0, ", without ε")] {
            let by = Change::Normed { run: width, eps, unit: false };
            let how = format!("after {} is applied to it once more{without}", norm.name);
            all.push(("tensor-normed", vec![by, norm.weighted.clone()], how));
        }
    }
    Ok(all)
}

/// A norm of a layer.
pub(super) struct LayerNorm {
    pub name: String,
    pub eps: f64,
    /// The product with its weight.
    pub weighted: Change,
}

/// The norms of a node's layer whose rows are `width` wide.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn layer_norms(e: &Evidence<'_>, node: &Node, width: usize) -> Result<Vec<LayerNorm>> {
    // The embedding is in front of the first layer.
    let layer = if node.role == Role::Embed { Some(0) } else { node.layer };
    let mut all = Vec::new();
    for (_, other) in e.graph.iter().filter(|(_, other)| other.layer == layer) {
        let Operation::Norm(norm) = &other.operation else { continue };
        if norm.rule.run(other.shape.width(1)) == width && e.context.weights.shape(&norm.weight).is_some() {
            let gain = norm.rule.gain(&vector(e.context.weights, &norm.weight)?);
            let weighted = Change::Weighted(gain.into());
            all.push(LayerNorm { name: called(other), eps: norm.rule.eps, weighted });
        }
    }
    Ok(all)
}
