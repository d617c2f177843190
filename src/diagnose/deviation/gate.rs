//! silu(gate) · up in half precision.

use candle_core::DType;

use crate::diagnose::round;

/// What is rounded on the way to silu(gate) · up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) struct LowGate {
    /// What it is rounded to.
    pub dtype: DType,
    /// Every step of silu is rounded, and not its result alone.
    pub steps: bool,
    /// It is x · σ(x) with σ rounded, and not x / (1 + e^−x).
    pub sigmoid: bool,
    /// The gate is rounded before.
    pub gate: bool,
    /// The product is rounded, and up before it.
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
