//! The oracle: the operations of a Llama in float64 on the CPU, one row a token, and an executor of the graph.
//!
//! It is the second of two independent ones: stored truth is PyTorch's, and this must reproduce it
//! (`tests/oracle.rs`). It shares no code with the model under test but the reader of weights, which
//! checkpoint 00 proves. Every operation stands alone, given its inputs, with everything that a port
//! can get wrong as a plain value: the suspects are these operations with other values.
//!
//! An [`Executor`] computes a node of a [`Graph`](crate::graph::Graph), or a cut of it, from [given](Given) rows in
//! one [`Arithmetic`]: [`Exact`], or [`Rounded`] to a dtype.

mod arithmetic;
mod attention;
mod elementwise;
mod exact;
mod executor;
mod frequencies;
mod given;
mod known;
mod linear;
mod norm;
mod pass;
mod placed;
mod plan;
mod precision;
mod reordered;
mod rope;
mod rounded;
mod rounded_attention;
mod rows;
mod sight;
mod step;
mod streamed;
mod tokens;

pub use arithmetic::Arithmetic;
pub use attention::{Heads, context, scores, softmax};
pub use elementwise::{gated, residual, silu};
pub use exact::Exact;
pub use executor::Executor;
pub use frequencies::frequencies;
pub use given::Given;
pub use linear::{Matrix, linear, vector};
pub use norm::{mean_square, rms_norm};
pub use pass::{Pass, Place, Slot, Token};
pub use placed::Placed;
pub use precision::Precision;
pub use reordered::ORDERS;
pub use rope::{Pairing, frequency, rotate};
pub use rounded::Rounded;
pub use rows::Rows;
pub use sight::Sight;
pub use tokens::{Slots, Tokens};
