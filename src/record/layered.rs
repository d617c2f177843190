//! A case computed stage by stage, so that only one layer's weights and values are in memory.
//!
//! Each matrix is read once per order of summation: the rows under all feeds go through it together, as rows of one
//! batch. Scores, probabilities and logits are computed at a limited number of places, so that the cost of a long
//! prompt grows with its length, except for attention itself.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::DType;
use rayon::prelude::*;

use super::lane::{Lane, Order, Seen, largest, sliced};
use super::stacked::{self, FEEDS};
use super::tokens::Tokens;
use super::values::row_shape;
use crate::graph::{self, Graph, Linear, Node, NodeId, Role, SiteName};
use crate::oracle::{
    Arithmetic as _, BlockMatrix, Executor, Given, LastRead, ORDERS, OnBlocks, Pass, Place, Placed,
    Precision, Rounded, Rows,
};
use crate::probe::{Arithmetic, Site, StageName};
use crate::reference::{Made, OWN_ORACLE, Reference, ReferenceRows, TRUTH};
use crate::weights::Weights;
use crate::{Error, Result};

/// The number of places at which scores, probabilities and logits are stored.
const SHOWN: usize = 64;

/// A case whose stages are computed one after the other.
pub struct Layered {
    model: String,
    graph: Graph,
    tokens: Tokens,
    single: Pass,
    threefold: Pass,
    dtype: DType,
    /// The places at which tensors over keys or over the vocabulary are stored.
    shown: Vec<Place>,
    /// The reference input of the next stage; `None` before the embedding.
    input: Option<Placed>,
    /// The input of the next stage in each order of summation, computed from rounded values only.
    own: Vec<Placed>,
}

impl Layered {
    /// Prepares the case of one prompt, with noise in `dtype`.
    ///
    /// # Errors
    /// The prompt has no tokens, the config contradicts itself, or the family caps its logits.
    pub fn new(weights: &Weights, model: &str, ids: &[u32], dtype: DType) -> Result<Self> {
        let (tokens, graph) = (Tokens::prompt(ids)?, graph::of(weights.config())?);
        // The product with the output matrix is computed in slices, after all other nodes.
        if graph.iter().next_back().is_none_or(|(_, last)| sliced(last).is_none()) {
            let what = format!(
                "{model}: a model whose logits are changed after the last product cannot be streamed"
            );
            return Err(Error::input(what, "check it without --stream"));
        }
        Ok(Self {
            model: model.to_owned(),
            graph,
            single: tokens.pass()?,
            threefold: stacked::pass(&tokens)?,
            dtype,
            shown: some(&tokens.places),
            tokens,
            input: None,
            own: vec![],
        })
    }

    /// Computes the next stage, whose weights are `weights`: its case, which also stores its input.
    ///
    /// # Errors
    /// The weights cannot be read, or a token is outside the vocabulary.
    pub fn stage(&mut self, name: StageName, weights: &Weights) -> Result<Reference> {
        let nodes: Vec<(NodeId, &Node)> = self.graph.iter().filter(|(_, node)| belongs(node, name)).collect();
        let input = self.input_of(name)?;
        let mut truths = self.exact(weights, &nodes, input)?;
        let lane = |run: usize| Lane {
            graph: &self.graph,
            weights,
            pass: &self.threefold,
            nodes: &nodes,
            truths: &truths,
            shown: &self.shown,
            order: Order { rounded: self.rounded(run), own: self.own.get(run) },
        };
        let mut lanes = (0..ORDERS).into_par_iter().map(|run| lane(run).run()).collect::<Result<Vec<_>>>()?;
        if let Some((id, linear)) = nodes.iter().find_map(|&(id, node)| Some((id, sliced(node)?))) {
            let normed = self.graph.node(id).and_then(|node| node.inputs.first()).map(|input| input.node);
            let normed = normed.ok_or_else(|| Error::internal("logits without an input"))?;
            let (logits, rounded) = self.logits(weights, linear, truths.get(&normed), &lanes, normed)?;
            truths.insert(id, logits);
            for (lane, rows) in lanes.iter_mut().zip(rounded) {
                lane.see(id, rows, &truths)?;
            }
        }
        let case = self.case(name, &nodes, &truths, &lanes)?;
        if let Some((last, _)) = nodes.last() {
            self.input = truths.remove(last);
            self.own = lanes.into_iter().map(|lane| lane.own(*last)).collect::<Result<_>>()?;
        }
        Ok(case)
    }

    fn rounded(&self, run: usize) -> Rounded {
        Rounded { precision: Precision::of(self.dtype), run }
    }

    /// The node and the true values that the stage reads.
    fn input_of(&self, name: StageName) -> Result<Option<(NodeId, Site, &Placed)>> {
        let layers = self.graph.iter().filter_map(|(_, node)| node.layer).max().map_or(0, |last| last + 1);
        let Some(site) = name.input(layers) else { return Ok(None) };
        let id = self.graph.position(&SiteName::from(site));
        match (id, &self.input) {
            (Some(id), Some(values)) => Ok(Some((id, site, values))),
            _ => Err(Error::internal("a stage was left out")),
        }
    }

