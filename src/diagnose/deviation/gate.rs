//! Deviations in silu(gate) · up: half precision, and a sigmoid that is computed by subtraction.

use candle_core::DType;

use crate::diagnose::round;

/// Which values are rounded in the computation of silu(gate) · up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) struct LowGate {
    /// The dtype that they are rounded to.
    pub dtype: DType,
    /// Every step of silu is rounded, not only its result.
    pub steps: bool,
    /// silu is computed as x · σ(x) with σ rounded, not as x / (1 + e^−x).
    pub sigmoid: bool,
    /// The gate is rounded first.
    pub gate: bool,
    /// Up and the product are rounded.
    pub product: bool,
}

impl LowGate {
    /// silu(gate).
    pub fn silu(self, gate: f64) -> f64 {
        let x = self.low(self.gate, gate);
        let exp = self.low(self.steps, (-x).exp());
        let sum = self.low(self.steps, 1.0 + exp);
        round(if self.sigmoid { x * round(1.0 / sum, self.dtype) } else { x / sum }, self.dtype)
    }

    /// silu · up.
    pub fn product(self, silu: f64, up: f64) -> f64 {
        self.low(self.product, silu * self.low(self.product, up))
    }

    fn low(self, yes: bool, value: f64) -> f64 {
        if yes { round(value, self.dtype) } else { value }
    }
}

/// SiLU in half precision by a subtraction that cancels digits: σ(x) as 1 − σ(−x).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) struct Cancelling {
    /// The dtype that each step is rounded to.
    pub dtype: DType,
    /// x − x · σ(−x) instead of x · (1 − σ(−x)).
    pub product_first: bool,
    /// Only where x is negative.
    pub negative_only: bool,
    /// σ(−x) is rounded.
    pub sigmoid: bool,
}

impl Cancelling {
    /// silu(x).
    pub fn silu(self, x: f64) -> f64 {
        let low = |v: f64| round(v, self.dtype);
        let mirrored = 1.0 / (1.0 + x.exp());
        let mirrored = if self.sigmoid { low(mirrored) } else { mirrored };
        if self.negative_only && x >= 0.0 {
            return low(x * low(1.0 / (1.0 + (-x).exp())));
        }
        if self.product_first { low(x - low(x * mirrored)) } else { low(x * low(1.0 - mirrored)) }
    }
}
