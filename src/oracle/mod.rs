//! The oracle: a Llama in float64 on the CPU, one row a token, readable from top to bottom.
//!
//! It is the second of two independent ones: stored truth is PyTorch's, and this must reproduce it
//! (`tests/oracle.rs`). It shares no code with the model under test but the reader of weights, which
//! checkpoint 00 proves. Every operation stands alone, given its inputs, with everything that a port
//! can get wrong as a plain value: the suspects are these operations with other values.
//!
//! ```text
//! ids ─ rows ─┬─ rms_norm ─ linear ─ rotate ─ scores ─ softmax ─ context ─ linear ─ residual ─┬─ rms_norm ─ … ─ gated ─ linear ─ residual
//!             └───────────────────────────────────────────────────────────────────────────────┘
//! ```

mod attention;
mod elementwise;
mod forward;
mod linear;
mod norm;
mod rope;
mod rows;
mod tokens;

pub use attention::{Heads, context, scores, softmax};
pub use elementwise::{gated, residual, silu};
pub use forward::forward;
pub use linear::{Matrix, linear, vector};
pub use norm::{mean_square, rms_norm};
pub use rope::{Pairing, frequency, rotate};
pub use rows::Rows;
pub use tokens::{Slots, Tokens};
