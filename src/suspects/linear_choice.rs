//! What a port can choose in a linear layer.

use candle_core::DType;

use super::round;
use crate::oracle::Matrix;

/// Everything that a port can choose.
#[derive(Clone)]
pub(super) struct Linear {
    pub weight: Matrix,
    /// Both factors rounded so.
    pub low: Option<Low>,
    /// Column j of the port is column `columns[j]` of `among`.
    pub columns: Option<Vec<usize>>,
    /// Added to every row.
    pub bias: Option<Vec<f64>>,
}

/// What products are made of.
#[derive(Clone, Copy)]
pub(super) enum Low {
    Half(DType),
    /// 10 bits behind the point: TensorFloat-32.
    Tf32,
}

impl Low {
    /// The nearest value that it has.
    pub fn round(self, v: f64) -> f64 {
        match self {
            Self::Half(dtype) => round(v, dtype),
            Self::Tf32 => f64::from(f32::from_bits(((v as f32).to_bits() + 0x1000) & !0x1fff)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_keeps_ten_bits() {
        assert_eq!(Low::Tf32.round(1.0 + 2f64.powi(-10)), 1.0 + 2f64.powi(-10));
        assert_eq!(Low::Tf32.round(1.0 + 2f64.powi(-12)), 1.0);
    }
}
