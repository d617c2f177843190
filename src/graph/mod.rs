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
//! | [`of`] | the graph of a config, by its family: [`llama`], [`gemma`] |

mod attention;
mod builder;
mod cast;
mod check;
mod cut;
mod gemma;
mod llama;
mod node;
mod nodes;
mod norm;
mod operation;
mod parts;
mod role;
mod rope;
mod site;

pub use attention::{Context, HeadMap, Mask, Scores};
pub use builder::Builder;
pub use cast::Cast;
pub use cut::Cut;
pub use gemma::gemma;
pub use llama::llama;
pub use node::{Edge, Input, Node, NodeId, RowShape};
pub use nodes::Graph;
pub use norm::{EpsPlace, Gain, Norm, NormCast, NormRule, NormSpan, Statistic};
pub use operation::{Activation, Embedding, Linear, MatrixRows, Operation};
pub use role::Role;
pub use rope::{FrequencyLaw, Pairing, Rope, RopeCast};
pub use site::SiteName;

use crate::Result;
use crate::weights::{Config, Family};

/// The graph of a model with this configuration.
///
/// # Errors
/// The configuration contradicts itself: see [`Config::lint`].
pub fn of(config: &Config) -> Result<Graph> {
    match config.family {
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => llama(config),
        Family::Gemma2 | Family::Gemma3 => gemma(config),
    }
}
