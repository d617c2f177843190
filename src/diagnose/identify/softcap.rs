//! Other softcaps of the logits.

use super::Proposal;
use crate::diagnose::deviation::Deviation;
use crate::graph::Node;

pub(super) fn proposals(node: &Node, right: f64) -> Vec<Proposal> {
    let proposal = |cap: Option<f64>, what: String| {
        let says = format!("you {what}; their softcap is {right}");
        Proposal::new("logit-softcap", node, Deviation::LogitSoftcap(cap), says)
    };
    let others = [30.0, 50.0, 20.0, 15.0, 10.0, 100.0].into_iter().filter(|cap| *cap != right);
    let missing = proposal(None, "apply no softcap to the logits".into());
    [missing]
        .into_iter()
        .chain(others.map(|cap| proposal(Some(cap), format!("cap the logits at {cap}"))))
        .collect()
}
