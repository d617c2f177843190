//! Other activations and other ways to combine gate and up.

use candle_core::DType;

use super::Proposal;
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Cancelling, Change, Deviation, Function, LowGate};
use crate::graph::{Activation, Node, Operation};
use crate::weights;

pub(super) fn proposals(e: &Evidence<'_>, node: &Node) -> Vec<Proposal> {
    match node.operation {
        Operation::Activation(activation) => functions(node, activation),
        _ => match e.config().family.activation() {
            weights::Activation::Silu => products(node),
            // All sentences and functions below are about SiLU.
            weights::Activation::GeluTanh => vec![],
        },
    }
}

fn functions(node: &Node, activation: Activation) -> Vec<Proposal> {
    let (own, right) = match activation {
        Activation::Silu => (Function::Silu, "SiLU, x · σ(x)"),
        Activation::GeluTanh => (Function::GeluTanh, "GELU's tanh approximation"),
    };
    let mut all = if own == Function::Silu { low(node) } else { vec![] };
    let others = Function::ALL.into_iter().filter(|function| *function != own);
    let proposal = |function: Function| {
        let says = format!("you use {} as the activation of gate; it should be {right}", function.name());
        Proposal::new("activation-function", node, Deviation::Gate(function), says)
    };
    all.extend(others.map(proposal));
    all
}

/// SiLU in half precision: entry by entry, so that no entry may be rounded the other way.
fn low(node: &Node) -> Vec<Proposal> {
    let mut all = Vec::new();
    for dtype in [DType::BF16, DType::F16] {
        for way in 0..8u8 {
            let (steps, gate, sigmoid) = (way & 1 > 0, way & 2 > 0, way & 4 > 0);
            let low = Deviation::LowGate(LowGate { dtype, steps, sigmoid, gate, product: false });
            let says = format!("you compute silu in half precision, {}", dtype.as_str());
            all.push(Proposal::new("act-half", node, low, says));
        }
        for way in 0..8u8 {
            let (product_first, negative_only, sigmoid) = (way & 1 > 0, way & 2 > 0, way & 4 > 0);
            let form = Cancelling { dtype, product_first, negative_only, sigmoid };
            let how = if product_first { "x − x · σ(−x)" } else { "x · (1 − σ(−x))" };
            let says = format!(
                "you compute silu as {how} in {}: the subtraction loses the digits of small values; compute x · σ(x)",
                dtype.as_str()
            );
            all.push(Proposal::new("activation-cancels", node, Deviation::Cancelling(form), says));
        }
    }
    all
}

fn products(node: &Node) -> Vec<Proposal> {
    let proposal = |deviation: Deviation, says: &str| {
        Proposal::new("gated-product", node, deviation, format!("you {says}; it should be silu(gate) · up"))
    };
    let input = |n: usize, change: Change| Deviation::Input { n, change };
    let mut all = vec![
        proposal(input(1, Change::Constant(1.0)), "return silu(gate) without the factor up"),
        proposal(input(0, Change::Constant(1.0)), "return up without the factor silu(gate)"),
        proposal(Deviation::GateAdded, "add up to silu(gate)"),
        proposal(input(1, Change::Plus(1.0)), "multiply silu(gate) by up + 1"),
        proposal(input(1, Change::By(Function::Silu)), "apply SiLU to gate and to up"),
    ];
    // It concerns the activation before the product too.
    let mut inside = proposal(Deviation::GateInside, "apply SiLU to the product gate · up");
    inside.tried.role = None;
    all.push(inside);
    all
}
