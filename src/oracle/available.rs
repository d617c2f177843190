//! The tensors that a step can read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::given::Given;
use super::pass::Place;
use super::placed::Placed;
use super::rows::Rows;
use crate::graph::{Edge, Node, NodeId};
use crate::{Error, Result};

/// The given tensors and the tensors computed so far.
pub(super) struct AvailableTensors<'a> {
    pub given: &'a Given,
    pub computed: &'a BTreeMap<NodeId, Placed>,
    /// The places at which rows of the step are wanted; `None` means all places.
    pub wanted: Option<&'a BTreeSet<Place>>,
}

/// The inputs of a node, restricted to the places that all of them have.
pub(super) struct Aligned<'a> {
    pub places: Vec<Place>,
    /// The rows of each input, `[places, width]`.
    pub rows: Vec<Cow<'a, Rows>>,
}

impl Aligned<'_> {
    /// Input `n`.
    ///
    /// # Errors
    /// The node has too few inputs, which happens only if the graph was not checked.
    pub fn input(&self, n: usize) -> Result<&Rows> {
        self.rows.get(n).map(AsRef::as_ref).ok_or_else(|| Error::internal("a node has too few inputs"))
    }
}

impl<'a> AvailableTensors<'a> {
    /// The rows of a node. Given rows take precedence over computed ones.
    pub fn get(&self, id: NodeId) -> Result<&'a Placed> {
        let found = self.given.values.get(&id).or_else(|| self.computed.get(&id));
        found.ok_or_else(|| Error::internal(format!("node {} is read before it is computed", id.index())))
    }

    /// Is the row at this place wanted?
    pub fn wants(&self, place: &Place) -> bool {
        self.wanted.is_none_or(|wanted| wanted.contains(place))
    }

    /// The rows of a node, including its cached rows.
    pub fn keys(&self, id: NodeId) -> Result<Cow<'a, Placed>> {
        let own = self.get(id)?;
        match self.given.cached.get(&id) {
            None => Ok(Cow::Borrowed(own)),
            Some(cached) => own.and(cached).map(Cow::Owned),
        }
    }

    /// The row-wise inputs of a node, at those wanted places where every input has a row.
    pub fn aligned(&self, node: &Node) -> Result<Aligned<'a>> {
        let inputs = node.inputs.iter().filter(|input| input.edge == Edge::RowWise);
        let inputs: Vec<&Placed> = inputs.map(|input| self.get(input.node)).collect::<Result<_>>()?;
        let first = inputs.first().map_or(&[][..], |first| first.places());
        let everywhere =
            |place: &Place| inputs.iter().all(|input| input.places().binary_search(place).is_ok());
        let places: Vec<Place> =
            first.iter().copied().filter(|place| self.wants(place) && everywhere(place)).collect();
        let rows = inputs.into_iter().map(|input| input.only(&places)).collect();
        Ok(Aligned { places, rows })
    }
}
