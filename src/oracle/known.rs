//! The tensors that a step can read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::given::Given;
use super::pass::Place;
use super::placed::Placed;
use super::rows::Rows;
use crate::graph::{Edge, Node, NodeId};
use crate::{Error, Result};

/// What is given, and what was computed so far.
pub(super) struct Known<'a> {
    pub given: &'a Given,
    pub computed: &'a BTreeMap<NodeId, Placed>,
    /// The only places at which rows of the step are wanted; all of them if none are named.
    pub wanted: Option<&'a BTreeSet<Place>>,
}

/// Inputs at the places that all of them have.
pub(super) struct Aligned<'a> {
    pub places: Vec<Place>,
    /// One an input, `[places, width]`.
    pub rows: Vec<Cow<'a, Rows>>,
}

impl Aligned<'_> {
    /// Input `n`.
    ///
    /// # Errors
    /// There is none: the graph was not checked.
    pub fn input(&self, n: usize) -> Result<&Rows> {
        self.rows.get(n).map(AsRef::as_ref).ok_or_else(|| Error::internal("a node has too few inputs"))
    }
}

impl<'a> Known<'a> {
    /// The rows of a node; given ones come before computed ones.
    pub fn get(&self, id: NodeId) -> Result<&'a Placed> {
        let found = self.given.values.get(&id).or_else(|| self.computed.get(&id));
        found.ok_or_else(|| Error::internal(format!("node {} is read before it is computed", id.index())))
    }

    /// Is a row wanted at this place?
    pub fn wants(&self, place: &Place) -> bool {
        self.wanted.is_none_or(|wanted| wanted.contains(place))
    }

    /// The rows of a node and those of it that are cached.
    pub fn keys(&self, id: NodeId) -> Result<Cow<'a, Placed>> {
        let own = self.get(id)?;
        match self.given.cached.get(&id) {
            None => Ok(Cow::Borrowed(own)),
            Some(cached) => own.and(cached).map(Cow::Owned),
        }
    }

    /// The row-wise inputs of a node, at the wanted places that have a row of each.
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
