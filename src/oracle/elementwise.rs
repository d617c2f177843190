//! Elementwise operations: SiLU and the gated product.

use super::Rows;

/// x · σ(x).
pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// activation(gate) · up, `[rows, ffn]` → the same shape (Shazeer, 2020; with SiLU it is SwiGLU).
pub fn gated(gate: &Rows, up: &Rows, activation: impl Fn(f64) -> f64) -> Rows {
    Rows::from_fn(gate.len(), gate.width, |r, j| activation(gate.row(r)[j]) * up.row(r)[j])
}
