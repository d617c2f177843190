//! All that is known about a site that differs: the port's rows, the reference at the same rows, and the
//! tensors that the port continued with at the inputs of the site.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::DType;

use super::cut::{Cut, PortTensors};
use super::key::key_in;
use super::matrices::Matrices;
use crate::compare::{Budget, Noise, Scale};
use crate::graph::{Graph, Node, NodeId, Operation, Scores, SiteName};
use crate::oracle::{Given, Pass, Place, Rows};
use crate::probe::{Arithmetic, Kind, Layout, Site};
use crate::weights::{Config, LayerType, Weights};
use crate::{Error, Result};

/// A failed site, its rows, and its inputs.
pub struct Evidence<'a> {
    /// The site, and what is known about the port there.
    pub context: SiteContext<'a>,
    /// What the port should compute.
    pub(super) graph: Cow<'a, Graph>,
    /// The node of the site.
    pub(super) id: NodeId,
    /// The nodes between the given tensors and the site, in the order of the pass; the site's own node is
    /// last.
    pub(super) cut: Vec<NodeId>,
    /// The inputs of the cut; `None` if one of them is unknown.
    pub(super) given: Option<Given>,
    /// Batch row and slot of each judged row.
    pub places: Vec<Place>,
    /// The position of each judged row.
    pub positions: Vec<usize>,
    /// What the port computed, `[rows, width]`. Masked scores are −inf.
    pub got: Rows,
    /// What it is compared with: the reference, or the port's own prefill for a law.
    pub want: Rows,
    /// Measured noise of each row.
    pub noise: Vec<Noise>,
    /// The matrices that have been read.
    pub(super) matrices: Matrices,
    /// The tensors that the port continued with.
    pub(super) tensors: &'a dyn PortTensors,
}

/// A failed site without its rows.
#[derive(Clone)]
pub struct SiteContext<'a> {
    /// The site.
    pub site: Site,
    /// What the port should compute.
    pub graph: &'a Graph,
    /// The weights and their config.
    pub weights: &'a Weights,
    /// The tokens that the call sees, including those of earlier calls.
    pub pass: &'a Pass,
    /// The dtype in which the port computes.
    pub dtype: DType,
    /// The arithmetic of its matrix products.
    pub arithmetic: Arithmetic,
    /// The layout of the port's tensor at this site. The rows in [`Evidence`] are already in the reference's
    /// order.
    pub layout: Layout,
    /// Kinds of site for which the port's path never creates a tensor.
    pub hides: &'a [Kind],
    /// How many times the noise is allowed.
    pub factor: f64,
    /// The slots that were fed in this call.
    pub window: Range<usize>,
    /// Whether the whole pass was fed in this one call.
    pub whole: bool,
    /// Whether the same kind of site agrees in layer 0.
    pub first_layer_agrees: bool,
}

/// The reference values of one row of a site.
pub struct ReferenceRow<'a> {
    /// Batch row and slot.
    pub place: Place,
    /// The values.
    pub row: Cow<'a, [f64]>,
    /// The measured rounding error of correct arithmetic there.
    pub noise: Noise,
}

impl<'a> Evidence<'a> {
    /// Collects the evidence from the rows that can be judged: those that are not all zeros and whose noise
    /// is smaller than their scale. `got` returns what the port computed at some places. `None` if no row can
    /// be judged or the port's tensor has other axes.
    ///
    /// # Errors
    /// The errors of `got`; the graph does not have the site.
    pub fn of(
        context: SiteContext<'a>,
        wanted: impl Iterator<Item = ReferenceRow<'a>>,
        got: impl FnOnce(&[Place]) -> Result<Option<Rows>>,
        tensors: &'a dyn PortTensors,
    ) -> Result<Option<Self>> {
        const NOTHING: Scale = Scale { max: 0.0, rms: 0.0 };
        let says = |wanted: &ReferenceRow<'_>| {
            wanted.noise.max < 1.0 && Scale::of(wanted.row.iter().copied()) != NOTHING
        };
        let wanted: Vec<ReferenceRow<'_>> = wanted.filter(says).collect();
        let Some(width) = wanted.first().map(|first| first.row.len()) else { return Ok(None) };
        let places: Vec<Place> = wanted.iter().map(|wanted| wanted.place).collect();
        let Some(got) = got(&places)? else { return Ok(None) };
        let name = SiteName::from(context.site);
        let unknown = || Error::internal(format!("the graph has no site {name}"));
        let id = context.graph.position(&name).ok_or_else(unknown)?;
        let computed = context.graph.ids().filter(|&id| tensors.computes(id));
        let cut = Cut::new(context.graph, id, &computed.collect());
        let position = |&place: &Place| context.pass.token(place).map_or(0, |token| token.position);
        Ok(Some(Self {
            graph: Cow::Borrowed(context.graph),
            given: cut.given(tensors),
            id,
            cut: cut.nodes,
            positions: places.iter().map(position).collect(),
            noise: wanted.iter().map(|wanted| wanted.noise).collect(),
            want: Rows::new(width, wanted.iter().flat_map(|wanted| wanted.row.to_vec()).collect()),
            places,
            got,
            context,
            matrices: Matrices::default(),
            tensors,
        }))
    }
}

