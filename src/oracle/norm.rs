//! RMSNorm in plain operations, because Candle's kernel does not support float64.

use super::Rows;

/// x / √(mean(x²) + eps) · weight along each row, `[rows, width]` → the same shape (Zhang and Sennrich,
/// 2019). ε is inside the root, as in Llama.
pub fn rms_norm(x: &Rows, weight: &[f64], eps: f64) -> Rows {
    let divisors: Vec<f64> = x.iter().map(|row| (mean_square(row) + eps).sqrt()).collect(); // [rows]
    Rows::from_fn(x.len(), x.width, |r, j| x.row(r)[j] / divisors[r] * weight[j]) // [rows, width]
}

/// The mean of the squares of a row.
pub fn mean_square(row: &[f64]) -> f64 {
    row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64
}
