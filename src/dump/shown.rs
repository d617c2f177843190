//! The graph of a recording whose config is unknown: the recorded tensors, and those operations between them
//! that need neither weights nor values from a config.

use std::collections::BTreeMap;

use crate::Result;
use crate::graph::{Activation, Builder, Graph, NodeId, Role, RowShape};
use crate::probe::{Kind, Kinds, Site};
use crate::recording::{Lookup, Recording};

/// The graph of a recording with `layers` layers. A recorded tensor becomes a source, unless it can be
/// computed from others by a softmax, an activation, a product or a sum. `None` if no recorded tensor can be
/// used.
///
/// # Errors
/// The recording cannot be read.
pub(super) fn graph(dump: &Recording, layers: usize) -> Result<Option<Graph>> {
    let mut g = Builder::default();
    let kinds: Kinds = dump.sites().map(|site| site.kind).collect();
    let mut nodes: BTreeMap<Site, (NodeId, RowShape)> = BTreeMap::new();
    for site in sites(layers) {
        match site.layer {
            Some(layer) => g.enter_layer(layer.into(), format!("model.layers.{layer}")),
            None => g.leave_layers(),
        }
        let (name, role) = (site.kind.name(), role(site.kind, kinds));
        let inputs: Option<Vec<(NodeId, RowShape)>> =
            site.inputs(layers, kinds).iter().map(|input| nodes.get(input).copied()).collect();
        let made = match (site.kind, inputs.as_deref()) {
            (Kind::Probs, Some(&[(scores, shape)])) => Some((g.softmax(role, name, scores), shape)),
            // A model has only one of them.
            (Kind::PostNormInput, _) if kinds.norms_branches() => None,
            (Kind::FfnNormInput, _) if !kinds.norms_branches() => None,
            (
                Kind::PostNormInput | Kind::FfnNormInput | Kind::Block,
                Some(&[(x, shape), (branch, other)]),
            ) if shape == other => Some((g.sum(role, name, x, branch), shape)),
            // A Gemma has another activation.
            (Kind::Act, Some(_)) if kinds.norms_branches() => {
                recorded(dump, site)?.map(|shape| (g.source(role, name, shape), shape))
            }
            (Kind::Act, Some(&[(gate, shape), (up, other)])) if shape == other => {
                let active = g.activation(Role::Activation, "mlp.act_fn", gate, Activation::Silu);
                Some((g.product(role, name, active, up), shape))
            }
            _ => recorded(dump, site)?.map(|shape| (g.source(role, name, shape), shape)),
        };
        nodes.extend(made.map(|node| (site, node)));
    }
    if nodes.is_empty() { Ok(None) } else { g.finish().map(Some) }
}

/// Every site of a model, in forward order.
fn sites(layers: usize) -> impl Iterator<Item = Site> {
    let inside =
        |n: usize| Kind::ALL.iter().filter(|kind| kind.in_layer()).map(move |&kind| Site::layer(n, kind));
    let ends = [Kind::FinalNorm, Kind::Logits, Kind::CappedLogits].map(Site::model);
    std::iter::once(Site::model(Kind::Embed)).chain((0..layers).flat_map(inside)).chain(ends)
}

/// The row shape of the tensor recorded at `site`.
fn recorded(dump: &Recording, site: Site) -> Result<Option<RowShape>> {
    let Lookup::Tensor(recorded) = dump.lookup(site, None)? else { return Ok(None) };
    let shape = recorded.shape();
    Ok(Some(match shape.heads {
        None => RowShape::Flat { width: shape.width },
        Some(heads) if shape.over_keys => RowShape::HeadsByKeys { heads },
        Some(heads) => RowShape::Heads { heads, head_dim: shape.width },
    }))
}

/// The role of a kind of site in the graph.
const fn role(kind: Kind, kinds: Kinds) -> Role {
    match kind {
        Kind::PostNorm if kinds.norms_branches() => Role::AttnPostNorm,
        Kind::QNorm => Role::QNorm,
        Kind::KNorm => Role::KNorm,
        Kind::FfnPostNorm => Role::FfnPostNorm,
        Kind::CappedLogits => Role::Logits,
        Kind::Embed => Role::Embed,
        Kind::InputNorm => Role::AttnPreNorm,
        Kind::QProj => Role::QProj,
        Kind::KProj => Role::KProj,
        Kind::VProj => Role::VProj,
        Kind::QRope => Role::QRope,
        Kind::KRope => Role::KRope,
        Kind::Scores => Role::Scores,
        Kind::Probs => Role::Probs,
        Kind::Context => Role::Context,
        Kind::OProj => Role::OProj,
        Kind::PostNormInput | Kind::FfnNormInput => Role::AttnResidual,
        Kind::PostNorm | Kind::FfnNorm => Role::FfnPreNorm,
        Kind::Gate => Role::Gate,
        Kind::Up => Role::Up,
        Kind::Act => Role::Gated,
        Kind::Down => Role::Down,
        Kind::Block => Role::Block,
        Kind::FinalNorm => Role::FinalNorm,
        Kind::Logits => Role::Head,
    }
}
