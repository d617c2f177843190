//! Rotary positions (Su et al., 2021): pairs of a head's elements turn with the position.

use super::Rows;

/// Which two elements of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// i and i + head_dim/2: Hugging Face.
    Halves,
    /// 2i and 2i + 1: GGUF llama and Meta's own files.
    Neighbours,
}

impl Pairing {
    /// The two elements of pair `i`.
    pub fn elements(self, i: usize, head_dim: usize) -> (usize, usize) {
        match self {
            Self::Halves => (i, i + head_dim / 2),
            Self::Neighbours => (2 * i, 2 * i + 1),
        }
    }
}

/// θ^(−2i/head_dim): radians by which pair `i` turns from one position to the next.
pub fn frequency(theta: f64, i: usize, head_dim: usize) -> f64 {
    theta.powf(-2.0 * i as f64 / head_dim as f64)
}

/// Turns pair i of every head of row r by `angle(r, i)` radians, `[rows, heads * head_dim]` → the same.
pub fn rotate(x: &Rows, head_dim: usize, pairing: Pairing, angle: impl Fn(usize, usize) -> f64) -> Rows {
    let mut rotated = x.clone(); // [rows, heads * head_dim]
    for r in 0..x.len() {
        for i in 0..head_dim / 2 {
            let (sin, cos) = angle(r, i).sin_cos();
            let (a, b) = pairing.elements(i, head_dim);
            for head in (0..x.width).step_by(head_dim) {
                let (first, second) = (x.row(r)[head + a], x.row(r)[head + b]);
                rotated.values[r * x.width + head + a] = first * cos - second * sin;
                rotated.values[r * x.width + head + b] = second * cos + first * sin;
            }
        }
    }
    rotated
}