    /// The true values of the stage, except the logits.
    fn exact(
        &self,
        weights: &Weights,
        nodes: &[(NodeId, &Node)],
        input: Option<(NodeId, Site, &Placed)>,
    ) -> Result<BTreeMap<NodeId, Placed>> {
        let read = LastRead::default();
        let exact = OnBlocks::exact(Arithmetic::Dense, &read);
        let executor = Executor::new(&self.graph, weights, &self.single, exact);
        let given: BTreeMap<NodeId, Placed> =
            input.into_iter().map(|(id, _, values)| (id, values.clone())).collect();
        let mut truths = given.clone();
        let whole = nodes.iter().filter(|(_, node)| !node.role.is_over_keys() && sliced(node).is_none());
        let whole: BTreeSet<NodeId> = whole.map(|(id, _)| *id).collect();
        executor.compute(&whole, &Given { values: given, ..Given::default() }, &mut |id, placed| {
            truths.insert(id, placed.clone());
            Ok(())
        })?;
        for (id, node) in nodes.iter().filter(|(_, node)| node.role.is_over_keys()) {
            let given = Lane::given(node, &truths);
            truths.extend(executor.rows(*id, &self.shown, &given)?.map(|placed| (*id, placed)));
        }
        Ok(truths)
    }

    /// The logits at the shown places, exact and in each order: each slice of the matrix is read once.
    fn logits(
        &self,
        weights: &Weights,
        linear: &Linear,
        normed: Option<&Placed>,
        lanes: &[Seen],
        input: NodeId,
    ) -> Result<(Placed, Vec<Placed>)> {
        let missing = || Error::internal("the final norm was not computed");
        let read = LastRead::default();
        let kept = |placed: &Placed, places: &[Place]| placed.kept(places).ok_or_else(missing);
        let threefold = stacked::places(&self.shown, 0..FEEDS.len());
        let exact_x = kept(normed.ok_or_else(missing)?, &self.shown)?;
        let rounded_x = lanes.iter().map(|lane| kept(lane.stacked(input).ok_or_else(missing)?, &threefold));
        let rounded_x = rounded_x.collect::<Result<Vec<_>>>()?;
        let (mut exact, mut rounded) = (Columns::default(), vec![Columns::default(); lanes.len()]);
        for rows in weights.slices(&linear.weight) {
            let matrix = weights.canonical_rows(&linear.weight, &rows)?; // [slice, hidden]
            let matrix = BlockMatrix { matrix, blocks: None };
            exact.add(OnBlocks::exact(Arithmetic::Dense, &read).linear(exact_x.rows(), &matrix, None)?);
            let parts = rounded_x.par_iter().enumerate().map(|(run, x)| {
                OnBlocks::rounded(Arithmetic::Dense, self.rounded(run), &read).linear(x.rows(), &matrix, None)
            });
            let parts = parts.collect::<Result<Vec<_>>>()?;
            rounded.iter_mut().zip(parts).for_each(|(columns, part)| columns.add(part));
        }
        let rounded = rounded.into_iter().map(|columns| columns.placed(threefold.clone()));
        Ok((exact.placed(self.shown.clone())?, rounded.collect::<Result<_>>()?))
    }

    fn case(
        &self,
        name: StageName,
        nodes: &[(NodeId, &Node)],
        truths: &BTreeMap<NodeId, Placed>,
        lanes: &[Seen],
    ) -> Result<Reference> {
        let (mut rows, mut noise) = (BTreeMap::new(), BTreeMap::new());
        let reference = |node: &Node, placed: &Placed| ReferenceRows {
            places: placed.places().into(),
            row_shape: row_shape(node, self.tokens.ids[0].len()),
            values: placed.rows().values.clone(),
        };
        for &(id, node) in nodes {
            if let (Some(site), Some(placed)) = (node.site.probed(), truths.get(&id)) {
                rows.insert(site, reference(node, placed));
                noise.insert(site, largest(lanes, id));
            }
        }
        if let Some((id, site, placed)) = self.input_of(name)?
            && let Some(node) = self.graph.node(id)
        {
            rows.insert(site, reference(node, placed));
            noise.insert(site, vec![0.0; FEEDS.len() * 2]);
        }
        let orders = format!("the oracle's rounded arithmetic in {ORDERS} orders of summation");
        let provenance = [(TRUTH, OWN_ORACLE.to_owned()), ("noise", orders)];
        Reference::made(Made {
            model: self.model.clone(),
            case: "prompt".into(),
            ids: self.tokens.ids.clone(),
            positions: self.tokens.positions.clone(),
            lengths: self.tokens.lengths(),
            padding: None,
            places: self.tokens.places.clone(),
            rows,
            noise,
            quantized: BTreeMap::new(),
            dtypes: vec![self.dtype],
            feeds: FEEDS.to_vec(),
            provenance: provenance.map(|(key, value)| (key.to_owned(), value.into())).into(),
        })
    }
}

/// Is this node computed in the stage?
fn belongs(node: &Node, name: StageName) -> bool {
    let embeds = matches!(node.role, Role::Embed | Role::EmbedScaled);
    match name {
        StageName::Embedding => embeds,
        StageName::Layer(layer) => node.layer == Some(layer),
        StageName::Head => node.layer.is_none() && !embeds,
    }
}

/// All places, or some of a long prompt: the first, the last, and others between them.
fn some(places: &[Place]) -> Vec<Place> {
    if places.len() <= SHOWN {
        return places.to_vec();
    }
    let chosen: BTreeSet<usize> = (0..SHOWN).map(|n| n * (places.len() - 1) / (SHOWN - 1)).collect();
    chosen.into_iter().map(|n| places[n]).collect()
}

/// Slices of columns, side by side.
#[derive(Clone, Default)]
struct Columns(Vec<Rows>);

impl Columns {
    fn add(&mut self, slice: Rows) {
        self.0.push(slice);
    }

    fn placed(self, places: Vec<Place>) -> Result<Placed> {
        let width = self.0.iter().map(|slice| slice.width).sum();
        let row = |r: usize| self.0.iter().flat_map(move |slice| slice.row(r).iter().copied());
        Placed::new(Rows { width, values: (0..places.len()).flat_map(row).collect() }, places)
    }
}
