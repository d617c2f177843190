//! The oracle: the operations of a Llama in float64 on the CPU, with one row per token, and an executor that
//! runs a graph of them.
//!
//! It is independent of PyTorch, which computed the stored references: the oracle must reproduce them
//! (`tests/oracle.rs`). The only code that it shares with the model under test is the reader of weights,
//! which checkpoint 00 checks. Each operation is a separate function of its inputs, and everything that a
//! port can get wrong is a parameter: diagnosis runs the same operations with other parameter values.
//!
//! An [`Executor`] computes a node of a [`Graph`](crate::graph::Graph), or a cut of it, from [given](Given)
//! rows in one [`Arithmetic`]: [`Exact`], or [`Rounded`] to a dtype. [`OnBlocks`] adapts either one to the
//! blocks of a quantised file.

mod arithmetic;
mod attention;
mod available;
mod blocks;
mod elementwise;
mod exact;
mod executor;
mod frequencies;
mod given;
mod linear;
mod norm;
mod on_blocks;
mod pass;
mod placed;
mod plan;
mod precision;
mod reordered;
mod rescaled;
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
pub use elementwise::silu;
pub use exact::Exact;
pub use executor::Executor;
pub use frequencies::frequencies;
pub use given::Given;
pub use linear::{Matrix, linear, vector};
pub use norm::{mean_square, rms_norm};
pub use on_blocks::{BlockMatrix, LastRead, OnBlocks};
pub use pass::{Pass, Place, Slot, Token};
pub use placed::Placed;
pub use precision::Precision;
pub use reordered::ORDERS;
pub use rope::rotate;
pub use rounded::Rounded;
pub use rows::Rows;
pub use sight::{RowPlaces, Sight};
pub use slots::Slots;
