//! The computation path of a model: how it computes attention and matrix products.

use super::projection::Matmul;

/// How the context is computed. Chosen at loading and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// Step by step: scores and probabilities are tensors, and sites.
    Plain,
    /// In one kernel, which never creates scores and probabilities; CPU only.
    Fused,
}

/// The computation path. An [`Attention`] alone means dense products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// How the context is computed.
    pub attention: Attention,
    /// How matrix products are computed.
    pub matmul: Matmul,
}

impl Path {
    /// Its name in output and stored files.
    pub const fn name(self) -> &'static str {
        match (self.attention, self.matmul) {
            (Attention::Plain, Matmul::Dense) => "plain",
            (Attention::Fused, Matmul::Dense) => "fused",
            (Attention::Plain, Matmul::Quantized) => "plain quantized",
            (Attention::Fused, Matmul::Quantized) => "fused quantized",
        }
    }
}

impl From<Attention> for Path {
    fn from(attention: Attention) -> Self {
        Self { attention, matmul: Matmul::Dense }
    }
}
