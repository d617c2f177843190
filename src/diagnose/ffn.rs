//! Finds mistakes in activation(gate) · up: swapped halves and half precision.

use candle_core::DType;

use super::Evidence;
use super::decide::Hypotheses;
use super::deviation::{Deviation, LowGate};
use super::search::{Candidate, Solver, search};
use crate::Result;
use crate::weights::Activation;

const SOLVERS: [Solver; 2] = [
    Solver { mistake: "gate-up-swapped", fingerprint: |_| true, solve: exchanged, pairs: true },
    Solver { mistake: "act-half", fingerprint: |_| false, solve: low, pairs: true },
];

/// Finds the mistake in the gated product.
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Hypotheses> {
    search(e, &SOLVERS)
}

fn exchanged(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    Ok(vec![Candidate::new(Deviation::GateExchanged, says_exchanged(e))])
}

/// The sentence about a port that exchanges gate and up.
pub(super) fn says_exchanged(e: &Evidence<'_>) -> String {
    let function = function(e);
    format!("you compute {function}(up) · gate; it should be {function}(gate) · up")
}

/// The name of the model's activation.
fn function(e: &Evidence<'_>) -> &'static str {
    match e.config().family.activation() {
        Activation::Silu => "silu",
        Activation::GeluTanh => "gelu",
    }
}

/// All ways to compute the activation in half precision. llama.cpp takes GELU from a table of f16 numbers: the gate is
/// rounded, and the result.
fn low(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    // GELU is computed without a sigmoid.
    let ways = if e.config().family.activation() == Activation::Silu { 16 } else { 8 };
    for dtype in [DType::BF16, DType::F16] {
        for way in 0..ways {
            let (steps, gate, product, sigmoid) = (way & 1 > 0, way & 2 > 0, way & 4 > 0, way & 8 > 0);
            let deviation = Deviation::LowGate(LowGate { dtype, steps, sigmoid, gate, product });
            let says = format!("you compute {} in half precision, {}", function(e), dtype.as_str());
            found.push(Candidate::new(deviation, says).rounding(dtype));
        }
    }
    Ok(found)
}
