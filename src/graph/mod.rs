//! Describes a model's forward pass as data: one node per site, with its operation, its inputs and its
//! weights.
//!
//! A family is one function `Config → Graph` that reads from top to bottom like its paper. This module
//! computes nothing; the graph only describes what to compute, and in which order:
//!
//! | | |
//! | --- | --- |
//! | [`Graph`] | the nodes in the order of the forward pass; finds them by site, or by layer and role |
//! | [`Node`] | one tensor of the pass: role, site, operation, inputs, shape of a row |
//! | [`Operation`] | the closed list of operations, with all parameters as plain values |
//! | [`Builder`] | builds a graph, one line per node |
//! | [`Cut`] | the nodes that must be computed to get some sites from others |
//! | [`llama`] | the graph of the Llama family |

mod attention;
mod builder;
mod cast;
mod check;
mod cut;
mod llama;
mod node;
mod nodes;
mod norm;
mod operation;
mod role;
mod rope;
mod site;

pub use attention::{Context, HeadMap, Mask, Scores};
pub use builder::Builder;
pub use cast::Cast;
pub use cut::Cut;
pub use llama::llama;
pub use node::{Edge, Input, Node, NodeId, RowShape};
pub use nodes::Graph;
pub use norm::{EpsPlace, Gain, Norm, NormCast, NormRule, NormSpan, Statistic};
pub use operation::{Activation, Embedding, Linear, MatrixRows, Operation};
pub use role::Role;
pub use rope::{FrequencyLaw, Pairing, Rope, RopeCast};
pub use site::SiteName;