impl<'a> Evidence<'a> {
    /// The config.
    pub fn config(&self) -> &Config {
        self.context.weights.config()
    }

    /// What ports add to the weights of norms by mistake, and what is then said.
    pub(super) fn plus_one(&self) -> [(f64, &'static str); 2] {
        if self.config().family.norm_offset() == 0.0 {
            [
                (1.0, "you multiply by 1 + w; these weights already contain the 1, so multiply by w"),
                (-1.0, "you multiply by w − 1; multiply by these weights as they are"),
            ]
        } else {
            [
                (-1.0, "you multiply by w; the norms of this family multiply by 1 + w"),
                (
                    1.0,
                    "you multiply by 2 + w; the norms of this family multiply by 1 + w: you add the 1 twice",
                ),
            ]
        }
    }

    /// The name of θ of the site's layer in the user's own file.
    pub(super) fn theta_key(&self) -> String {
        let config = self.config();
        let layer = self.context.site.layer.map_or(0, usize::from);
        let local = config.local_rope_theta.is_some() && config.layer_type(layer) == LayerType::Sliding;
        self.key(if local { "rope_local_base_freq" } else { "rope_theta" })
    }

    /// The node of the site.
    pub(super) fn node(&self) -> Option<&Node> {
        self.graph.node(self.id)
    }

    /// The nodes of the cut.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.cut.iter().filter_map(|&id| self.graph.node(id))
    }

    /// The scores of the cut, if it has any.
    pub(super) fn scores(&self) -> Option<&Scores> {
        self.nodes().find_map(|node| match &node.operation {
            Operation::Scores(scores) => Some(scores),
            _ => None,
        })
    }

    /// Whether the cut contains a softmax.
    pub(super) fn computes_softmax(&self) -> bool {
        self.nodes().any(|node| node.operation == Operation::Softmax)
    }

    /// The judged rows of input `n` of the site's operation.
    pub(super) fn input(&self, n: usize) -> Option<Rows> {
        let id = self.node()?.inputs.get(n)?.node;
        Some(self.given.as_ref()?.values.get(&id)?.kept(&self.places)?.rows().clone())
    }

    /// How far `predicted`, row `r` of a predicted tensor, may differ from the port's row.
    pub fn budget(&self, r: usize, predicted: &[f64]) -> Budget {
        let scale = Scale::of(predicted.iter().copied());
        Budget::derive(scale, self.noise[r], self.context.factor, self.context.dtype)
    }

    /// The columns in which the port's row `r` is wrong.
    pub fn wrong(&self, r: usize) -> impl Iterator<Item = usize> + '_ {
        let budget = self.budget(r, self.want.row(r));
        let pairs = self.got.row(r).iter().zip(self.want.row(r)).enumerate();
        pairs
            .filter(move |(_, (got, want))| {
                let error = (**got - **want).abs();
                got != want && (error.is_nan() || error > budget.max)
            })
            .map(|(j, _)| j)
    }

    /// Whether there are rows at position 0 and all of them agree.
    pub fn position_0_agrees(&self) -> bool {
        let positions = &self.positions;
        let at_0 = || (0..self.got.len()).filter(|&r| positions[r] == 0);
        at_0().next().is_some() && at_0().all(|r| self.wrong(r).next().is_none())
    }

    /// The config key `key` as named in the user's own file, and that file: `` `rope_theta`, config.json ``.
    pub fn key(&self, key: &'static str) -> String {
        key_in(self.context.weights, key)
    }
}
