//! Rotary position embedding (Su et al., 2021): rotates pairs of a head's elements by an angle that is
//! proportional to the position.

use super::Rows;

/// θ^(−2i/head_dim): the rotation of pair `i` per position, in radians.
pub fn frequency(theta: f64, i: usize, head_dim: usize) -> f64 {
    theta.powf(-2.0 * i as f64 / head_dim as f64)
}

/// Rotates pair i of `pairs`, `[turned/2]`, in every head of row r by the angle whose (sin, cos) is
/// `turn(r, i)`: `[rows, heads * head_dim]` → the same shape. Elements that are in no pair are unchanged.
pub fn rotate(
    x: &Rows,
    head_dim: usize,
    pairs: &[(usize, usize)],
    turn: impl Fn(usize, usize) -> (f64, f64),
) -> Rows {
    let mut rotated = x.clone(); // [rows, heads * head_dim]
    for r in 0..x.len() {
        for (i, &(a, b)) in pairs.iter().enumerate() {
            let (sin, cos) = turn(r, i);
            for head in (0..x.width).step_by(head_dim) {
                let (first, second) = (x.row(r)[head + a], x.row(r)[head + b]);
                rotated.values[r * x.width + head + a] = first * cos - second * sin;
                rotated.values[r * x.width + head + b] = second * cos + first * sin;
            }
        }
    }
    rotated
}
