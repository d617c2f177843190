//! Rotary positions (Su et al., 2021): pairs of a head's elements turn with the position.

use super::Rows;

/// θ^(−2i/head_dim): radians by which pair `i` turns from one position to the next.
pub fn frequency(theta: f64, i: usize, head_dim: usize) -> f64 {
    theta.powf(-2.0 * i as f64 / head_dim as f64)
}

/// Turns each pair of `pairs`, `[turned/2]`, in every head of row r by an angle whose (sin, cos) is `turn(r, i)`:
/// `[rows, heads * head_dim]` → the same. Elements that are in no pair stay.
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
