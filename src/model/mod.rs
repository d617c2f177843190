//! The model under test: Llama and its relatives on Candle, with one file per part. Each file begins with the Candle function
//! that it uses.
//!
//! ```text
//! ids ─ embed ─┬─ norm ─ q, k, v ─ rope ─ cache ─ attention ─ o ─ + ─┬─ norm ─ gate · up ─ down ─ + ─ … ─ norm ─ logits
//!              └──────────────────────────────────────────────────┘ └────────────────────────────┘
//! ```
//!
//! What differs between families (the norms of heads and branches, softcaps, windows, rotations, the activation) is
//! a part that is chosen when the model is loaded; the forward pass is the same.
//!
//! Every named tensor is handed to a [`Probe`](crate::probe::Probe); the probe `()` does nothing. All parts
//! and their weights are public fields: plain data that a caller may replace.

mod attention;
mod block;
mod block_rows;
mod cache;
mod embedding;
mod fused;
mod input;
mod lane;
mod llama;
mod load;
mod mask;
mod mlp;
mod norm;
mod packed;
mod packed_rows;
mod pass;
mod path;
mod projection;
mod rope;
mod softcap;
mod stage;

pub use attention::SelfAttention;
pub use block::Block;
pub use cache::Cache;
pub use embedding::Embedding;
pub use input::{Input, Side};
pub use lane::Lane;
pub use llama::Llama;
pub use mlp::Mlp;
pub use norm::Norm;
pub use path::{Attention, Path};
pub use projection::{Matmul, Projection};
pub use rope::Rope;
pub use stage::Stage;
