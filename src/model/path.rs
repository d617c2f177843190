//! Which arithmetic a model runs: how scores become context, and how weights are multiplied with.

use super::projection::Matmul;

/// How scores become context. Asked for at loading and never switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// Scores and probabilities are tensors, and sites.
    Plain,
    /// One kernel that never makes them; CPU only.
    Fused,
}

/// Which arithmetic runs. An [`Attention`] alone means dense products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// How scores become context.
    pub attention: Attention,
    /// How weights are multiplied with.
    pub matmul: Matmul,
}

impl Path {
    /// What it is called in what is printed and remembered.
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
