//! Finds mistakes in silu(gate) · up: swapped halves and half precision.

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

/// Only the steps of SiLU are known.
fn low(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    if e.config().family.activation() != Activation::Silu {
        return Ok(found);
    }
    for dtype in [DType::BF16, DType::F16] {
        for way in 0..16u8 {
            let (steps, gate, product, sigmoid) = (way & 1 > 0, way & 2 > 0, way & 4 > 0, way & 8 > 0);
            let deviation = Deviation::LowGate(LowGate { dtype, steps, sigmoid, gate, product });
            let says = format!("you compute silu in half precision, {}", dtype.as_str());
            found.push(Candidate::new(deviation, says).rounding(dtype));
        }
    }
    Ok(found)
}
