//! Graphs of families that the library does not support yet, with small sizes.

pub mod olmo2;

/// The sizes that all families here have. All widths of a model differ.
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
    /// The width of all query heads together.
    pub fn query_width(self) -> usize {
        self.heads * self.head_dim
    }

    /// The width of all key heads together.
    pub fn key_width(self) -> usize {
        self.kv_heads * self.head_dim
    }
}
