//! Other activations and other ways to combine gate and up.

use super::Proposal;
use crate::diagnose::deviation::{Change, Deviation, Function};
use crate::graph::{Node, Operation};

pub(super) fn proposals(node: &Node) -> Vec<Proposal> {
    match node.operation {
        Operation::Activation(_) => functions(node),
        _ => products(node),
    }
}

fn functions(node: &Node) -> Vec<Proposal> {
    let others = Function::ALL.into_iter().filter(|function| *function != Function::Silu);
    let proposal = |function: Function| {
        let says =
            format!("you use {} as the activation of gate; it should be SiLU, x · σ(x)", function.name());
        Proposal::new("activation-function", node, Deviation::Gate(function), says)
    };
    others.map(proposal).collect()
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
