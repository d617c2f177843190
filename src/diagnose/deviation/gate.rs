//! Deviations in activation(gate) · up: half precision, and a sigmoid that is computed by subtraction.

use candle_core::DType;

use crate::diagnose::round;
use crate::graph::Activation;

/// Which values are rounded in the computation of activation(gate) · up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) struct LowGate {
    /// The dtype that they are rounded to.
    pub dtype: DType,
    /// Every step of the activation is rounded, not only its result.
    pub steps: bool,
    /// silu is computed as x · σ(x) with σ rounded, not as x / (1 + e^−x). Without effect on GELU.
    pub sigmoid: bool,
    /// The gate is rounded first.
    pub gate: bool,
    /// Up and the product are rounded.
    pub product: bool,
}

impl LowGate {
    /// The activation of gate.
    pub fn activation(self, function: Activation, gate: f64) -> f64 {
        match function {
            Activation::Silu => self.silu(gate),
            Activation::GeluTanh => self.gelu(gate),
        }
    }

    /// GELU's tanh approximation, with the steps of Candle: 0.5·x · (1 + tanh(√(2/π)·x · (1 + 0.044715·x·x))).
    fn gelu(self, gate: f64) -> f64 {
        let x = self.low(self.gate, gate);
        let step = |v: f64| self.low(self.steps, v);
        let square = step(step(step(0.044715) * x) * x);
        let root = step(std::f64::consts::FRAC_2_PI.sqrt());
        let tanh = step(step(step(root * x) * step(1.0 + square)).tanh());
        round(step(0.5 * x) * step(1.0 + tanh), self.dtype)
    }

    fn silu(self, gate: f64) -> f64 {
        let x = self.low(self.gate, gate);
        let exp = self.low(self.steps, (-x).exp());
        let sum = self.low(self.steps, 1.0 + exp);
        round(if self.sigmoid { x * round(1.0 / sum, self.dtype) } else { x / sum }, self.dtype)
    }

    /// activation · up.
    pub fn product(self, active: f64, up: f64) -> f64 {
        self.low(self.product, active * self.low(self.product, up))
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
