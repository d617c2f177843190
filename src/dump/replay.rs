//! Replay: recomputes every operation from the port's own recorded inputs. If the recorded output differs
//! from the recomputed one, this operation is wrong, even if its inputs are wrong too.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::Against;
use super::engine::Engine;
use super::unsaved;
use super::value::{Reader, Value, recorded_rows};
use crate::Result;
use crate::graph::{Edge, NodeId};
use crate::oracle::{Given, Placed};
use crate::probe::Site;
use crate::recording::{Recording, SiteTensor};
use crate::reference::Place;

/// The number of tensor entries that are computed at once. Scores and logits of a long pass are therefore
/// computed in blocks of rows.
const BLOCK: usize = 1 << 21;

/// A pass that is recomputed node by node, from recorded values where there are any.
pub(super) struct Replay<'a> {
    pub dump: &'a Recording,
    pub against: &'a Against<'a>,
    pub engine: &'a Engine<'a>,
    /// The places of the tokens.
    pub places: Vec<Place>,
    /// The values from which later nodes are computed.
    pub values: BTreeMap<NodeId, Value>,
    /// The nodes visited so far whose recorded values are used.
    recorded: BTreeSet<NodeId>,
}

/// How a node is computed from the available values.
pub(super) struct Way {
    /// The nodes to compute, in the order of the pass; the last one is the node itself.
    pub(super) compute: Vec<NodeId>,
    /// The values to read, and which rows of each.
    pub(super) read: BTreeMap<NodeId, Edge>,
}

impl<'a> Replay<'a> {
    pub fn new(dump: &'a Recording, against: &'a Against<'a>, engine: &'a Engine<'a>) -> Self {
        let (values, recorded) = (BTreeMap::new(), BTreeSet::new());
        Self { dump, against, engine, places: dump.places(), values, recorded }
    }

    /// How to compute `id` from the available values; `None` if values or weights are missing.
    pub fn way(&self, id: NodeId) -> Option<Way> {
        let engine = self.engine;
        let cut = engine.graph.cut(&BTreeSet::from([id]), &self.values.keys().copied().collect());
        let on_the_way =
            |&other: &NodeId| other == id || engine.on_the_way(other) && !self.recorded.contains(&other);
        let cached = self.dump.reads_a_cache();
        let lacks_cache =
            |other| cached && engine.keys_of(other).is_some_and(|keys| self.cached(keys).is_none());
        let computable =
            |&other: &NodeId| engine.has_weights_of(other) && !engine.is_source(other) && !lacks_cache(other);
        if !cut.compute.iter().all(|other| on_the_way(other) && computable(other)) {
            return None;
        }
        let mut read: BTreeMap<NodeId, Edge> = BTreeMap::new();
        for node in cut.compute.iter().filter_map(|&id| engine.graph.node(id)) {
            for input in node.inputs.iter().filter(|input| cut.read.contains(&input.node)) {
                let edge = read.entry(input.node).or_insert(input.edge);
                if input.edge == Edge::AllKeys {
                    *edge = Edge::AllKeys;
                }
            }
        }
        Some(Way { compute: cut.compute, read })
    }

    /// The operations between the last recorded values and `id`, `id` last. If `id` is wrong, one of these
    /// introduced the error.
    pub fn since(&self, id: NodeId) -> Vec<Site> {
        let cut = self.engine.graph.cut(&BTreeSet::from([id]), &self.recorded);
        cut.compute.into_iter().filter_map(|id| self.engine.site(id)).collect()
    }

    /// Are the recorded values of this node used?
    pub fn was_recorded(&self, id: NodeId) -> bool {
        self.recorded.contains(&id)
    }

    /// The recorded tensor of a node, whether it was visited or not.
    ///
    /// # Errors
    /// The tensor cannot be read.
    pub fn recorded_site(&self, id: NodeId) -> Result<Option<SiteTensor>> {
        self.engine.site(id).map_or(Ok(None), |site| self.dump.fit(site, self.against))
    }

