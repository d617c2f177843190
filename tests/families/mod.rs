//! Graphs of families that the library does not have yet, of small made-up sizes.

pub mod gemma2;
pub mod gemma3;
pub mod olmo2;
pub mod qwen3;

/// What the families here share. No two sizes agree.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub hidden: usize,
    pub ffn: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub eps: f64,
}

impl Sizes {
    /// All query heads together.
    pub fn query_width(self) -> usize {
        self.heads * self.head_dim
    }

    /// All key heads together.
    pub fn key_width(self) -> usize {
        self.kv_heads * self.head_dim
    }
}
