//! The builder with which a family's function writes its graph, one line per node.

use super::attention::{Context, Scores};
use super::node::{Edge, Input, Node, NodeId, RowShape};
use super::nodes::Graph;
use super::norm::{Norm, NormRule};
use super::operation::{Activation, Embedding, Linear, Operation};
use super::role::Role;
use super::rope::Rope;
use super::site::SiteName;
use crate::Result;

/// Collects nodes in the order of the pass. Names are relative to the module that was entered last. A norm or
/// linear layer reads the weights of its own module unless another is given.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<Node>,
    layer: Option<usize>,
    path: String,
}

impl Builder {
    /// The nodes that follow are in this layer, and their names are relative to the module `path`.
    pub fn enter_layer(&mut self, layer: usize, path: impl Into<String>) {
        (self.layer, self.path) = (Some(layer), path.into());
    }

    /// The nodes that follow are outside the layers.
    pub fn leave_layers(&mut self) {
        (self.layer, self.path) = (None, String::new());
    }

    /// The full path of the module `name`; the empty name is the module that was entered.
    pub fn path(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            (path, "") => path.to_owned(),
            ("", name) => name.to_owned(),
            (path, name) => format!("{path}.{name}"),
        }
    }

    /// A tensor from outside the graph, of this shape.
    pub fn source(&mut self, role: Role, name: &str, shape: RowShape) -> NodeId {
        self.push(role, name, Operation::Source, &[], shape)
    }

    /// Rows of `{name}.weight`, times `scale`: `[hidden]`.
    pub fn embedding(&mut self, role: Role, name: &str, hidden: usize, scale: f64) -> NodeId {
        let weight = format!("{}.weight", self.path(name));
        let operation = Operation::Embedding(Embedding { weight, scale });
        self.push(role, name, operation, &[], RowShape::Flat { width: hidden })
    }

    /// A norm of x with `{name}.weight`: the same shape as x.
    pub fn norm(&mut self, role: Role, name: &str, x: NodeId, rule: NormRule) -> NodeId {
        let weight = format!("{}.weight", self.path(name));
        let operation = Operation::Norm(Norm { weight, bias: None, rule });
        self.push(role, name, operation, &[(x, Edge::RowWise)], self.shape(x))
    }

    /// x times `{name}.weight`: `[out]`.
    pub fn linear(&mut self, role: Role, name: &str, x: NodeId, out: usize) -> NodeId {
        let linear = Linear::whole(format!("{}.weight", self.path(name)));
        self.linear_of(role, name, x, out, linear)
    }

    /// x times `{name}.weight`, plus `{name}.bias`: `[out]`.
    pub fn linear_with_bias(&mut self, role: Role, name: &str, x: NodeId, out: usize) -> NodeId {
        let module = self.path(name);
        let linear =
            Linear { bias: Some(format!("{module}.bias")), ..Linear::whole(format!("{module}.weight")) };
        self.linear_of(role, name, x, out, linear)
    }

    /// x times the matrix that `linear` names, which may belong to another module: `[out]`.
    pub fn linear_of(&mut self, role: Role, name: &str, x: NodeId, out: usize, linear: Linear) -> NodeId {
        let shape = RowShape::Flat { width: out };
        self.push(role, name, Operation::Linear(linear), &[(x, Edge::RowWise)], shape)
    }

    /// The rotation of queries or keys x: `[heads, head_dim]`.
    pub fn rope(&mut self, role: Role, name: &str, x: NodeId, rope: Rope) -> NodeId {
        let head_dim = rope.head_dim;
        let heads = self.width(x).checked_div(head_dim).unwrap_or(0);
        let shape = RowShape::Heads { heads, head_dim };
        self.push(role, name, Operation::Rope(rope), &[(x, Edge::RowWise)], shape)
    }

    /// Scores of queries q and keys k: `[heads, keys]`.
    pub fn scores(&mut self, role: Role, name: &str, q: NodeId, k: NodeId, scores: Scores) -> NodeId {
        let shape = RowShape::HeadsByKeys { heads: scores.heads.len() };
        let inputs = [(q, Edge::RowWise), (k, Edge::AllKeys)];
        self.push(role, name, Operation::Scores(scores), &inputs, shape)
    }

    /// Softmax over the keys: `[heads, keys]`.
    pub fn softmax(&mut self, role: Role, name: &str, scores: NodeId) -> NodeId {
        self.push(role, name, Operation::Softmax, &[(scores, Edge::RowWise)], self.shape(scores))
    }

    /// Values v weighted by probabilities: `[heads * head_dim]`.
    pub fn context(&mut self, role: Role, name: &str, probs: NodeId, v: NodeId, context: Context) -> NodeId {
        let shape = RowShape::Flat { width: context.heads.len().saturating_mul(context.head_dim) };
        let inputs = [(probs, Edge::RowWise), (v, Edge::AllKeys)];
        self.push(role, name, Operation::Context(context), &inputs, shape)
    }

    /// A function of each entry of x: the same shape as x.
    pub fn activation(&mut self, role: Role, name: &str, x: NodeId, activation: Activation) -> NodeId {
        self.push(role, name, Operation::Activation(activation), &[(x, Edge::RowWise)], self.shape(x))
    }

    /// a · b, entry by entry: the same shape as both.
    pub fn product(&mut self, role: Role, name: &str, a: NodeId, b: NodeId) -> NodeId {
        let inputs = [(a, Edge::RowWise), (b, Edge::RowWise)];
        self.push(role, name, Operation::Product, &inputs, self.shape(a))
    }

    /// a + b, entry by entry: the same shape as both.
    pub fn sum(&mut self, role: Role, name: &str, a: NodeId, b: NodeId) -> NodeId {
        self.weighted_sum(role, name, &[(1.0, a), (1.0, b)])
    }

    /// Σ factor · term, entry by entry: the same shape as each term.
    pub fn weighted_sum(&mut self, role: Role, name: &str, terms: &[(f64, NodeId)]) -> NodeId {
        let factors = terms.iter().map(|&(factor, _)| factor).collect();
        let inputs: Vec<_> = terms.iter().map(|&(_, term)| (term, Edge::RowWise)).collect();
        let shape = terms.first().map_or(RowShape::Flat { width: 0 }, |&(_, term)| self.shape(term));
        self.push(role, name, Operation::WeightedSum { factors }, &inputs, shape)
    }

    /// cap · tanh(x / cap): the same shape as x.
    pub fn softcap(&mut self, role: Role, name: &str, x: NodeId, cap: f64) -> NodeId {
        self.push(role, name, Operation::Softcap { cap }, &[(x, Edge::RowWise)], self.shape(x))
    }

    /// factor · x: the same shape as x.
    pub fn scale(&mut self, role: Role, name: &str, x: NodeId, factor: f64) -> NodeId {
        self.push(role, name, Operation::Scale { factor }, &[(x, Edge::RowWise)], self.shape(x))
    }

    /// Finishes the graph.
    ///
    /// # Errors
    /// There are no nodes; two nodes have the same site, or the same layer and role; a node's inputs do not
    /// come before it, are too few or too many, or have shapes that its operation cannot take; a size is 0.
    pub fn finish(self) -> Result<Graph> {
        Graph::new(self.nodes)
    }

    /// The shape of a node. A node of another builder gets a width of 0, which `finish` refuses.
    fn shape(&self, id: NodeId) -> RowShape {
        self.nodes.get(id.0).map_or(RowShape::Flat { width: 0 }, |node| node.shape)
    }

    /// The number of entries in a row, for inputs whose rows do not depend on the length of the sequence.
    fn width(&self, id: NodeId) -> usize {
        self.shape(id).width(0)
    }

    fn push(
        &mut self,
        role: Role,
        name: &str,
        operation: Operation,
        inputs: &[(NodeId, Edge)],
        shape: RowShape,
    ) -> NodeId {
        let inputs = inputs.iter().map(|&(node, edge)| Input { node, edge }).collect();
        let (layer, site) = (self.layer, SiteName::new(self.path(name)));
        self.nodes.push(Node { layer, role, site, operation, inputs, shape });
        NodeId(self.nodes.len() - 1)
    }
}
