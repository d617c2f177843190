//! One tensor of the forward pass.

use super::cast::Cast;
use super::operation::Operation;
use super::role::Role;
use super::site::SiteName;

/// A node of one graph, by its place in the order of the pass: the smaller one is computed earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) usize);

impl NodeId {
    /// How many nodes are computed before it.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// What a node reads: another node, and which rows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// The node that is read.
    pub node: NodeId,
    /// Which rows of it a row of the result depends on.
    pub edge: Edge,
}

/// Which rows of an input one row of the result depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The row of the same token.
    RowWise,
    /// The rows of all keys of the batch row that the mask allows, those in a cache included.
    AllKeys,
}

/// The shape of one row: what one token has of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowShape {
    /// `[width]`.
    Flat {
        /// Entries.
        width: usize,
    },
    /// `[heads, head_dim]`.
    Heads {
        /// Heads.
        heads: usize,
        /// Entries of a head.
        head_dim: usize,
    },
    /// `[heads, keys]`: an entry for each slot of the sequence.
    HeadsByKeys {
        /// Heads.
        heads: usize,
    },
}

impl RowShape {
    /// Entries of a row in a sequence of `keys` slots.
    pub const fn width(self, keys: usize) -> usize {
        match self {
            Self::Flat { width } => width,
            Self::Heads { heads, head_dim } => heads.saturating_mul(head_dim),
            Self::HeadsByKeys { heads } => heads.saturating_mul(keys),
        }
    }
}

/// One tensor of the forward pass and how it is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its layer; none outside the layers.
    pub layer: Option<usize>,
    /// What it is by meaning.
    pub role: Role,
    /// What the family calls it.
    pub site: SiteName,
    /// How it is computed.
    pub operation: Operation,
    /// What it is computed from.
    pub inputs: Vec<Input>,
    /// What one token has of it.
    pub shape: RowShape,
}

impl Node {
    /// The tensors of the model that it reads.
    pub fn weights(&self) -> Vec<&str> {
        self.operation.weights()
    }

    /// Where PyTorch rounds to the model's dtype on the way to its result.
    pub fn casts(&self) -> Vec<Cast> {
        self.operation.casts()
    }
}