    /// The exact rows of `id` at `places`; `None` if none can be computed.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn exact(&self, id: NodeId, way: &Way, places: &[Place]) -> Result<Option<Placed>> {
        self.engine.exact().rows(id, places, &self.given(way, Reader::Exact, places)?)
    }

    pub(super) fn run(&self, n: usize, id: NodeId, way: &Way, places: &[Place]) -> Result<Option<Placed>> {
        self.engine.rounded(n).rows(id, places, &self.given(way, Reader::Run(n), places)?)
    }

    fn given(&self, way: &Way, reader: Reader, places: &[Place]) -> Result<Given> {
        let mut given = Given::default();
        for (&id, &edge) in &way.read {
            let places = match edge {
                Edge::RowWise => places,
                Edge::AllKeys => &self.places,
            };
            given.values.extend(self.read(id, reader, places)?.map(|placed| (id, placed)));
        }
        for keys in way.compute.iter().filter_map(|&id| self.engine.keys_of(id)) {
            given.cached.extend(self.read_cached(keys, reader)?.map(|placed| (keys, placed)));
        }
        Ok(given)
    }

    /// The tensor of the cached rows of a node.
    fn cached(&self, id: NodeId) -> Option<&SiteTensor> {
        self.dump.cache().at(self.engine.site(id)?)
    }

    /// The cached rows of a node, at the slots before the pass.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub fn read_cached(&self, id: NodeId, reader: Reader) -> Result<Option<Placed>> {
        let Some(cached) = self.cached(id) else { return Ok(None) };
        let cache = self.dump.cache();
        let slots = |b| (0..cache.slots()).map(move |slot| (b, slot));
        let all = (0..self.dump.input.batch()).flat_map(slots);
        let places: Vec<Place> = all.filter(|&(b, slot)| cache.is_real(b, slot)).collect();
        let placed = recorded_rows(cached, &places)?;
        match (self.dump.saved, reader) {
            (Some(saved), Reader::Run(run)) => unsaved::before(saved, cached.site, run, &placed).map(Some),
            _ => Ok(Some(placed)),
        }
    }

    /// The rows of a value at `places` as an operation reads them. Padding has no values here, so any
    /// probability that the port assigned to it is read as 0.
    fn read(&self, id: NodeId, reader: Reader, places: &[Place]) -> Result<Option<Placed>> {
        let Some(value) = self.values.get(&id) else { return Ok(None) };
        let mut placed = value.rows(reader, places)?;
        if let (Some(saved), Value::Recorded(recorded), Reader::Run(run)) = (self.dump.saved, value, reader) {
            placed = unsaved::before(saved, recorded.site, run, &placed)?;
        }
        if !self.engine.is_softmax(id) {
            return Ok(Some(placed));
        }
        let (mut probs, slots) = (placed.rows().clone(), self.dump.slots());
        for (row, &(batch, _)) in probs.values.chunks_exact_mut(probs.width).zip(placed.places()) {
            let weights = row.iter_mut().enumerate();
            weights
                .filter(|(j, _)| !self.dump.is_real((batch, j % slots)))
                .for_each(|(_, weight)| *weight = 0.0);
        }
        Placed::new(probs, placed.places().to_vec()).map(Some)
    }

    /// Is only one operation computed, from recorded tensors alone?
    pub fn is_one_operation(&self, way: &Way) -> bool {
        way.compute.len() == 1 && way.read.keys().all(|id| self.was_recorded(*id))
    }

    /// Are all inputs the very values that the port computed with?
    pub fn knows_inputs(&self, way: &Way) -> bool {
        self.dump.saved.is_none() && way.read.keys().all(|id| self.was_recorded(*id))
    }

    /// The exact values of a known node at `places`.
    ///
    /// # Errors
    /// A recorded tensor cannot be read.
    pub fn exactly(&self, id: NodeId, places: &[Place]) -> Result<Option<Placed>> {
        self.read(id, Reader::Exact, places)
    }

    /// The number of rows that are computed at once. Rows that are read count too: those of probabilities are
    /// much wider than those of the context.
    pub(super) fn rows_at_once(&self, way: &Way) -> usize {
        let by_row = way.read.iter().filter(|(_, edge)| **edge == Edge::RowWise).map(|(id, _)| id);
        let widest = way.compute.iter().chain(by_row).map(|&id| self.engine.width(id)).max().unwrap_or(1);
        (BLOCK / widest.max(1)).max(1)
    }

    /// Computes the exact rows of `id` at `places` in blocks, several in parallel, and passes each block to
    /// `see` in the order of the places.
    ///
    /// # Errors
    /// A weight cannot be read, or `see` returns an error.
    pub fn each_block(
        &self,
        id: NodeId,
        way: &Way,
        places: &[Place],
        mut see: impl FnMut(&Placed) -> Result<()>,
    ) -> Result<()> {
        let blocks: Vec<&[Place]> = places.chunks(self.rows_at_once(way)).collect();
        for side_by_side in blocks.chunks(rayon::current_num_threads()) {
            let computed = side_by_side.par_iter().map(|block| self.exact(id, way, block));
            computed.collect::<Result<Vec<_>>>()?.iter().flatten().try_for_each(&mut see)?;
        }
        Ok(())
    }

    /// Stores the value of `id` for later nodes to read.
    pub fn keep(&mut self, id: NodeId, value: Value) {
        if matches!(value, Value::Recorded(_)) {
            self.recorded.insert(id);
        }
        self.values.insert(id, value);
    }

    /// Drops the values that are not needed after `id`, the last node of its layer, neither to compute nor to
    /// judge later nodes.
    pub fn forget(&mut self, id: NodeId) {
        let mut kept = BTreeSet::from([id]);
        if !self.recorded.contains(&id) {
            kept.extend(self.engine.graph.cut(&BTreeSet::from([id]), &self.recorded).read);
        }
        self.values.retain(|other, _| kept.contains(other));
    }
}
