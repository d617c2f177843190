//! The true values of a case.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::DType;

use super::setup::Setup;
use crate::graph::{Graph, Node, NodeId, RowShape, SiteName};
use crate::oracle::{Arithmetic, Executor, Given, Placed, Precision, Rows};
use crate::probe::Site;
use crate::reference::ReferenceRows;
use crate::{Error, Result};

/// True values by node.
#[derive(Clone, Debug)]
pub(super) struct Truth(BTreeMap<NodeId, (Site, Placed)>);

impl Truth {
    /// These values, found in `graph`.
    pub fn of(graph: &Graph, rows: &BTreeMap<Site, ReferenceRows>) -> Result<Self> {
        let find = |(&site, rows): (&Site, &ReferenceRows)| {
            let id = graph.position(&SiteName::from(site));
            let id = id.ok_or_else(|| Error::internal(format!("the graph has no {site}")))?;
            let values = Rows::new(rows.row_shape.iter().product(), rows.values.clone());
            Ok((id, (site, Placed::new(values, rows.places.to_vec())?)))
        };
        rows.iter().map(find).collect::<Result<_>>().map(Self)
    }

    /// The values at a node.
    pub fn at(&self, id: NodeId) -> Option<&Placed> {
        self.0.get(&id).map(|(_, placed)| placed)
    }

    /// The values as tensors of `dtype` hold them.
    pub fn rounded(&self, dtype: DType) -> Result<Self> {
        let precision = Precision::of(dtype);
        let round = |(&id, (site, placed)): (&NodeId, &(Site, Placed))| {
            let rows = placed.rows();
            let values = rows.values.iter().map(|&value| f64::from(precision.round(value as f32)));
            let values = Rows { width: rows.width, values: values.collect() };
            Ok((id, (*site, Placed::new(values, placed.places().to_vec())?)))
        };
        self.0.iter().map(round).collect::<Result<_>>().map(Self)
    }

    /// Only the values at these sites.
    pub fn only(&self, chosen: impl Fn(Site) -> bool) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(_, (site, _))| chosen(*site))
                .map(|(&id, value)| (id, value.clone()))
                .collect(),
        )
    }

    /// The values at these sites, as inputs of a computation.
    pub fn given(&self, chosen: impl Fn(Site) -> bool) -> Given {
        let chosen = self.0.iter().filter(|(_, (site, _))| chosen(*site));
        Given { values: chosen.map(|(&id, (_, placed))| (id, placed.clone())).collect(), ..Given::default() }
    }
}

/// Computes all wanted sites from what is known.
pub(super) fn exact<A: Arithmetic>(
    setup: &Setup<'_>,
    arithmetic: A,
    known: &Truth,
) -> Result<BTreeMap<Site, ReferenceRows>> {
    let mut all = BTreeMap::new();
    let nodes: BTreeSet<NodeId> = setup.wanted.keys().copied().collect();
    let executor = Executor::new(setup.graph, setup.weights, setup.pass, arithmetic);
    executor.compute(&nodes, &known.given(|_| true), &mut |id, placed| {
        if let (Some(&site), Some(node)) = (setup.wanted.get(&id), setup.graph.node(id)) {
            let row_shape = row_shape(node, setup.pass.length());
            let (places, values) = (placed.places().into(), placed.rows().values.clone());
            all.insert(site, ReferenceRows { places, row_shape, values });
        }
        Ok(())
    })?;
    Ok(all)
}

/// The shape of a row of a node, in a sequence of `keys` slots.
pub(super) fn row_shape(node: &Node, keys: usize) -> Vec<usize> {
    match node.shape {
        RowShape::Flat { width } => vec![width],
        RowShape::Heads { heads, head_dim } => vec![heads, head_dim],
        RowShape::HeadsByKeys { heads } => vec![heads, keys],
    }
}
