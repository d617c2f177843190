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
    /// The two elements of each pair of a head, `[head_dim/2]`.
    pub fn pairs(self, head_dim: usize) -> Vec<(usize, usize)> {
        let elements = |i| match self {
            Self::Halves => (i, i + head_dim / 2),
            Self::Neighbours => (2 * i, 2 * i + 1),
        };
        (0..head_dim / 2).map(elements).collect()
    }
}

/// θ^(−2i/head_dim): radians by which pair `i` turns from one position to the next.
pub fn frequency(theta: f64, i: usize, head_dim: usize) -> f64 {
    theta.powf(-2.0 * i as f64 / head_dim as f64)
}

/// Turns pair i of every head of row r by an angle whose (sin, cos) is `turn(r, i)`,
/// `[rows, heads * head_dim]` → the same.
pub fn rotate(x: &Rows, pairs: &[(usize, usize)], turn: impl Fn(usize, usize) -> (f64, f64)) -> Rows {
    let mut rotated = x.clone(); // [rows, heads * head_dim]
    for r in 0..x.len() {
        for (i, &(a, b)) in pairs.iter().enumerate() {
            let (sin, cos) = turn(r, i);
            for head in (0..x.width).step_by(2 * pairs.len()) {
                let (first, second) = (x.row(r)[head + a], x.row(r)[head + b]);
                rotated.values[r * x.width + head + a] = first * cos - second * sin;
                rotated.values[r * x.width + head + b] = second * cos + first * sin;
            }
        }
    }
    rotated
}
