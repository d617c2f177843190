//! The oracle: the operations of a Llama in float64 on the CPU, one row a token, and an executor of the graph.
//!
//! It is the second of two independent ones: stored truth is PyTorch's, and this must reproduce it
//! (`tests/oracle.rs`). It shares no code with the model under test but the reader of weights, which
//! checkpoint 00 proves. Every operation stands alone, given its inputs, with everything that a port
//! can get wrong as a plain value: a diagnosis runs these operations with other values.
//!
//! An [`Executor`] computes a node of a [`Graph`](crate::graph::Graph), or a cut of it, from [given](Given) rows in
//! one [`Arithmetic`]: [`Exact`], or [`Rounded`] to a dtype; either of them also [`OnBlocks`] of a quantised file.

mod arithmetic;
mod attention;
mod blocks;
mod elementwise;
mod exact;
mod executor;
mod frequencies;
mod given;
mod known;
mod linear;
mod norm;
mod on_blocks;
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
mod slots;
mod step;
mod streamed;

pub use arithmetic::{Arithmetic, Floats};
pub use attention::{scores, softmax};
pub use blocks::Blocks;
pub use exact::Exact;
pub use executor::Executor;
pub use frequencies::frequencies;
pub use given::Given;
pub use linear::{Matrix, linear, vector};
pub use norm::mean_square;
pub use on_blocks::{BlockMatrix, LastRead, OnBlocks};
pub use pass::{Pass, Place, Slot, Token};
pub use placed::Placed;
pub use precision::Precision;
pub use reordered::ORDERS;
pub use rope::rotate;
pub use rounded::Rounded;
pub use rows::Rows;
pub use sight::{Sight, Standing};
pub use slots::Slots;
