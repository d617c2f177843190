//! The type of a node: one tensor of the forward pass.

use super::cast::Cast;
use super::operation::Operation;
use super::role::Role;
use super::site::SiteName;

/// The id of a node in one graph: its index in the order of the pass. Smaller ids are computed earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) usize);

impl NodeId {
    /// The number of nodes computed before it.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// One input of a node: another node, and which rows of it are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// The node that is read.
    pub node: NodeId,
    /// The rows of it that one row of the result depends on.
    pub edge: Edge,
}

/// The rows of an input that one row of the result depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The row of the same token.
    RowWise,
    /// The rows of all keys in the batch row that the mask allows, including those in a cache.
    AllKeys,
}

/// The shape of one row: the part of a tensor that belongs to one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowShape {
    /// `[width]`.
    Flat {
        /// Number of entries.
        width: usize,
    },
    /// `[heads, head_dim]`.
    Heads {
        /// Number of heads.
        heads: usize,
        /// Number of entries in a head.
        head_dim: usize,
    },
    /// `[heads, keys]`: one entry per head and slot of the sequence.
    HeadsByKeys {
        /// Number of heads.
        heads: usize,
    },
}

impl RowShape {
    /// The number of entries in a row, in a sequence of `keys` slots.
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
    /// Its layer; `None` outside the layers.
    pub layer: Option<usize>,
    /// Its meaning, independent of the family.
    pub role: Role,
    /// Its name in the family.
    pub site: SiteName,
    /// How it is computed.
    pub operation: Operation,
    /// The nodes that it is computed from.
    pub inputs: Vec<Input>,
    /// The shape of one row.
    pub shape: RowShape,
}

impl Node {
    /// The names of the weights that it reads.
    pub fn weights(&self) -> Vec<&str> {
        self.operation.weights()
    }

    /// The values that PyTorch rounds to the model's dtype while it computes this node.
    pub fn casts(&self) -> Vec<Cast> {
        self.operation.casts()
    }
}
